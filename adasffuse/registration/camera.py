"""Reading a FLIR radiometric JPEG as a pair: the thermal image and the photograph inside it, on one grid.

The camera has two lenses side by side.  It stores the scale and shift from thermal image to photograph for the distance
it was focused on.  Things at other distances are displaced: this is no registration.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from adasffuse.arguments import checked
from adasffuse.images.flir import Placement, as_stored, read_shot
from adasffuse.images.image import Image, ImageError
from adasffuse.images.read import Reading, interpret
from adasffuse.images.stored import Stored
from adasffuse.registration.transform import Transform, warp_image

_SMALLEST_SIDE = 16  # pixels
_SMALLEST_SHARE = 0.25  # least share of the thermal image's width and height that the photograph shows
_PLACED = (
    "thermal image and photograph are laid on each other by the camera's own setting for parallax (Real2IR, OffsetX, "
    "OffsetY); this is no registration: things at another distance are off; --align affine registers them"
)


@checked
def read_camera_pair(
    path: str | Path,
    ranges: Sequence[tuple[float, float] | None] = (None, None),
    no_data: Sequence[float | None] = (None, None),
    grid: str = "b",
    need_placement: bool = True,
    options: Sequence[str] = ("", ""),
) -> list[Image]:
    """Read thermal image and photograph of one radiometric JPEG, infrared first, as the fuser takes them.

    Args:
        ranges: black and white of the temperatures, degrees C, and of the photograph, as in
            `adasffuse.images.read.read_image`.  Default: the percentiles 0.1 and 99.9 of the file's temperatures.
        no_data: values that mean "no data", of each.
        grid: 'b': the photograph's pixels, cut to the part that the thermal image shows; 'a': the thermal image's
            pixels, with the photograph reduced to them.
        need_placement: whether a file without the camera's setting for the placement of its images is an error, and a
            notice says that the setting is no registration; if not, the images are for an `Aligner`, and those of such
            a file are returned as they are, of two sizes.
        options: what gives the two ranges, such as '--range_a' and '--range_b', for errors and notices.
    Returns:
        [infrared, visible], of one size if the file has that setting.
    Raises:
        ImageError: the package is missing; the file has no raw thermal data, no photograph, or no usable placement.
        ValueError: unknown grid, not two ranges and values, or an argument of a wrong type.
    """
    if grid not in ("a", "b"):
        raise ValueError(f"read_camera_pair: grid must be 'b' or 'a', got {grid!r}")
    for name, values in (("ranges", ranges), ("no_data", no_data), ("options", options)):
        if len(values) != 2:
            raise ValueError(f"read_camera_pair: {name} must be two, of thermal image and photograph, got {values}")
    shot = read_shot(path)
    if shot.photograph is None:
        raise ImageError(
            f"{path}: holds temperatures, but no photograph that could be read; it is a thermal image alone: give the "
            "visible image as second source"
        )
    heat = Reading(ranges[0], no_data[0], thermal=True, option=options[0])
    thermal = interpret(as_stored(shot.celsius), "float", str(path), heat)
    light = Reading(ranges[1], no_data[1], option=options[1])
    visible = interpret(Stored(shot.photograph, "rgb", span=(0, 255)), "8", str(path), light)
    if shot.placement is None:
        unplaced = "does not say how its thermal image lies on its photograph"
        if need_placement:
            raise ImageError(f"{path}: {unplaced}; register them: --align affine")
        return [_with_notice(thermal, f"{path}: {unplaced}; they are registered by their edges alone"), visible]
    size, photograph = shot.celsius.shape, shot.photograph.shape[:2]
    crop = photograph_part(shot.placement, size, photograph)
    if crop is None:
        raise ImageError(
            f"{path}: by its setting (Real2IR {shot.placement.real_to_ir:g}, OffsetX {shot.placement.offset_x:g}, "
            f"OffsetY {shot.placement.offset_y:g}) the thermal image, {size[1]}x{size[0]}, does not lie on the "
            f"photograph, {photograph[1]}x{photograph[0]}; take both out with adasffuse extract and register those"
        )
    if need_placement:  # else they are registered on top
        thermal = _with_notice(thermal, f"{path}: {_PLACED}")
    return _on_one_grid(thermal, visible, shot.placement, crop, grid)


def to_photograph(placement: Placement, size: tuple[int, int], photograph: tuple[int, int]) -> np.ndarray:
    """(3, 3) matrix from pixel positions of the thermal image to those of the photograph; sizes are (H, W)."""
    scale = photograph[1] / placement.real_to_ir / size[1]  # pixels of the photograph per pixel of the thermal image
    x = (photograph[1] - 1) / 2 + placement.offset_x - scale * (size[1] - 1) / 2
    y = (photograph[0] - 1) / 2 + placement.offset_y - scale * (size[0] - 1) / 2
    return np.array([[scale, 0, x], [0, scale, y], [0, 0, 1.0]])


def photograph_part(
    placement: Placement, size: tuple[int, int], photograph: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """The part of the photograph that the thermal image covers: left, top, right and bottom (exclusive), pixels.

    None if it is too small, or if one image is upright and the other one is not.
    """
    if (size[0] - size[1]) * (photograph[0] - photograph[1]) < 0:
        return None
    matrix = to_photograph(placement, size, photograph)
    ends = []
    for axis, (own, other) in enumerate(((size[1], photograph[1]), (size[0], photograph[0]))):
        scale, first = matrix[axis, axis], matrix[axis, 2]
        low, high = max(0, int(np.ceil(first))), min(other, int(np.floor(first + scale * (own - 1))) + 1)
        if high - low < max(_SMALLEST_SIDE, _SMALLEST_SHARE * scale * own):
            return None
        ends.append((low, high))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def _on_one_grid(
    thermal: Image, visible: Image, placement: Placement, crop: tuple[int, int, int, int], grid: str
) -> list[Image]:
    size, photograph = thermal.pixels.shape[:2], visible.pixels.shape[:2]
    matrix = to_photograph(placement, size, photograph)
    if grid == "a":
        visible = warp_image(visible, Transform("affine", matrix, size, photograph))
    else:
        left, top, right, bottom = crop
        shift = np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])
        back = np.linalg.inv(matrix) @ shift
        thermal = warp_image(thermal, Transform("affine", back, (bottom - top, right - left), size))
        part = np.s_[top:bottom, left:right]
        valid = None if visible.valid is None else visible.valid[part]
        visible = replace(visible, pixels=np.ascontiguousarray(visible.pixels[part]), valid=valid)
    return [thermal, visible]


def _with_notice(image: Image, notice: str) -> Image:
    return replace(image, notices=(*image.notices, notice))
