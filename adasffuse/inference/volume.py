"""Fusing two volumes slice by slice, with one value range for each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adasffuse.arguments import checked
from adasffuse.choices import AXES, RESAMPLED
from adasffuse.images.false_colors import check_modality, check_palette, in_palette
from adasffuse.images.image import Image, ImageError
from adasffuse.images.panel import contact_sheet
from adasffuse.images.plane import check_order
from adasffuse.images.ranges import RangeSpec, parse_range, steady_extremes, without_artefacts, without_padding
from adasffuse.images.read import CLIPPED
from adasffuse.images.volumes import (
    VOLUME_SUFFIXES,
    Volume,
    axis_of,
    check_same_grid,
    is_volume,
    read_volume,
    resampled,
    turned_like,
    upright_slice,
    write_volume,
)
from adasffuse.images.write import quantise, result_depth, write_image
from adasffuse.inference.folder import panel_row
from adasffuse.inference.fuser import Fuser

_SHOWN = 5  # slices of a panel


@dataclass(frozen=True)
class VolumePlan:
    """Two volumes as they would be fused: read, on one grid, slice by slice."""

    paths: tuple[str | Path, ...]  # of the volumes, in the task's order
    stored: tuple[tuple[int, ...], ...]  # voxels of each as its file has them, with axes turned to those of the result
    voxels: tuple[tuple[float, ...], ...]  # size of these, mm
    windows: tuple[tuple[float, float], ...]  # of each the values that become black and white
    volumes: tuple[Volume, ...]  # at the voxels of the result
    axis: int  # along which slices are cut, 0, 1 or 2
    depth: str  # of the result, '8', '16' or 'float'
    palette: str  # of the first volume, 'none' for gray
    notices: tuple[str, ...]  # what a user should know

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the result."""
        return self.volumes[0].values.shape

    def images(self, number: int) -> list[Image]:
        """Slice `number` of both volumes."""
        images = [_slice(volume, *ends, self.axis, number) for volume, ends in zip(self.volumes, self.windows)]
        return [in_palette(images[0], self.palette, self.paths[0]), images[1]]


