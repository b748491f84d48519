"""Fusing two volumes slice by slice, with one value range for each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adasffuse.arguments import checked
from adasffuse.choices import AXES, RESAMPLED
from adasffuse.files import real_path
from adasffuse.images.extras import import_optional
from adasffuse.images.false_colors import check_modality, check_palette, in_palette
from adasffuse.images.image import Image, ImageError
from adasffuse.images.panel import contact_sheet
from adasffuse.images.plane import check_order
from adasffuse.images.ranges import RangeSpec, parse_range, steady_extremes, without_artefacts, without_padding
from adasffuse.images.read import CLIPPED, check_units
from adasffuse.images.volume_grid import (
    Volume,
    axis_of,
    check_same_grid,
    frames_notice,
    resampled,
    turned_like,
    upright_slice,
)
from adasffuse.images.volumes import is_volume, read_volume, write_volume
from adasffuse.images.write import quantise, result_depth, write_image
from adasffuse.inference.folder import panel_row
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.work import panel_beside

_SHOWN = 5  # slices of a panel


@checked
@dataclass(frozen=True)
class WantedVolumes:
    """How two volumes are read, and what is written of them.

    A range is two numbers or what `adasffuse.images.ranges.parse_range` returns; None stands for the window that a
    DICOM series asks for, else for the lowest and the highest value, but for single voxels, the padding and metal of CT
    and artefacts of MRI (`steady_extremes`, `without_padding` and `without_artefacts` of `adasffuse.images.ranges`).

    Raises:
        ValueError: another axis, depth or `resample`, not two ranges, or colours of another depth than 8.
    """

    ranges: Sequence[RangeSpec | tuple[float, float] | None] = (None, None)  # per source: what becomes black and white
    depth: str = "auto"  # of the result, '8', '16', 'float', or 'auto': 16, of colours 8
    axis: str = "third"  # of the result's voxels along which slices are cut: 'third', or that nearest to 'axial', ...
    resample: str = "none"  # 'b': the first gets the voxels of the second, 'a': the other way; 'none': both have the
    # same, or 'ignore': equal voxels are fused whatever the files say of their places
    palette: str = "none"  # false colours of the first volume, as in `Fuser.fuse`; the result is RGB then
    panels: bool = False  # also an image of a few slices of the sources and the result side by side

    def __post_init__(self) -> None:
        for name, value, words in (("axis", self.axis, AXES), ("resample", self.resample, RESAMPLED)):
            if value not in words:
                raise ValueError(f"{name} is one of {', '.join(words)}, got {value!r}")
        if self.palette != "none" and self.depth not in ("auto", "8"):
            raise ValueError(f"palette {self.palette}: colours of NIfTI volumes have 8 bits, got depth {self.depth}")
        if len(self.specs) != 2:
            raise ValueError(f"two volumes have two ranges, got {len(self.specs)}")
        result_depth(self.depth, ["8"])  # knows the words

    @property
    def specs(self) -> list[RangeSpec | None]:
        """The ranges as `parse_range` returns them."""
        return [spec if spec is None or isinstance(spec, RangeSpec) else parse_range(spec) for spec in self.ranges]

    @property
    def stored_depth(self) -> str:
        """Depth of the result, '8', '16' or 'float'."""
        usual = "16" if self.palette == "none" else "8"
        return result_depth(usual if self.depth == "auto" else self.depth, ())


@dataclass(frozen=True)
class VolumePlan:
    """Two volumes as they would be fused: read, on one grid, slice by slice."""

    paths: tuple[str | Path, ...]  # of the volumes, in the task's order
    stored: tuple[tuple[int, ...], ...]  # voxels of each as its file has them, with axes turned to those of the result
    voxels: tuple[tuple[float, ...], ...]  # size of these, mm
    windows: tuple[tuple[float, float], ...]  # of each the values that become black and white
    volumes: tuple[Volume, ...]  # at the voxels of the result
    shape: tuple[int, ...]  # voxels of the result
    axis: int  # along which slices are cut, 0, 1 or 2
    depth: str  # of the result, '8', '16' or 'float'
    palette: str  # of the first volume, 'none' for gray
    notices: tuple[tuple[str | Path, str], ...]  # volume, and what a user should know of it

    def images(self, number: int) -> list[Image]:
        """Slice `number` of both volumes."""
        images = [_slice(volume, *ends, self.axis, number) for volume, ends in zip(self.volumes, self.windows)]
        return [in_palette(images[0], self.palette, self.paths[0]), images[1]]


@checked
def fuse_volumes(
    fuser: Fuser,
    paths: Sequence[str | Path],
    out: str | Path,
    wanted: WantedVolumes | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers,
) -> list[str]:
    """Fuse two volumes to a NIfTI file with the affine of their grid, that of the second one.

    Args:
        paths: NIfTI files, DICOM files of several frames, or folders with a DICOM series each, in the task's order.
        out: the NIfTI file; the panel, where one is wanted, is NAME_panel.png beside it.
        progress: wraps the slices' numbers.
    Returns:
        What a user should know.
    Raises:
        ImageError: a volume cannot be read, both are one, the grids differ, the file cannot be written or would
            overwrite a volume, or a CT is to be in false colours.
        ValueError: not two volumes, or a palette where the first source does not give the colour.
    """
    wanted = wanted or WantedVolumes()
    plan = plan_volumes(fuser, paths, out, wanted)
    fuse_planned(fuser, plan, out, panel_beside(out) if wanted.panels else None, progress)
    return [f"{path}: {text}" for path, text in plan.notices]


def fuse_planned(
    fuser: Fuser,
    plan: VolumePlan,
    out: str | Path,
    panel: Path | None,
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> None:
    """Fuse the volumes of a plan to a file, and show a few of their slices in another; errors as `fuse_volumes`."""
    channels = (3,) if plan.palette != "none" else ()
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
        write_image(panel, contact_sheet(rows))


@checked
def plan_volumes(
    fuser: Fuser, paths: Sequence[str | Path], out: str | Path, wanted: WantedVolumes | None = None
) -> VolumePlan:
    """Read two volumes as `fuse_volumes` does, and say how they would be fused; arguments and errors as there."""
    wanted = wanted or WantedVolumes()
    if not is_volume(out):
        raise ImageError(f"{out}: the result of volumes is a volume; give a name ending in .nii.gz")
    import_optional("nibabel", out)
    check_palette(wanted.palette, fuser.task)
    if len(paths) != 2:
        raise ValueError(f"volumes are fused two at a time, got {len(paths)}")
    sources = [real_path(path) for path in paths]
    if sources[0] == sources[1]:
        raise ImageError(f"two sources are one and the same volume, {paths[0]}: it would be fused with itself")
    if real_path(out) in sources:
        raise ImageError(f"the result {out} would overwrite a source; choose another name")
    volumes = [read_volume(path) for path in paths]
    check_modality(paths[0], wanted.palette, volumes[0].modality)
    check_order(paths, [volume.modality for volume in volumes], fuser.task.kinds)
    if wanted.resample == "none":
        volumes[0] = turned_like(*volumes)
    stored = tuple(volume.values.shape for volume in volumes)
    voxels = tuple(tuple(map(float, volume.steps)) for volume in volumes)
    if wanted.resample in ("a", "b"):
        k, like = (0, 1) if wanted.resample == "b" else (1, 0)
        volumes[k] = resampled(paths[k], volumes[k], paths[like], volumes[like])
    check_same_grid(paths, volumes, places=wanted.resample != "ignore")
    along = 2 if wanted.axis == "third" else axis_of(paths[0 if wanted.resample == "a" else 1], volumes[1], wanted.axis)
    windows, notices = [], []
    for path, volume, spec, side, kind in zip(paths, volumes, wanted.specs, "ab", fuser.task.kinds_of(2)):
        window, texts = _shown(path, volume, spec, f"--range_{side}", kind)
        windows.append(window)
        notices += [(path, text) for text in texts]
    if wanted.resample != "ignore":
        notices += [(paths[0], text) for text in frames_notice(paths[1], volumes)]
    return VolumePlan(
        paths=tuple(paths),
        stored=stored,
        voxels=voxels,
        windows=tuple(windows),
        volumes=tuple(volumes),
        shape=volumes[0].values.shape,
        axis=along,
        depth=wanted.stored_depth,
        palette=wanted.palette,
        notices=tuple(notices),
    )


def _shown(
    path: str | Path, volume: Volume, spec: RangeSpec | None, option: str, kind: str
) -> tuple[tuple[float, float], list[str]]:
    """Values of black and of white of a volume, and what a user should know of it.

    Args:
        option: what gives another range.
        kind: of the source, as in `Task.kinds`.
    Raises:
        ImageError: the volume holds no data, or the range has other units.
    """
    if not np.isfinite(volume.values).any():
        raise ImageError(f"{path}: holds no finite value")
    low, high, chosen = window_of(volume, spec, kind)
    if spec is not None:
        check_units(volume.values[np.isfinite(volume.values)], (low, high), str(path))
    inverted = volume.inverted != (spec is not None and spec.inverted)
    black, white = (high, low) if inverted else (low, high)
    notices = []
    if chosen:
        others = f"; {option} LOW HIGH chooses others" if spec is None else ""
        notices.append(f"the values {black:g} to {white:g} become black to white{others}")
    return (black, white), [*notices, *volume.notices, *_remarks(volume, low, high, spec)]


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
