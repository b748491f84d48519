"""Fusing two volumes slice by slice, with one value range for each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from adasffuse.arguments import checked
from adasffuse.choices import PALETTES, RESAMPLED
from adasffuse.images.false_colors import in_false_colors
from adasffuse.images.image import Image, ImageError
from adasffuse.images.ranges import RangeSpec, parse_range, steady_extremes, without_padding
from adasffuse.images.read import CLIPPED
from adasffuse.images.volumes import (
    Volume,
    check_same_grid,
    is_volume,
    read_volume,
    resampled,
    turned_like,
    write_volume,
)
from adasffuse.images.write import quantise, result_depth
from adasffuse.inference.fuser import Fuser


@checked
def fuse_volumes(
    fuser: Fuser,
    paths: Sequence[str | Path],
    out: str | Path,
    ranges: Sequence[RangeSpec | tuple[float, float] | None] = (None, None),
    depth: str = "auto",
    axis: int = 2,
    resample: str = "none",
    palette: str = "none",
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers,
) -> list[str]:
    """Fuse two volumes to a NIfTI file with the affine of their grid, that of the second one.

    Args:
        paths: NIfTI files, or folders with a DICOM series each, in the task's order.
        ranges: per source which values become black and white, two numbers or what
            `adasffuse.images.ranges.parse_range` returns; None: the window that a DICOM series asks for, else the
            lowest and the highest, but for single voxels (`adasffuse.images.ranges.steady_extremes`) and the padding
            and metal of CT (`adasffuse.images.ranges.without_padding`).
        depth: of the result, '8', '16', 'float', or 'auto': 16, of colours 8.
        axis: along which slices are cut, 0, 1 or 2.
        resample: 'b' brings the first volume to the voxels of the second, 'a' the second to those of the first, see
            `adasffuse.images.volumes.resampled`; 'none': they must have one grid.
        palette: 'hot' or 'inferno': the first volume is shown in these false colours, so that activity can be told from
            bright tissue, and the result is RGB; 'none': it is gray.  For 'mif'.
        progress: wraps the slices' numbers.
    Returns:
        What a user should know.
    Raises:
        ImageError: a volume cannot be read, both are one, the grids differ, or the file cannot be written or would
            overwrite a volume.
        ValueError: not two volumes, another axis, depth, `resample` or `palette`, or a palette where the first source
            does not give the colour or the depth is not 8.
    """
    if not is_volume(out):
        raise ImageError(f"{out}: the result of volumes is a volume; give a name ending in .nii.gz")
    if axis not in (0, 1, 2):
        raise ValueError(f"axis is 0, 1 or 2, got {axis}")
    if resample not in RESAMPLED:
        raise ValueError(f"resample is one of {', '.join(RESAMPLED)}, got {resample!r}")
    if palette not in PALETTES:
        raise ValueError(f"palette is one of {', '.join(PALETTES)}, got {palette!r}")
    colored = palette != "none"
    if colored and fuser.task.color != "a":
        raise ValueError(f"palette {palette} is for CT, PET or SPECT + MRI (mif), got task {fuser.task.id}")
    if colored and depth not in ("auto", "8"):
        raise ValueError(f"palette {palette}: colours of NIfTI volumes have 8 bits, got depth {depth}")
    if len(paths) != 2:
        raise ValueError(f"volumes are fused two at a time, got {len(paths)}")
    specs = [spec if spec is None or isinstance(spec, RangeSpec) else parse_range(spec) for spec in ranges]
    sources = [Path(path).resolve() for path in paths]
    if sources[0] == sources[1]:
        raise ImageError(f"two sources are one and the same volume, {paths[0]}: it would be fused with itself")
    if Path(out).resolve() in sources:
        raise ImageError(f"the result {out} would overwrite a source; choose another name")
    volumes = [read_volume(path) for path in paths]
    if resample == "none":
        volumes[0] = turned_like(*volumes)
    else:
        k, like = (0, 1) if resample == "b" else (1, 0)
        volumes[k] = resampled(paths[k], volumes[k], paths[like], volumes[like])
    check_same_grid(paths, volumes)
    notices, units = [], []
    for path, volume, spec, side in zip(paths, volumes, specs, "ab"):
        if not np.isfinite(volume.values).any():
            raise ImageError(f"{path}: holds no finite value")
        low, high, chosen = window_of(volume, spec)
        inverted = volume.inverted != (spec is not None and spec.inverted)
        if chosen:
            black, white = (high, low) if inverted else (low, high)
            others = f"; --range_{side} LOW HIGH chooses others" if spec is None else ""
            notices.append(f"{path}: the values {black:g} to {white:g} become black to white{others}")
        notices += [f"{path}: {notice}" for notice in (*volume.notices, *_remarks(volume, low, high, spec))]
        unit = ((volume.values - low) / (high - low)).clip(0, 1)
        units.append(1 - unit if inverted else unit)
    usual = "8" if colored else "16"
    depth = result_depth(usual if depth == "auto" else depth, ())
    channels = (3,) if colored else ()
    fused = np.empty((*units[0].shape, *channels), quantise(np.zeros((1, 1), np.float32), depth).dtype)
    for number in progress(range(units[0].shape[axis])):
        images = [_slice(path, unit, axis, number, volume) for path, unit, volume in zip(paths, units, volumes)]
        if colored:
            images[0] = replace(images[0], pixels=in_false_colors(images[0].pixels, palette))
        place = (slice(None),) * axis + (number,)
        prepared = fuser.prepare(*images)  # its notices say what slices beside an organ are: empty
        shown = fuser.finish(fuser.fuse_prepared(prepared), prepared, depth=depth)
        fused[place] = shown[..., None] if shown.ndim < fused.ndim - 1 else shown  # a slice without colour is gray
    write_volume(out, fused, volumes[1].affine)
    return notices


def window_of(volume: Volume, spec: RangeSpec | None) -> tuple[float, float, bool]:
    """Values of black and white of a volume that holds data, and whether they are chosen by its content."""
    finite = volume.values[np.isfinite(volume.values)]
    if spec is not None and spec.kind == "fixed":
        return spec.low, spec.high, False
    if spec is None and volume.window is not None:
        return *volume.window, False
    if spec is not None and spec.kind == "percentiles":
        low, high = (float(value) for value in np.percentile(finite, (spec.low, spec.high)))
    else:
        low, high = steady_extremes(volume.values, np.isfinite(volume.values))
        if spec is None:
            low, high = without_padding(low, high, finite)
    return low, high if high > low else low + max(1.0, abs(low) * 1e-6), True


def _remarks(volume: Volume, low: float, high: float, spec: RangeSpec | None) -> list[str]:
    """What a user should know of a volume that is shown from `low` to `high`, as `spec` asks."""
    finite = volume.values[np.isfinite(volume.values)]
    lowest, highest = finite.min(), finite.max()
    if lowest == highest:
        return [f"has the value {lowest:g} everywhere, and nothing to show; the result is the other source"]
    outside = np.mean((finite < low) | (finite > high))
    if spec is None or outside <= CLIPPED:
        return []
    return [f"{outside:.0%} of its values lie outside the range {low:g} {high:g}; they span {lowest:g}..{highest:g}"]


def _slice(path: str | Path, unit: np.ndarray, axis: int, number: int, volume: Volume) -> Image:
    pixels = np.take(unit, number, axis)
    valid = np.isfinite(np.take(volume.values, number, axis))
    pixels = np.where(valid, pixels, 0).astype(np.float32)
    return Image(pixels, "16", valid=None if valid.all() else valid)
