"""Value ranges: which values of deep files (more than 8 bits per channel) become black and white."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adasffuse.images.formats import is_radiometric, open_image
from adasffuse.images.image import ImageError
from adasffuse.images.read import valid_mask

_EIGHT_BITS = (0.0, 255.0)  # what files of 8 bits always span
_BINS = 65536  # of the histogram that percentiles are taken from
_HOUNSFIELD = (-1024.0, 3071.0)  # what 12 bits of CT span
_AIR = (-1050.0, -950.0)  # Hounsfield units
_SHOWS_AIR = 0.05  # share of air from which on values are taken for Hounsfield units
_TISSUE = 99.9  # percent of an MRI's values that are tissue
_BRIGHTEST = 1.5  # times as high as these white is at most
_PIXELS_PER_BLOCK = 64  # pixels with data for each whole block, beyond which whole blocks are too few to tell


@dataclass(frozen=True)
class RangeSpec:
    """What a user asks for.  kind 'fixed': the values; 'folder': all values of a folder; 'percentiles': a part."""

    kind: str
    low: float = 0.0  # in the files' units, or percent
    high: float = 0.0
    inverted: bool = False  # the highest value becomes black: an infrared camera set to black-hot


def parse_range(words: str | Sequence[str | float] | None) -> RangeSpec | None:
    """The range that an option asks for: LOW HIGH, 'folder', two percentages such as '1%' '99%', or None.

    Args:
        words: one word or two, as strings or numbers; a single string may hold both: '7200 8220'.  A last word
            'inverted' makes the highest value black; alone it is 'folder inverted'.
    Raises:
        ValueError: something else, or not LOW < HIGH, or percentages outside 0..100.
    """
    if words is None:
        return None
    words = words.split() if isinstance(words, str) else list(words)
    shown = " ".join(str(word) for word in words)
    inverted = words[-1:] == ["inverted"]
    words = (words[:-1] or ["folder"]) if inverted else words
    if words == ["folder"]:
        return RangeSpec("folder", inverted=inverted)
    texts = [str(word).strip() for word in words]
    percent = [text.endswith("%") for text in texts]
    try:
        low, high = (float(text.removesuffix("%")) for text in texts)
    except ValueError:
        low = high = np.nan
    if not np.isfinite([low, high]).all() or percent[0] != percent[1]:
        raise ValueError(
            "a value range is two numbers LOW HIGH in the files' units, 'folder', or two percentages such as 1% 99%, "
            f"and 'inverted' behind it where high values are dark; got {shown!r}"
        )
    if not low < high:
        hint = f"; where high values are dark, give {high:g} {low:g} inverted" if low > high and not percent[0] else ""
        raise ValueError(f"a value range needs LOW < HIGH, got {shown}{hint}")
    if percent[0] and not (low >= 0 and high <= 100):
        raise ValueError(f"percentages of a value range lie in 0..100, got {shown}")
    return RangeSpec("percentiles" if percent[0] else "fixed", low, high, inverted)


def resolve_range(
    spec: RangeSpec | None, paths: Iterable[str | Path], no_data: float | None = None, thermal: bool = False
) -> tuple[float, float] | None:
    """The `value_range` of `read_image` for all files of one source; None where the default of each file serves.

    Of an inverted range it is the highest value and the lowest, of files of 8 bits alone 255 and 0.

    'folder': one window for all deep files keeps brightness comparable between images.  It reaches from the lowest to
    the highest value that a block of 2 x 2 pixels has throughout: a dead pixel or a dead line counts for nothing, a hot
    target of 2 x 2 pixels is not clipped; where pixels are missing everywhere, from the lowest to the highest.
    'percentiles': of all values of all deep files together, from a histogram of 65536 bins within that window.  Values
    without data do not count.  One file is held at a time.  Files of 8 bits are passed over, and so are files that
    cannot be read (`read_image` reports them).

    Args:
        spec: as `parse_range` returns it.
        paths: the source's files.
        no_data, thermal: as in `read_image`.
    Raises:
        ValueError: another kind of `spec`.
    """
    if spec is None:
        return None
    if not isinstance(spec, RangeSpec):
        raise ValueError(f"the range of a source is what parse_range of adasffuse.images.ranges returns, got {spec!r}")
    paths = list(paths)
    if spec.kind == "fixed":
        window = (spec.low, spec.high)
    else:
        window = measure_range(spec, lambda: _deep_images(paths, no_data, thermal))
    if spec.inverted:
        return (window or _EIGHT_BITS)[::-1]
    return window


def measure_range(
    spec: RangeSpec, images: Callable[[], Iterable[tuple[np.ndarray, np.ndarray | None]]]
) -> tuple[float, float] | None:
    """Lowest and highest value, or percentiles, of all images together; None where none holds data.

    Args:
        spec: of kind 'folder' or 'percentiles'.
        images: called once or twice, gives each time values and mask of every image or volume, as `steady_extremes`
            takes them.
    """
    extremes = [steady_extremes(*image) for image in images()]
    extremes = [pair for pair in extremes if pair is not None]
    if not extremes:
        return None
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if spec.kind == "percentiles" and low < high:
        low, high = _percentiles(spec, images(), low, high)
    if not low < high:  # one value everywhere
        high = low + max(1.0, abs(low) * 1e-6)
    return low, high


def resolve_ranges(
    specs: Sequence[RangeSpec | None],
    columns: Sequence[Sequence[Path]],
    no_data: Sequence[float | None],
    thermal: Sequence[bool] | None = None,
) -> tuple[tuple[float, float] | None, ...]:
    """`resolve_range` for the files of each source; `thermal` as in `is_thermal`."""
    ranges = []
    for number, (spec, paths, missing) in enumerate(zip(specs, columns, no_data)):
        is_hot = any(is_thermal(number, path, thermal) for path in paths)
        ranges.append(resolve_range(spec, paths, missing, is_hot))
    return tuple(ranges)


def is_thermal(number: int, path: str | Path, thermal: Sequence[bool] | None = None) -> bool:
    """Whether a file of source `number` is read as thermal.

    Args:
        thermal: per source, as `Task.thermal`; None where the task is not known: FLIR's radiometric JPEG as source A.
    """
    if thermal is None:
        return number == 0 and is_radiometric(path)
    return number < len(thermal) and thermal[number]


def _deep_images(
    paths: Sequence[str | Path], no_data: float | None, thermal: bool
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Values and mask of the deep files among `paths`, one after the other."""
    for path in paths:
        try:
            with open_image(path, thermal) as file:
                if file.depth == "8":
                    continue
                stored = file.decode()
                valid = valid_mask(stored, no_data, thermal)
        except ImageError:
            continue
        if stored.span != (0, 1) and stored.space != "lab":
            yield stored.values, valid


