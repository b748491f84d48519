"""Checking images of any kind (array or tensor, 8-bit, 16-bit or float, gray or colour) and scaling them to 0..255."""

from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy import ndarray
from PIL import Image as pillow

from adasffuse.images.arrays import decode_pillow, values_of_tensor
from adasffuse.images.color import luminance
from adasffuse.metrics.windows import strips

_PIL_MODES = ("L", "RGB", "F")  # and those that start with "I;16"
_FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


@dataclass(frozen=True)
class Pixels:
    """An image as given; it is scaled to 0..255 only when needed, since float64 copies of large images are costly."""

    values: ndarray  # (H, W) or (H, W, 3)
    white: float  # value of full white

    def scaled(self, rows: slice = slice(None)) -> ndarray:
        """Some rows as float64 (rows, W) or (rows, W, 3) on 0..255."""
        return self.values[rows].astype(np.float64) * (255.0 / self.white)

    def rounded(self, channel: int | None = None) -> ndarray:
        """Y of BT.601, or one channel of RGB, rounded as in an 8-bit file: float64 (H, W) of whole numbers 0..255."""
        levels = np.empty(self.values.shape[:2])
        for rows in strips(len(levels)):
            part = self.scaled(rows)
            if part.ndim == 3 and channel is None:
                part = luminance(part / 255).astype(np.float64) * 255
            np.rint(part if part.ndim == 2 else part[..., channel], out=levels[rows])
        return levels


def to_pixels(image, name: str, data_range: float | None = None) -> Pixels:
    """Check an image and bring its channels to the end.

    Args:
        image: array (H, W), (H, W, 1) or RGB (H, W, 3), a PIL image of mode L, RGB, I;16 or F, or a tensor, which may
            be (1, H, W) or (3, H, W) as well.
        name: its name in messages.
        data_range: value of full white in a float image; 8- and 16-bit images know theirs.
    Raises:
        ValueError: NaN, infinite or masked pixels, another shape or type, or a float image outside [0, data_range].
    """
    values = _channels_last(image, name)
    white = _FULL_SCALE.get(values.dtype.newbyteorder("="))
    return Pixels(values, _float_range(values, name, data_range) if white is None else white)


def check_same_size(**images: Pixels) -> None:
    """Raise a ValueError naming every shape unless all images have one height and width."""
    if len({image.values.shape[:2] for image in images.values()}) > 1:
        shapes = ", ".join(f"{name} {image.values.shape}" for name, image in images.items())
        raise ValueError(
            f"images of one pair must have one height and width, got {shapes}; resize or register them first"
        )


def _channels_last(image, name: str) -> ndarray:
    if isinstance(image, (list, tuple)) and len(image) > 1 and all(np.ndim(one) >= 2 for one in image):
        raise ValueError(
            f"{name} is a sequence of {len(image)} images: metrics compare two sources, a and b; score more than two "
            "sources two at a time"
        )
    if isinstance(image, (str, PathLike)):
        raise ValueError(
            f"{name} is a path, {image}: give pixels, adasffuse.images.read.read_image(path).pixels with data_range 1.0"
        )
    if isinstance(image, pillow.Image):
        image = decode_pillow(image, name)
        if image.mode not in _PIL_MODES and not image.mode.startswith("I;16"):
            raise ValueError(f"{name} is a PIL image of mode {image.mode}; convert it to RGB or L first")
    is_tensor = hasattr(image, "detach")  # not isinstance: scoring files should not have to load PyTorch
    if np.ma.is_masked(image):
        raise ValueError(f"{name} is a masked array, whose mask would be lost; fill it, as image.filled(0) does")
    pixels = values_of_tensor(image, name) if is_tensor else np.asarray(image)
    if is_tensor:
        while pixels.ndim > 3 and pixels.shape[0] == 1:
            pixels = pixels[0]
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
            pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)):
        raise ValueError(f"{name} must be one gray (H, W) or RGB (H, W, 3) image, got shape {tuple(pixels.shape)}")
    return pixels


def _float_range(pixels: ndarray, name: str, data_range: float | None) -> float:
    """The stated range of a float image, after checking its pixels against it."""
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"{name} has type {pixels.dtype}; give uint8, uint16 or float")
    if data_range is None or not 0 < data_range < np.inf:
        raise ValueError(f"{name} is {pixels.dtype}: state data_range, the value of full white, e.g. 1.0 or 255.0")
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite([low, high]).all():
        bad = int((~np.isfinite(pixels)).sum())
        raise ValueError(f"{name} has {bad} NaN or infinite pixels of {pixels.shape}; repair them before scoring")
    if low < 0 or high > data_range:
        raise ValueError(
            f"{name} spans {low:g}..{high:g}, outside 0..{data_range:g}; clip it or state another data_range"
        )
    return float(data_range)
