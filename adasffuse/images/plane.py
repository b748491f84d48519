"""Where pixels lie, of DICOM slices in the body, of GeoTIFF files on the map.

Whether those of two show the same, and the way from one to the other.
"""

from collections.abc import Sequence

import numpy as np

from adasffuse.images.image import Image, ImageError, Plane

_FIRST = {"MR": ("CT", "PT", "NM"), "CT": ("PT", "NM")}  # modalities that come before another one
_SAME_SPACING = 0.01  # by which sizes of pixels may differ, as a share: files round 0.9375 mm to 0.94
_SAME_PLACE = 1.0  # pixel, by which corners may lie apart within the slice
_SAME_SLICE = 0.5  # of the thickness, by which corners may lie apart across the slice
_BY_PLACE = "--resample b of adasffuse fuse brings the first to the pixels of the second, by where both lie"
_REGISTER = "register them by --align of adasffuse fuse"
IF_WRONG = "where the files are wrong about it, adasffuse fuse with --resample ignore fuses equal {}"
_PIXELS_IF_WRONG = IF_WRONG.format("pixels")
_IN_STACK = (
    "a stack is not resampled: bring its images to one grid first (gdalwarp), or, where the files are wrong about it, "
    "register them by --align of adasffuse stack"
)
_SERIES = "give slices of one place, or fuse their series as volumes: adasffuse fuse A B -o NAME.nii.gz --resample b"

OTHER_FRAME = (
    "has another frame of reference than {}, as after the patient got up: the same position need not be the same place "
    "in the body; register them first"
)


def check_same_places(names: Sequence[object], images: Sequence[Image]) -> None:
    """Raise ImageError where the files of two images of one size say that their pixels show different places.

    Sizes of pixels are compared where both state them in one way (PixelSpacing, or ImagerPixelSpacing, at the
    detector); positions and directions where both have one frame of reference.  Rounded numbers make no difference.
    Two maps need one coordinate system.
    """
    for name, image in zip(names[1:], images[1:]):
        planes = images[0].plane, image.plane
        check_same_place((names[0], name), planes, image.pixels.shape[:2], in_stack=len(images) > 2)


def check_same_place(
    names: tuple[object, object],
    planes: tuple[Plane | None, Plane | None],
    shape: tuple[int, int],
    in_stack: bool = False,
) -> None:
    """`check_same_places` for what the files of two images of a height and width say; of a stack by other cures."""
    one, other = planes
    if one is None or other is None:
        return
    _check_maps(*names, one, other, in_stack)
    _check_spacings(*names, one, other, in_stack)
    if not (_is_placed(one) and _is_placed(other)):
        return
    unnamed = not one.frame_of_reference and not (one.map_tags and other.map_tags)
    if unnamed or one.frame_of_reference != other.frame_of_reference:
        return
    within, across = _distances(_corners(one, shape) - _corners(other, shape), other)
    is_other_slice = across > _most_across(one, other)
    if is_other_slice or within > _SAME_PLACE * max(other.spacing):
        far = float(np.hypot(within, across))
        cure = _IN_STACK if in_stack else f"{_SERIES if is_other_slice else _BY_PLACE}; {_PIXELS_IF_WRONG}"
        raise ImageError(
            f"{names[0]} and {names[1]} lie up to {_far(far, other)} apart, as both say in one frame of reference: "
            f"equal pixels do not show the same places; {cure}"
        )


def check_order(names: Sequence[object], modalities: Sequence[str], kinds: Sequence[str]) -> None:
    """Raise ImageError where files say that what gives the colour is the second source.

    That is a CT, PET or SPECT behind an MRI, and a PET or SPECT behind a CT, which takes the place of the MRI.

    Args:
        modalities: DICOM's word for each source, '' where it is not known.
        kinds: of the task's sources, see `Task.kinds`.
    """
    if tuple(kinds) == ("scan", "mri") and modalities[1] in _FIRST.get(modalities[0], ()):
        raise ImageError(
            f"{names[0]} is of modality {modalities[0]} and {names[1]} of {modalities[1]}, as their files say; give "
            f"them in the other order: {'CT, PET or SPECT' if modalities[0] == 'MR' else 'PET or SPECT'} first"
        )


def modality_of(image: Image) -> str:
    """DICOM's word for what made an image, '' where it is not known."""
    return "" if image.plane is None else image.plane.modality


