"""Masks of images: bool (H, W)."""

import cv2
import numpy as np
from numpy import ndarray

_MASK = 0.5  # largest share of pixels, partly transparent among those that are not clear, in an alpha channel of use


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


def opaque_where(alpha: ndarray) -> tuple[ndarray | None, tuple[str, ...]]:
    """Where an image shows something by its alpha channel, and notices of what becomes of the channel.

    Alpha 0 is no data: below it lies what a program happened to leave there.  Partly transparent pixels are read as
    opaque ones.  A channel that is 0 everywhere, or mostly between its extremes, is no mask but something else (32-bit
    files whose fourth byte is unused, thermal images packed into alpha), and is dropped.

    Args:
        alpha: (H, W), any real type; its largest value is opaque.
    Returns:
        (H, W) bool, False where there is no data, None for data everywhere; and notices without the file's name.
    """
    opaque = alpha != 0
    partly = opaque & (alpha != alpha.max())
    if not opaque.any():
        return None, ("alpha channel dropped: it is 0 everywhere",)
    if partly.sum() > _MASK * opaque.sum():
        return None, ("alpha channel dropped: most of it is partly transparent, so it is no mask",)
    ignored = ("partial transparency is ignored",) if partly.any() else ()
    if opaque.all():
        return None, ignored
    return opaque, (f"{1 - opaque.mean():.0%} of its pixels are transparent and count as no data", *ignored)


def without_alpha(values: ndarray) -> tuple[ndarray, ndarray | None, tuple[str, ...]]:
    """Values (H, W) of gray, with alpha (H, W, 2), or (H, W, 3) of RGB or RGBA, and what `opaque_where` returns."""
    if values.ndim == 2:
        return values, None, ()
    channels = values.shape[2]
    opaque, notices = opaque_where(values[..., -1]) if channels in (2, 4) else (None, ())
    return values[..., 0] if channels < 3 else values[..., :3], opaque, notices
