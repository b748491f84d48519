"""Reading image files: pixels as float32 in [0, 1], with depth, value window and no-data mask."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adasffuse.arguments import checked
from adasffuse.images.color import is_gray
from adasffuse.images.false_colors import FindPalette, palette_of, palette_places
from adasffuse.images.formats import RAW_SUFFIXES, open_image
from adasffuse.images.image import Image, ImageError
from adasffuse.images.levels import is_large
from adasffuse.images.missing import fill_holes, thermal_border_mask
from adasffuse.images.profiles import lab_to_srgb, to_srgb
from adasffuse.images.stored import Stored

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jls", ".tif", ".tiff", ".bmp", ".webp", ".gif"}
    | {".pgm", ".ppm", ".pnm", ".pbm", ".jp2", ".j2k", ".avif", ".heic", ".heif", ".hif", ".dcm"}
    | RAW_SUFFIXES
)
CLIPPED = 0.9  # largest share of values beyond a range without a notice that it may be wrong
_CLIPPED_OF_RESULT = 0.05  # the same for a fused image, whose values end at black and white
_FAR = 10  # widths of a range by which values that belong to it never lie beyond it
_USED = 1 / 100  # least share of a range that the values of a fused image span


@dataclass(frozen=True)
class Reading:
    """How values are read; what `read_image` calls so."""

    value_range: tuple[float, float] | None = None
    no_data: float | None = None
    thermal: bool = False
    levels: bool = False
    border: bool = True
    option: str = ""
    result: bool = False
    find_palette: FindPalette = palette_of
    measurable: bool = True  # a file, of which commands measure whole folders; advice to give a range says so


@checked
def read_image(
    path: str | Path,
    value_range: tuple[float, float] | None = None,
    no_data: float | None = None,
    thermal: bool = False,
    levels: bool = False,
    border: bool = True,
    option: str = "",
    result: bool = False,
    find_palette: FindPalette = palette_of,
) -> Image:
    """Read one PNG, JPEG, TIFF, BMP, WebP, GIF, PGM, PPM, JPEG 2000 or AVIF file, upright and in sRGB.

    With optional packages also DICOM, raw files of cameras, and the temperatures of FLIR's radiometric JPEG.

    The content decides on the format, not the suffix.  Colours are converted to sRGB by the file's ICC profile; a file
    whose channels are all equal comes back gray.  Alpha 0 is no data, see `opaque_where`; of several pages only the
    first is read; each with a notice.  Resolution (dots per inch) and other metadata are not kept.

    Args:
        path: a regular file of at most 2**32 bytes and 2**30 pixels, or a page of a TIFF file, 'z.tif[3]', counted from
            0.
        value_range: the values, in the file's units, that become 0 and 1, for files of more than 8 bits per channel;
            values beyond are clipped.  Without it unsigned files span all values of their bits (16: 0..65535), with a
            notice where less than a quarter of that is used.  8-bit files always span 0..255.  Where the first value
            is the higher one, of 8-bit files (255, 0), the image is inverted.
        no_data: a value, in the file's units, that means "no data", besides NaN, infinity and what the file says: its
            own value (tag GDAL_NODATA), alpha 0, a mask (TIFF).  A colour pixel holds no data where all its
            channels have that value.  Dead pixels and lines take the values of their neighbours, with a notice, see
            `fill_holes`.
        thermal: exact 0 in a large area joined to the border is no data, too, see `thermal_border_mask`; of a
            radiometric JPEG the temperatures are read; and false colours of the palettes 'jet' and 'turbo' become gray
            in their order, with a notice.
        levels: of large images that hold data everywhere keep the 8- or 16-bit values of a file that spans all of them,
            see `adasffuse.images.levels`: float32 takes four times or twice as much memory.
        border: whether the border of a thermal image is looked at; of a sequence that is done for all frames at once.
        option: what gives the value range, such as '--range_a', for errors and notices that ask for one.
        result: the image is fused already.  Its range is known, not chosen: one that its values cannot have is an
            error, where they go beyond it by more than its width, or use less than a hundredth of it.  Its dead pixels
            stay without data.
        find_palette: tells the palette of a thermal image; of a sequence a `SteadyPalette`.
    Raises:
        ImageError: no such file, no regular one, too large, empty, damaged or no image; it holds floating-point,
            signed or 32-bit values and no `value_range` says what is black and white; or `value_range` is not two
            different numbers, not that of a result, or in other units: the values are 10 times its width from it.  The
            message names the file and says what to do.
    """
    reading = Reading(value_range, no_data, thermal, levels, border, option, result, find_palette)
    with open_image(path, thermal) as file:
        image = interpret(file.decode(), file.depth, str(path), reading)
    valid = None if image.valid is None else upright(image.valid, file.orientation)
    return replace(image, pixels=upright(image.pixels, file.orientation), valid=valid)


def interpret(stored: Stored, depth: str, name: str, reading: Reading) -> Image:
    """What stored values mean: an image in sRGB on [0, 1]; errors as of `read_image`.

    Args:
        depth: '8', '16' or 'float'.
        name: what errors and notices call it.
    """
    value_range, result = reading.value_range, reading.result
    by_value = _missing_by_value(stored, reading.no_data)
    valid = _valid_where(stored, by_value, reading.thermal and reading.border)
    notices = list(stored.notices)
    if valid is not None and not valid.any():
        notices.append("holds no data at all")
    values, colour_notices = _colour(stored, value_range)
    used = values if valid is None else values[valid]
    if value_range is not None:
        window, window_notices = _given_window(stored, used, depth, name, reading)
        if result and window != stored.span:
            _check_range_of_result(used, window, name, reading.option)
    else:
        window, window_notices = _own_window(stored, used, depth, name, reading)
    notices += colour_notices + window_notices
    inverted = stored.inverted != (value_range is not None and _is_inverted(value_range))
    if stored.curve is not None and value_range is None:
        pixels = stored.curve.copy()
    elif reading.levels and valid is None and not inverted and _are_levels(values, window):
        pixels = values
    else:
        pixels = _to_unit_range(values, *window)
    palette = reading.find_palette(pixels, valid) if reading.thermal else None
    if palette is not None:
        pixels = palette_places(pixels, palette)
        notices.append(f"false colours of the palette {palette!r}: their order is taken for that of temperatures")
    if inverted:
        np.subtract(1, pixels, out=pixels)
        window = window[::-1]
    if valid is not None:
        pixels[~valid] = 0
        pixels, known = (pixels, valid) if result else fill_holes(pixels, valid, by_value)
        if known is not valid:
            notices.append("single pixels without data have the values of their neighbours")
        valid = None if known.all() else known
    if pixels.ndim == 3 and is_gray(pixels):
        pixels = np.ascontiguousarray(pixels[..., 0])
    return Image(pixels, depth, window, valid, tuple(f"{name}: {notice}" for notice in notices), stored.plane)


def valid_mask(stored: Stored, no_data: float | None, thermal: bool) -> np.ndarray | None:
    """(H, W) bool, False where a file holds no data, None where it holds data everywhere; as in `read_image`."""
    return _valid_where(stored, _missing_by_value(stored, no_data), thermal)


def _missing_by_value(stored: Stored, no_data: float | None) -> np.ndarray:
    """(H, W) bool, True where a value, alpha or a mask says that there is no data."""
    values = stored.values
    invalid = np.zeros(values.shape[:2], bool)
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        invalid |= ~(finite if values.ndim == 2 else finite.all(axis=2))
    if stored.opaque is not None:
        invalid |= ~stored.opaque
    if stored.space != "lab":
        for missing in (stored.no_data, no_data):
            if missing is not None:
                same = values == _in_units_of(values, missing)
                invalid |= same if values.ndim == 2 else same.all(axis=2)
    return invalid


def _valid_where(stored: Stored, missing: np.ndarray, thermal: bool) -> np.ndarray | None:
    """As `valid_mask`, from where values say that there is no data."""
    if thermal:
        values = stored.values
        missing = missing | thermal_border_mask(values if values.ndim == 2 else values.max(axis=2))
    return ~missing if missing.any() else None


def _in_units_of(values: np.ndarray, missing: float) -> float:
    """A value as the file can hold it: -3.4028234663852886e38 of a float32 file is its smallest number."""
    with np.errstate(over="ignore"):
        return values.dtype.type(missing) if values.dtype.kind == "f" else missing


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W) or (H, W, 3) pixels as an EXIF orientation, 1..8, asks."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _colour(stored: Stored, value_range: tuple[float, float] | None) -> tuple[np.ndarray, list[str]]:
    """Gray or RGB values, and what was done to them."""
    values = stored.values
    if stored.space == "lab":
        return lab_to_srgb(values, np.uint8 if stored.span[1] == 255 else np.uint16), []
    is_full = values.dtype in (np.uint8, np.uint16) and stored.span == (0, np.iinfo(values.dtype).max)
    is_measured = not is_full or stored.inverted or (value_range is not None and values.dtype != np.uint8)
    if is_measured and stored.space != "cmyk":
        return values, ["its ICC profile is ignored: its values are measurements"] if stored.profile else []
    is_neutral = values.ndim == 3 and stored.space == "rgb" and is_gray(values)
    values, notices = to_srgb(values, stored.space, stored.profile)
    if is_neutral:  # rounding in the profile must not tint it
        values = values[..., 1]
    return values, list(notices)


def _given_window(
    stored: Stored, used: np.ndarray, depth: str, name: str, reading: Reading
) -> tuple[tuple[float, float], list[str]]:
    """Values that become 0 and 1 by a range that was given, and notices; `used` are the values that are data."""
    low, high = sorted(_two_numbers(reading.value_range, name))
    if depth == "8" and stored.span is not None:
        if (low, high) == stored.span:
            return stored.span, []
        but = ", but for that it is inverted" if _is_inverted(reading.value_range) else ""
        return stored.span, [
            f"has 8 bits per channel, which always span 0..255; the range {low:g} {high:g} is not used{but}"
        ]
    outside = np.mean((used < low) | (used > high)) if used.size else 0
    if outside <= (_CLIPPED_OF_RESULT if reading.result else CLIPPED):
        return (low, high), []
    if not reading.result:
        check_units(used, (low, high), name)
    spans = f"its values span {used.min():g}..{used.max():g}"
    return (low, high), [f"{outside:.0%} of its values lie outside the range {low:g} {high:g}; {spans}"]


def check_units(values: np.ndarray, window: tuple[float, float], name: str) -> None:
    """Raise ImageError where a source's values lie so far from black and white that these have other units.

    That is by 10 times the distance of black and white, as of degrees for a camera's counts.  A closed shutter, which
    gives one value everywhere, may lie anywhere.
    """
    (low, high), (lowest, highest) = window, (float(values.min()), float(values.max()))
    far = _FAR * (high - low)
    if lowest < highest and (lowest > high + far or highest < low - far):
        raise ImageError(
            f"{name}: its values span {lowest:g}..{highest:g}, nowhere near the range {low:g} {high:g}; give black and "
            "white in the units of the file"
        )


def _own_window(
    stored: Stored, used: np.ndarray, depth: str, name: str, reading: Reading
) -> tuple[tuple[float, float], list[str]]:
    """Values that become 0 and 1 where no range was given, and notices; `used` are the values that are data."""
    option, result = reading.option, reading.result
    asked = option or "a value range for this source"
    numbers = " LOW HIGH" if option else ", LOW HIGH"
    folder = ", or 'folder' for one range of all files" if option and reading.measurable and not result else ""
    if stored.span is None:
        spans = f" (they span {used.min():g}..{used.max():g})" if used.size else " (it holds no data at all)"
        raise ImageError(
            f"{name}: {used.dtype} values have no fixed black and white; give "
            f"{asked}{numbers} in its units{spans}{folder}"
        )
    if stored.span_notice:
        others = "LOW HIGH chooses others, 'folder' one range for all files" if option else "chooses others"
        return stored.span, [f"{stored.span_notice}; {asked} {others}"]
    if depth == "8" or used.size == 0 or stored.fixed:
        return stored.span, []
    low, high, full = used.min(), used.max(), stored.span[1]
    if not uses_little(low, high, stored.span):
        return stored.span, []
    cure = f"where white is not {full}, give {asked}{numbers}" if result else f"give {asked}, e.g. {low} {high}{folder}"
    return stored.span, [f"uses only {low}..{high} of 0..{full}; {cure}"]


def _check_range_of_result(used: np.ndarray, window: tuple[float, float], name: str, option: str) -> None:
    """Raise ImageError where the values of a fused image cannot have these values of black and white."""
    if not used.size:
        return
    (low, high), (lowest, highest) = window, (float(used.min()), float(used.max()))
    width = high - low
    if lowest < low - width or highest > high + width:
        fault = "go far beyond"
    elif 0 < highest - lowest < _USED * width:
        fault = "use hardly anything of"
    else:
        return
    raise ImageError(
        f"{name}: its values span {lowest:g}..{highest:g} and {fault} the range {low:g} {high:g}; {option} takes the "
        "values that are black and white in this result"
    )


def uses_little(low: float, high: float, span: tuple[float, float]) -> bool:
    """Whether values from `low` to `high` use less than a quarter of a span; not of a flat frame, or of floats."""
    return low < high and high - low < span[1] / 4 and span != (0, 1)


def _two_numbers(value_range: tuple[float, float], name: str) -> tuple[float, float]:
    """Values of black and white of a range; raises ImageError where it is something else."""
    words = [value_range] if isinstance(value_range, str) or not np.iterable(value_range) else list(value_range)
    try:
        low, high = map(float, words)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low != high):
        shown = " ".join(map(str, words))
        raise ImageError(f"{name}: a value range is two numbers, the values of black and of white, got {shown}")
    return low, high


def _is_inverted(value_range: tuple[float, float]) -> bool:
    """Whether the higher value of a range is black."""
    return value_range[0] > value_range[1]


def _are_levels(values: np.ndarray, window: tuple[float, float]) -> bool:
    """Whether the values of a large image are kept as they are."""
    whole = values.dtype in (np.uint8, np.uint16) and window == (0, np.iinfo(values.dtype).max)
    return whole and is_large(values.shape)


def _to_unit_range(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(values - low) / (high - low), clipped to [0, 1], float32; what is not finite becomes 0."""
    if (low, high) == (0, 255) and values.dtype == np.uint8:
        return np.divide(values, np.float32(255), dtype=np.float32)
    fits_float32 = values.dtype in (np.uint8, np.uint16, np.float16)
    pixels = values.astype(np.float32 if fits_float32 else np.float64)
    if values.dtype.kind == "f":
        pixels[~np.isfinite(pixels)] = low
    pixels -= low
    pixels /= high - low
    return pixels.clip(0, 1, out=pixels).astype(np.float32, copy=False)