def matrix_between(target: Image, moving: Image, names: Sequence[str]) -> np.ndarray:
    """(3, 3) matrix from the pixel positions (x, y) of a slice to those of another one, by where both lie.

    Args:
        names: of both, in this order, for messages.
    Raises:
        ImageError: one does not say where its pixels lie, the two lie on maps of different coordinate systems, or they
            are no slices of one place: at a corner of the target they lie more than half the thickness of the thicker
            one apart.
    """
    for name, image in zip(names, (target, moving)):
        if image.plane is None or not _is_placed(image.plane):
            raise ImageError(
                f"{name} does not say where its pixels lie (DICOM's ImagePositionPatient, ImageOrientationPatient and "
                f"PixelSpacing; GeoTIFF's tags), so it cannot be resampled; {_REGISTER}, or, where a world file (.tfw, "
                ".jgw, .pgw) says it, make a GeoTIFF of both: gdal_translate -a_srs EPSG:CODE IN OUT.tif"
            )
    one, other = target.plane, moving.plane
    _check_maps(*names[::-1], other, one)
    _, across = _distances(_corners(one, target.pixels.shape[:2]) - np.array(other.corner), other)
    if across > _most_across(one, other):
        raise ImageError(f"{names[0]} and {names[1]} are slices {across:.1f} mm apart, as both say; {_SERIES}")
    steps = _steps(other)
    place = np.linalg.pinv(steps.T)  # from mm, relative to the corner, to x and y
    matrix = np.eye(3)
    matrix[:2, :2] = place @ _steps(one).T
    matrix[:2, 2] = place @ (np.array(one.corner) - np.array(other.corner))
    return matrix


def _check_maps(name: object, other_name: object, one: Plane, other: Plane, in_stack: bool = False) -> None:
    """Raise ImageError for two places on maps in coordinate systems that have different names."""
    systems = [plane.frame_of_reference for plane in (one, other) if plane.map_tags and plane.frame_of_reference]
    if len(set(systems)) == 2:
        raise ImageError(
            f"{name} lies on the map in {systems[0]}, {other_name} in {systems[1]}: bring both to one coordinate "
            f"system by GIS software (gdalwarp -t_srs {systems[1]} ...); {_IN_STACK if in_stack else _PIXELS_IF_WRONG}"
        )


def _far(distance: float, plane: Plane) -> str:
    """A distance with its unit."""
    if not plane.map_tags:
        return f"{distance:.1f} mm"
    return f"{np.format_float_positional(distance, precision=4, fractional=False, trim='-')} units of the map"


def _check_spacings(name: object, other_name: object, one: Plane, other: Plane, in_stack: bool) -> None:
    """Raise ImageError where sizes of pixels differ that are stated in one way."""
    in_body = one.spacing is not None and other.spacing is not None  # at the detector they may differ then
    sizes = (one.spacing, other.spacing) if in_body else (one.detector_spacing, other.detector_spacing)
    if None in sizes or np.allclose(*sizes, rtol=_SAME_SPACING, atol=0):
        return
    texts = [" x ".join(f"{value:g}" for value in size) for size in sizes]
    unit = " on the map" if one.map_tags else " mm"
    cure = f"{_BY_PLACE if _is_placed(one) and _is_placed(other) else _REGISTER}; {_PIXELS_IF_WRONG}"
    raise ImageError(
        f"{name} has pixels of {texts[0]}{unit}, {other_name} of {texts[1]}{unit}: equal pixels do not show the same "
        f"places; {_IN_STACK if in_stack else cure}"
    )


def _is_placed(plane: Plane) -> bool:
    """Whether a file says where all its pixels lie."""
    return None not in (plane.corner, plane.directions, plane.spacing)


def _steps(plane: Plane) -> np.ndarray:
    """From a pixel to the next one along x and along y, (2, 3) mm."""
    directions = np.array(plane.directions).reshape(2, 3)
    return directions * np.array(plane.spacing)[::-1, None]


def _corners(plane: Plane, shape: tuple[int, int]) -> np.ndarray:
    """Places of the corner pixels of a slice of `shape`, (4, 3) mm."""
    height, width = shape
    return np.array(plane.corner) + [[x, y] @ _steps(plane) for y in (0, height - 1) for x in (0, width - 1)]


def _distances(gaps: np.ndarray, plane: Plane) -> tuple[float, float]:
    """The largest of some vectors, (N, 3) mm, within a slice and across it, mm."""
    directions = np.array(plane.directions)
    normal = np.cross(directions[:3], directions[3:])
    across = gaps @ normal
    within = np.linalg.norm(gaps - across[:, None] * normal, axis=1)
    return float(within.max()), float(np.abs(across).max())


def _most_across(one: Plane, other: Plane) -> float:
    """How far slices of one place may lie apart across them, mm."""
    return _SAME_SLICE * max(one.thickness or 0, other.thickness or 0, *other.spacing)
