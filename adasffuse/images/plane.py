"""Where the pixels of DICOM slices lie, and whether those of several slices lie in the same places."""

from collections.abc import Sequence

import numpy as np

from adasffuse.images.image import Image, ImageError, Plane

_SAME_SPACING = 0.01  # by which sizes of pixels may differ, as a share: files round 0.9375 mm to 0.94
_SAME_PLACE = 1.0  # pixel, by which corners may lie apart within the slice
_SAME_SLICE = 0.5  # of the thickness, by which corners may lie apart across the slice
_CURE = (
    "register them first (--align of adasffuse fuse), or fuse their series as volumes, by where they lie: adasffuse "
    "fuse A B -o NAME.nii.gz --resample b"
)


def check_same_places(names: Sequence[object], images: Sequence[Image]) -> None:
    """Raise ImageError where the files of two images of one size say that their pixels show different places.

    Sizes of pixels are compared where both state them in one way (PixelSpacing, or ImagerPixelSpacing, at the
    detector); positions and directions where both have one frame of reference.  Rounded numbers make no difference.
    """
    for name, image in zip(names[1:], images[1:]):
        one, other = images[0].plane, image.plane
        if one is None or other is None:
            continue
        for tag in ("spacing", "detector_spacing"):
            sizes = getattr(one, tag), getattr(other, tag)
            if None not in sizes and not np.allclose(*sizes, rtol=_SAME_SPACING, atol=0):
                texts = [" x ".join(f"{value:g}" for value in size) for size in sizes]
                raise ImageError(
                    f"{names[0]} has pixels of {texts[0]} mm, {name} of {texts[1]} mm: equal pixels do not show the "
                    f"same places; {_CURE}"
                )
            if None not in sizes:
                break  # at the detector it may differ then
        apart = _apart(one, other, image.pixels.shape[:2])
        if apart is None:
            continue
        thickest = max(one.thickness or 0, other.thickness or 0, *other.spacing)
        within, across = apart
        if across > _SAME_SLICE * thickest or within > _SAME_PLACE * max(other.spacing):
            far = float(np.hypot(within, across))
            raise ImageError(
                f"{names[0]} and {name} lie up to {far:.1f} mm apart, as both say in one frame of reference: equal "
                f"pixels do not show the same places; {_CURE}"
            )


def _apart(one: Plane, other: Plane, shape: tuple[int, int]) -> tuple[float, float] | None:
    """How far the corners of two slices lie apart, within the slice and across it, mm; None where files do not say."""
    unknown = None in (one.corner, one.directions, one.spacing, other.corner, other.directions, other.spacing)
    if unknown or not one.frame_of_reference or one.frame_of_reference != other.frame_of_reference:
        return None
    gaps = _corners(one, shape) - _corners(other, shape)
    normal = np.cross(other.directions[:3], other.directions[3:])
    across = gaps @ normal
    within = np.linalg.norm(gaps - across[:, None] * normal, axis=1)
    return float(within.max()), float(np.abs(across).max())


def _corners(plane: Plane, shape: tuple[int, int]) -> np.ndarray:
    """Places of the corner pixels of a slice of `shape`, (4, 3) mm."""
    turn = np.array(plane.directions)
    down, along = plane.spacing[0] * (shape[0] - 1) * turn[3:], plane.spacing[1] * (shape[1] - 1) * turn[:3]
    return np.array([np.array(plane.corner) + i * down + j * along for i in (0, 1) for j in (0, 1)])