@checked
def fuse_volumes(
    fuser: Fuser,
    paths: Sequence[str | Path],
    out: str | Path,
    ranges: Sequence[RangeSpec | tuple[float, float] | None] = (None, None),
    depth: str = "auto",
    axis: str = "third",
    resample: str = "none",
    palette: str = "none",
    panel: bool = False,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers,
) -> list[str]:
    """Fuse two volumes to a NIfTI file with the affine of their grid, that of the second one.

    Args:
        paths: NIfTI files, or folders with a DICOM series each, in the task's order.
        ranges: per source which values become black and white, two numbers or what
            `adasffuse.images.ranges.parse_range` returns; None: the window that a DICOM series asks for, else the
            lowest and the highest, but for single voxels, the padding and metal of CT and artefacts of MRI
            (`steady_extremes`, `without_padding` and `without_artefacts` of `adasffuse.images.ranges`).
        depth: of the result, '8', '16', 'float', or 'auto': 16, of colours 8.
        axis: which slices are cut: 'axial', 'coronal' or 'sagittal', of the axes of the result's voxels that which is
            nearest; 'third': along the third of these axes, whichever it is.
        resample: 'b' brings the first volume to the voxels of the second, 'a' the second to those of the first, see
            `adasffuse.images.volumes.resampled`; 'none': they must have one grid.
        palette: 'hot' or 'inferno': the first volume is shown in these false colours, so that activity can be told from
            bright tissue, and the result is RGB; 'none': it is gray.  For PET and SPECT, 'mif'.
        panel: also write NAME_panel.png, see `panel_of_volume`.
        progress: wraps the slices' numbers.
    Returns:
        What a user should know.
    Raises:
        ImageError: a volume cannot be read, both are one, the grids differ, the file cannot be written or would
            overwrite a volume, or a CT is to be in false colours.
        ValueError: not two volumes, another axis, depth, `resample` or `palette`, or a palette where the first source
            does not give the colour or the depth is not 8.
    """
    plan = plan_volumes(fuser, paths, out, ranges, depth, axis, resample, palette)
    channels = (3,) if palette != "none" else ()
    fused = np.empty((*plan.shape, *channels), quantise(np.zeros((1, 1), np.float32), plan.depth).dtype)
    count, affine = plan.shape[plan.axis], plan.volumes[1].affine
    middles = {(2 * k + 1) * count // (2 * _SHOWN) for k in range(_SHOWN)} if panel else ()
    rows = []
    for number in progress(range(count)):
        images = plan.images(number)
        prepared = fuser.prepare(*images)  # its notices say what slices beside an organ are: empty
        shown = fuser.finish(fuser.fuse_prepared(prepared), prepared, depth=plan.depth)
        place = (slice(None),) * plan.axis + (number,)
        fused[place] = shown[..., None] if shown.ndim < fused.ndim - 1 else shown  # a slice without colour is gray
        if number in middles:
            images = [replace(one, pixels=upright_slice(one.pixels, affine, plan.axis)) for one in images]
            (first, image), *others = panel_row(images, upright_slice(shown, affine, plan.axis), fuser.task)
            rows.append([(f"{first}, slice {number + 1} of {count}", image), *others])
    write_volume(out, fused, affine)
    if panel:
        write_image(panel_of_volume(out), contact_sheet(rows))
    return list(plan.notices)


@checked
def plan_volumes(
    fuser: Fuser,
    paths: Sequence[str | Path],
    out: str | Path,
    ranges: Sequence[RangeSpec | tuple[float, float] | None] = (None, None),
    depth: str = "auto",
    axis: str = "third",
    resample: str = "none",
    palette: str = "none",
) -> VolumePlan:
    """Read two volumes as `fuse_volumes` does, and say how they would be fused; arguments and errors as there."""
    if not is_volume(out):
        raise ImageError(f"{out}: the result of volumes is a volume; give a name ending in .nii.gz")
    for name, value, words in (("axis", axis, AXES), ("resample", resample, RESAMPLED)):
        if value not in words:
            raise ValueError(f"{name} is one of {', '.join(words)}, got {value!r}")
    check_palette(palette, fuser.task)
    colored = palette != "none"
    if colored and depth not in ("auto", "8"):
        raise ValueError(f"palette {palette}: colours of NIfTI volumes have 8 bits, got depth {depth}")
    usual = "8" if colored else "16"
    depth = result_depth(usual if depth == "auto" else depth, ())
    if len(paths) != 2:
        raise ValueError(f"volumes are fused two at a time, got {len(paths)}")
    specs = [spec if spec is None or isinstance(spec, RangeSpec) else parse_range(spec) for spec in ranges]
    sources = [Path(path).resolve() for path in paths]
    if sources[0] == sources[1]:
        raise ImageError(f"two sources are one and the same volume, {paths[0]}: it would be fused with itself")
    if Path(out).resolve() in sources:
        raise ImageError(f"the result {out} would overwrite a source; choose another name")
    volumes = [read_volume(path) for path in paths]
    check_modality(paths[0], palette, volumes[0].modality)
    check_order(paths, [volume.modality for volume in volumes], fuser.task.kinds)
    if resample == "none":
        volumes[0] = turned_like(*volumes)
    stored = tuple(volume.values.shape for volume in volumes)
    voxels = tuple(tuple(map(float, volume.steps)) for volume in volumes)
    if resample != "none":
        k, like = (0, 1) if resample == "b" else (1, 0)
        volumes[k] = resampled(paths[k], volumes[k], paths[like], volumes[like])
    check_same_grid(paths, volumes)
    along = 2 if axis == "third" else axis_of(paths[0 if resample == "a" else 1], volumes[1], axis)
    notices, windows = [], []
    for path, volume, spec, side, kind in zip(paths, volumes, specs, "ab", fuser.task.kinds_of(2)):
        if not np.isfinite(volume.values).any():
            raise ImageError(f"{path}: holds no finite value")
        low, high, chosen = window_of(volume, spec, kind)
        inverted = volume.inverted != (spec is not None and spec.inverted)
        windows.append((high, low) if inverted else (low, high))
        if chosen:
            black, white = windows[-1]
            others = f"; --range_{side} LOW HIGH chooses others" if spec is None else ""
            notices.append(f"{path}: the values {black:g} to {white:g} become black to white{others}")
        notices += [f"{path}: {notice}" for notice in (*volume.notices, *_remarks(volume, low, high, spec))]
    return VolumePlan(
        tuple(paths), stored, voxels, tuple(windows), tuple(volumes), along, depth, palette, tuple(notices)
    )


def panel_of_volume(out: str | Path) -> Path:
    """The file beside a volume that shows the sources and the result of a few of its slices, NAME_panel.png."""
    out = Path(out)
    suffix = max((one for one in VOLUME_SUFFIXES if out.name.lower().endswith(one)), key=len)
    return out.with_name(f"{out.name[: -len(suffix)]}_panel.png")


def window_of(volume: Volume, spec: RangeSpec | None, kind: str = "") -> tuple[float, float, bool]:
    """Values of black and white of a volume that holds data, and whether they are chosen by its content.

    Args:
        kind: of the source, as in `Task.kinds`.
    """
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
            if kind == "mri":
                low, high = without_artefacts(low, high, finite)
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


def _slice(volume: Volume, black: float, white: float, axis: int, number: int) -> Image:
    """A slice on [0, 1], 0 where there is no data."""
    values = np.take(volume.values, number, axis)
    valid = np.isfinite(values)
    unit = ((values - black) / (white - black)).clip(0, 1)
    return Image(np.where(valid, unit, 0).astype(np.float32), "16", valid=None if valid.all() else valid)