def steady_extremes(values: np.ndarray, valid: np.ndarray | None) -> tuple[float, float] | None:
    """Lowest and highest value that a block of 2 x 2 pixels has throughout; None where there is no data.

    Args:
        values: (H, W), (H, W, 3), or (X, Y, Z) of a volume, whose blocks lie within slices; finite where valid.
        valid: bool, in the same shape or (H, W); None: there is data everywhere.
    """
    if valid is not None and not valid.any():
        return None
    largest, smallest = _blocks(values, np.maximum), _blocks(values, np.minimum)
    if valid is not None:
        whole = _blocks(valid, np.minimum)
        if np.count_nonzero(valid) <= _PIXELS_PER_BLOCK * np.count_nonzero(whole):
            largest, smallest = largest[whole], smallest[whole]
        else:  # hardly a block is whole: take single pixels
            largest = smallest = values[valid]
    return float(largest.min()), float(smallest.max())


def without_padding(low: float, high: float, values: np.ndarray) -> tuple[float, float]:
    """A range that values themselves tell, of CT without what lies beyond -1024 to 3071 Hounsfield units.

    Below lies what scanners write outside their circle (-2000, -3024), above metal (up to 30000): both would leave
    little contrast to the rest.  Values are taken for CT where at least 5 % of them lie within 50 units of air, -1000.

    Args:
        low, high: of the values.
        values: finite, any shape.
    """
    if low >= _HOUNSFIELD[0] and high <= _HOUNSFIELD[1]:
        return low, high
    if np.mean((values >= _AIR[0]) & (values <= _AIR[1])) < _SHOWS_AIR:
        return low, high
    return max(low, _HOUNSFIELD[0]), min(high, _HOUNSFIELD[1])


def without_artefacts(low: float, high: float, values: np.ndarray) -> tuple[float, float]:
    """A range that values themselves tell, of MRI with an upper end that a few bright pixels do not decide on.

    Vessels with inflow, metal and burnt-in markers are up to many times as bright as tissue, and would leave it dark.
    The range ends at most 1.5 times as high above `low` as 99.9 % of the values.  MRI without artefacts ends lower (all
    of 659 slices at most 1.4 times as high), so nothing changes, and what is clipped stays the brightest.  Not for PET
    and SPECT, whose hot spots are as few and as bright.

    Args:
        low, high: of the values.
        values: finite, any shape.
    """
    tissue = float(np.percentile(values, _TISSUE)) - low
    return low, min(high, low + _BRIGHTEST * tissue) if tissue > 0 else high


def _blocks(values: np.ndarray, of: np.ufunc) -> np.ndarray:
    """`of`, np.minimum or np.maximum, over all blocks of 2 x 2 pixels (1 pixel in a direction that has no more)."""
    pairs = of(values[:-1], values[1:]) if len(values) > 1 else values
    return of(pairs[:, :-1], pairs[:, 1:]) if pairs.shape[1] > 1 else pairs


def _percentiles(
    spec: RangeSpec, images: Iterable[tuple[np.ndarray, np.ndarray | None]], low: float, high: float
) -> tuple[float, float]:
    """The percentiles of all values together, from a histogram between `low` and `high`."""
    counts = np.zeros(_BINS, np.int64)
    for values, valid in images:
        used = (values if valid is None else values[valid]).astype(np.float64).clip(low, high)
        counts += np.histogram(used, bins=_BINS, range=(low, high))[0]
    share = np.cumsum(counts) / counts.sum()
    step = (high - low) / (_BINS - 1)
    return tuple(float(low + step * np.searchsorted(share, percent / 100)) for percent in (spec.low, spec.high))
