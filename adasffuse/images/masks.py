"""Masks of images: bool (H, W)."""

import cv2
import numpy as np
from numpy import ndarray


def dilate(mask: ndarray, pixels: int, disc: bool = False) -> ndarray:
    """The mask and what lies within some pixels of it: a square of side 2 `pixels` + 1 around each, or a disc.

    Args:
        mask: (H, W) bool.
        pixels: how far it grows, at least 0.
        disc: a disc of that diameter, as OpenCV draws it, in place of the square.
    Returns:
        (H, W) bool.
    """
    side = 2 * pixels + 1
    shape = cv2.MORPH_ELLIPSE if disc else cv2.MORPH_RECT
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(shape, (side, side))) > 0
