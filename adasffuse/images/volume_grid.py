"""Volumes in memory: voxels and where they lie, turned, cut into slices, compared and resampled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from adasffuse.images.extras import import_optional
from adasffuse.images.image import ImageError
from adasffuse.images.plane import IF_WRONG, OTHER_FRAME

_SAME_GRID = 1e-2  # mm, how far positions of the same voxel may lie apart
_FLAT = 1e-6  # volume of a voxel by the product of its sides, below which it has none
_FWHM = 2.3548  # full width at half maximum of a Gaussian, in its standard deviations
_CUTS = ("sagittal", "coronal", "axial")  # slices across right, anterior and superior
_RESAMPLE = "--resample b brings the first to the voxels of the second, by where both lie in space"


@dataclass(frozen=True)
class Volume:
    """Voxels, and where they lie in space."""

    values: np.ndarray  # (X, Y, Z) float32, in the file's units; NaN where there is no data
    affine: np.ndarray  # (4, 4), from voxel numbers to mm, as NIfTI has it: right, anterior, superior
    window: tuple[float, float] | None = None  # values of black and white that the file asks for, unless by a curve
    inverted: bool = False  # the smallest value is white
    notices: tuple[str, ...] = ()  # what a user should know, without its name
    placed: bool = True  # whether the file says where its voxels lie; else that is assumed
    frame_of_reference: str = ""  # DICOM's name of the coordinates that the affine leads to; '' where none is said
    modality: str = ""  # 'CT', 'PT', 'NM', 'MR', ..., of DICOM

    @property
    def steps(self) -> np.ndarray:
        """Size of a voxel along each of its axes, mm, (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def turned_like(volume: Volume, other: Volume) -> Volume:
    """A volume whose axes run as those of another one: exchanged or reversed where needed, nothing is resampled.

    The volume itself where one of both does not say how its axes run.
    """
    if not (volume.placed and other.placed and np.isfinite([volume.affine, other.affine]).all()):
        return volume
    orientations = import_optional("nibabel", "volume").orientations
    ends = [orientations.io_orientation(one.affine) for one in (volume, other)]
    if np.isnan(ends).any() or np.array_equal(*ends):  # NaN: an axis without direction
        return volume
    turn = orientations.ornt_transform(*ends)
    affine = volume.affine @ orientations.inv_ornt_aff(turn, volume.values.shape)
    return replace(volume, values=orientations.apply_orientation(volume.values, turn), affine=affine)


def axis_of(name: str | Path, volume: Volume, cut: str) -> int:
    """The axis of a volume's voxels, 0, 1 or 2, along which slices are cut that are 'axial', 'coronal' or 'sagittal'.

    Of oblique volumes it is the nearest one.

    Raises:
        ImageError: the volume, called `name`, does not say where its voxels lie.
    """
    if not volume.placed:
        raise ImageError(f"{name} does not say where its voxels lie, so which of its slices are {cut} is not known")
    directions = import_optional("nibabel", name).orientations.io_orientation(volume.affine)[:, 0]
    return directions.tolist().index(_CUTS.index(cut))


def upright_slice(pixels: np.ndarray, affine: np.ndarray, axis: int) -> np.ndarray:
    """A slice as radiologists look at it, with square pixels.

    Up is the head, in axial slices the front; on the left is the body's right side, in sagittal slices its front.

    Args:
        pixels: (P, Q) or (P, Q, 3), along the two other axes of the volume; uint8, uint16 or float32.
        affine: of the volume.
        axis: of the volume, 0 to 2, across which it is cut.
    Returns:
        (H, W) or (H, W, 3) of the same type; only turned where the affine has no directions.
    """
    others = [k for k in range(3) if k != axis]
    if not has_volume(affine):
        return pixels.swapaxes(0, 1)
    directions, signs = import_optional("nibabel", "volume").orientations.io_orientation(affine)[others].T
    pixels = np.flip(pixels, [k for k in range(2) if signs[k] > 0])
    steps = np.linalg.norm(affine[:3, others], axis=0)
    heights = [max(1, round(size * step / steps.min())) for size, step in zip(pixels.shape, steps)]
    pixels = cv2.resize(np.ascontiguousarray(pixels), heights[::-1], interpolation=cv2.INTER_LINEAR)
    return pixels.swapaxes(0, 1) if directions[0] < directions[1] else pixels


def check_same_grid(names: Sequence[str | Path], volumes: Sequence[Volume], places: bool = True) -> None:
    """Raise ImageError where two volumes do not have their voxels in the same places.

    Args:
        places: False: only as many voxels along each axis.
    """
    (first, second), (one, other) = names, volumes
    cure = _unplaced(names, volumes) or _RESAMPLE
    if one.values.shape != other.values.shape:
        shapes = [" x ".join(map(str, volume.values.shape)) for volume in volumes]
        raise ImageError(f"{first} has {shapes[0]} voxels, {second} {shapes[1]}; {cure}")
    if not places:
        return
    size = np.array(one.values.shape) - 1
    corners = np.array([[*(size * [i, j, k]), 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], np.float64)
    gap = np.abs(corners @ (one.affine - other.affine).T).max()
    ignored = IF_WRONG.format("voxels")
    if one.placed != other.placed:  # what is assumed of one, such as which side is left, may be wrong though it fits
        raise ImageError(f"whether {first} and {second} show the same places is not known: {cure}; {ignored}")
    if not gap <= _SAME_GRID:  # nor where it is NaN
        raise ImageError(f"{first} and {second} have their voxels up to {gap:.2f} mm apart; {cure}; {ignored}")


def resampled(name: str | Path, volume: Volume, like_name: str | Path, like: Volume) -> Volume:
    """A volume at the voxels of another, by where both lie in space; nothing is registered.

    Values between voxels are interpolated linearly; where the volume has finer voxels than the other, it is smoothed
    before, to a full width at half maximum that makes up the difference.  There is no data beyond the volume.

    Args:
        name, like_name: of the volumes, for messages.
    Raises:
        ImageError: one does not say where its voxels lie, or the volumes have no place in common.
    """
    from scipy.ndimage import affine_transform, gaussian_filter  # here, since it takes as long to load as the rest

    unplaced = _unplaced((name, like_name), (volume, like))
    if unplaced:
        raise ImageError(unplaced)
    matrix = np.linalg.solve(volume.affine, like.affine)  # from the other's voxel numbers to those of the volume
    known = np.isfinite(volume.values)
    values, share = np.where(known, volume.values, 0), known.astype(np.float32)
    steps = np.sqrt(np.square(matrix[:3, :3]).sum(axis=1))  # of the other's voxels, along each axis of the volume
    widths = np.sqrt(np.maximum(np.square(steps) - 1, 0)) / _FWHM
    if widths.max() > 0:
        values, share = (gaussian_filter(one, widths, mode="constant") for one in (values, share))
    place = {"matrix": matrix[:3, :3], "offset": matrix[:3, 3], "output_shape": like.values.shape, "order": 1}
    values, share = (affine_transform(one, **place, mode="grid-constant") for one in (values, share))
    inside = share >= 0.5
    if not inside.any():
        raise ImageError(f"{name} and {like_name} have no place in common, as their files say")
    result = np.full(like.values.shape, np.nan, np.float32)
    result[inside] = values[inside] / share[inside]
    sizes = [" x ".join(map(str, one.values.shape)) for one in (volume, like)]
    notice = f"resampled from {sizes[0]} to {sizes[1]} voxels, of which it shows {inside.mean():.0%}"
    return replace(volume, values=result, affine=like.affine, notices=(*volume.notices, notice))


def frames_notice(other_name: str | Path, volumes: Sequence[Volume]) -> list[str]:
    """The notice that two volumes have different frames of reference, the second called `other_name`; [] for none."""
    references = {volume.frame_of_reference for volume in volumes} - {""}
    return [OTHER_FRAME.format(other_name)] if len(references) > 1 else []


def has_volume(affine: np.ndarray) -> bool:
    """Whether voxels have three directions: damaged headers have zeros or NaN."""
    steps = affine[:3, :3]
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(steps)) > _FLAT * np.linalg.norm(steps, axis=0).prod())


def _unplaced(names: Sequence[str | Path], volumes: Sequence[Volume]) -> str:
    """What is said of the first volume that does not say where its voxels lie, '' for none."""
    unplaced = [name for name, volume in zip(names, volumes) if not volume.placed]
    if not unplaced:
        return ""
    return (
        f"{unplaced[0]} does not say where its voxels lie, so they cannot be resampled; give it the affine of the "
        "volume that it was made from (NIfTI: an sform whose code is not 0)"
    )
