"""An image in memory: pixels with what is needed to interpret them."""

from dataclasses import dataclass

import numpy as np


class ImageError(ValueError):
    """An image file or a folder of images that cannot be used; the message names it and says what to do."""


class ImageNotice(UserWarning):
    """What a user should know about an image that is used all the same, such as a hardly used range of values."""


@dataclass(frozen=True)
class Image:
    """Pixels of one file, turned upright, in sRGB."""

    pixels: np.ndarray  # float32 in [0, 1], (H, W) gray or (H, W, 3) sRGB; 0 where `valid` is False; or levels, where
    # `read_image` was asked for them, see `adasffuse.images.levels`
    depth: str = "8"  # '8', '16' or 'float': how deep the file's values are
    window: tuple[float, float] = (0.0, 255.0)  # values, in the file's units, that are 0 and 1 in `pixels`
    valid: np.ndarray | None = None  # (H, W) bool, False where the file holds no data; None: data everywhere
    notices: tuple[str, ...] = ()  # what a user should know, e.g. that alpha was dropped; each names the file
