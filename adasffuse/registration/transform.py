"""Transforms between the pixels of two images, and warping.

Pixel positions are (x, y), with (0, 0) the center of the first pixel.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from adasffuse.arguments import checked
from adasffuse.images.image import Image, ImageError
from adasffuse.images.levels import expanded, row_bands
from adasffuse.registration.turns import how_to_turn

METHODS = ("translation", "affine", "homography", "deformable")
_LARGEST_SIDE = 32767  # pixels, of OpenCV's warp


class AlignmentError(ImageError):
    """Images that cannot be registered, or whose registration is not plausible."""


class TurnedError(AlignmentError):
    """Images that have structure in common only if the moving one is turned in some way.

    Args:
        way: one of `TURNS`.
        name: of the moving image.
    """

    def __init__(self, way: str, name: str = "the moving image") -> None:
        self.way = way
        super().__init__(
            f"cannot register: the images have structure in common only if {name} is {way}; {how_to_turn(way)}, or "
            "correct the orientation that they state (EXIF)"
        )


class BesideError(AlignmentError):
    """A transform that moves an image off the other one."""


@checked
@dataclass(frozen=True)
class Transform:
    """Position in the moving image of each pixel p of the target: matrix(p + field(p)).

    Raises:
        ValueError: unknown method, another shape of the matrix, or an argument of a wrong type.
    """

    method: str  # one of METHODS
    matrix: np.ndarray  # (3, 3) float64, of homogeneous pixel positions
    size: tuple[int, int]  # height and width of the target
    moving_size: tuple[int, int]  # height and width of the moving image
    field: np.ndarray | None = None  # (rows, columns, 2) float32, x then y, pixels of the target; None: no field

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"Transform: method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.matrix.shape != (3, 3):
            raise ValueError(f"Transform: matrix must be (3, 3), got {self.matrix.shape}")

    def positions(self, rows: slice = slice(None)) -> np.ndarray:
        """(H, W, 2) float32: x and y in the moving image, for each pixel in some rows of the target."""
        height, width = self.size
        y = np.arange(height, dtype=np.float64)[rows]
        grid = np.stack(np.meshgrid(np.arange(width, dtype=np.float64), y), axis=-1)
        if self.field is not None:
            grid += self._field_in(y)
        return cv2.perspectiveTransform(grid, self.matrix).astype(np.float32)

    def _field_in(self, y: np.ndarray) -> np.ndarray:
        """The field at full width in some rows of the target, (len(y), W, 2), between its own rows and columns."""
        height, width = self.size
        rows = len(self.field)
        place = np.clip((y + 0.5) * rows / height - 0.5, 0, rows - 1)
        above = np.minimum(place.astype(int), max(rows - 2, 0))
        share = (place - above).astype(np.float32)[:, None, None]
        band = (1 - share) * self.field[above] + share * self.field[np.minimum(above + 1, rows - 1)]
        return cv2.resize(band, (width, len(y)), interpolation=cv2.INTER_LINEAR)

    def inverse(self) -> "Transform":
        """The way back: target and moving image change roles.

        Raises:
            ValueError: the transform has a field, whose inverse may not exist.
        """
        if self.field is not None:
            raise ValueError("a deformable transform has no inverse; estimate it with the sources exchanged")
        inverse = np.linalg.inv(self.matrix)
        return replace(self, matrix=inverse / inverse[2, 2], size=self.moving_size, moving_size=self.size)

    def displacement(self, rows: slice = slice(None)) -> np.ndarray:
        """(H, W, 2) float32: displacement of each pixel in some rows of the target, in its pixels.

        It is 0 for the same field of view.  For images of one size that is `positions` minus the pixel's own position.
        """
        (height, width), (moving_height, moving_width) = self.size, self.moving_size
        ratio = np.float32([width / moving_width, height / moving_height])
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)[rows]), axis=-1).astype(np.float32)
        return (self.positions(rows) + np.float32(0.5)) * ratio - np.float32(0.5) - grid

    def shifts(self) -> tuple[float, float]:
        """Mean and largest length of the `displacement`, pixels of the target."""
        total = largest = 0.0
        for rows in row_bands(self.size):
            moved = self.displacement(rows)
            lengths = np.hypot(moved[..., 0], moved[..., 1])
            total += float(lengths.sum(dtype=np.float64))
            largest = max(largest, float(lengths.max()))
        return total / (self.size[0] * self.size[1]), largest


def identity(size: tuple[int, int], moving_size: tuple[int, int]) -> np.ndarray:
    """(3, 3) matrix from the pixel positions of an image of `size` to those of the same image at `moving_size`."""
    x, y = moving_size[1] / size[1], moving_size[0] / size[0]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1.0]])


def corner_shift(matrix: np.ndarray, other: np.ndarray, size: tuple[int, int]) -> float:
    """Mean of `corner_shifts`."""
    return float(corner_shifts(matrix, other, size).mean())


def corner_shifts(matrix: np.ndarray, other: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(4,): distances between the corners of an image under two matrices, in pixels of the matrices' target.

    Between affine matrices no pixel's distance is larger than the largest of them.
    """
    height, width = size
    corners = np.array([[[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]], np.float64)
    gap = cv2.perspectiveTransform(corners, matrix) - cv2.perspectiveTransform(corners, other)
    return np.hypot(gap[0, :, 0], gap[0, :, 1])


@checked
def warp_image(image: Image, transform: Transform) -> Image:
    """Warp the moving image to the grid of the target by cubic interpolation; no data where the moving image has none.

    If the pixels of the target are larger, the moving image is smoothed first.

    Raises:
        AlignmentError: the image has another size than the transform is for, is too large, or lies beside the target.
        ValueError: an argument of a wrong type.
    """
    pixels = expanded(image.pixels)
    height, width = pixels.shape[:2]
    if (height, width) != transform.moving_size:
        wanted = f"{transform.moving_size[1]}x{transform.moving_size[0]}"
        raise AlignmentError(f"the alignment is for images of {wanted} pixels, got {width}x{height}")
    if max(height, width, *transform.size) > _LARGEST_SIDE:
        raise AlignmentError(f"images of more than {_LARGEST_SIDE} pixels a side cannot be warped; reduce them first")
    scale = np.sqrt(abs(np.linalg.det(transform.matrix[:2, :2])))
    if scale > 1.2:  # about the mean over a pixel of the target
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.45 * np.sqrt(scale**2 - 1))
    holds = None if image.valid is None else image.valid.astype(np.float32)
    warped = np.empty((*transform.size, *pixels.shape[2:]), np.float32)
    inside, known = np.empty(transform.size, bool), np.empty(transform.size, bool)
    margin = 1e-2
    for rows in row_bands(warped.shape):
        positions = transform.positions(rows)
        x, y = positions[..., 0], positions[..., 1]
        inside[rows] = (x >= -margin) & (y >= -margin) & (x <= width - 1 + margin) & (y <= height - 1 + margin)
        band = cv2.remap(pixels, positions, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        np.clip(band, 0, 1, out=warped[rows])
        known[rows] = inside[rows]
        if holds is not None:
            share = cv2.remap(holds, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            known[rows] &= share > 0.999
    if not inside.any():
        raise BesideError("the transform moves the whole image off the other one; estimate it anew")
    plane = None if image.plane is None else image.plane.without_place()
    if known.all():
        return replace(image, pixels=warped, valid=None, plane=plane)
    warped[~known] = 0
    return replace(image, pixels=warped, valid=known, plane=plane)
