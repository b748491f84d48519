"""Spurious brightness: halos and glows that are in no source.  Images are float64 (H, W) on 0..255."""

import math

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.metrics.windows import filter_same, filter_valid_by_fft, gaussian, strips, with_border

_DIFFERENCE, _ALONE = np.array([-0.5, 0.0, 0.5]), np.array([1.0])
_BAND = 4  # rows per strip, in standard deviations of the Gaussian, which needs 8 more


def spurious_brightness(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """Spurious, coarse gradient of F beyond that of every source: halos, glows and patches that are in no source.

    Mean over pixels of max(0, g_F - max(g_A, g_B)), g = s |gradient of (image * Gaussian of standard deviation s)| by
    central differences, s = sqrt(H W) / 64 pixels, borders replicated.  In gray levels per s, at least 0, lower is
    better; 0 for each source and for fixed weighted means of sources and a constant.  Definition of this project.
    Rewards lost contrast: a flat F scores 0.  Blind to detail finer than s, to a wrong level without a gradient and to
    the gradient's direction.  Punishes borders between regions of A and of B although each side is right, and contrast
    of the scene that all exposures compress.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score.
    """
    scale = math.sqrt(fused.size) / 64
    total = 0.0
    for rows in strips(fused.shape[0], step=math.ceil(_BAND * scale)):
        excess = _coarse_gradient(fused, rows, scale)
        excess -= np.maximum(_coarse_gradient(a, rows, scale), _coarse_gradient(b, rows, scale))
        total += float(np.maximum(excess, 0, out=excess).sum())
    return total / fused.size


def _coarse_gradient(image: ndarray, rows: slice, scale: float) -> ndarray:
    """Gradient magnitude of the blurred image in some rows, gray levels per `scale` pixels."""
    taps = gaussian(2 * math.ceil(4 * scale) + 1, scale)
    around = slice(max(rows.start - 1, 0), min(rows.stop + 1, image.shape[0]))
    # minus a constant, so that flat images have gradient 0 exactly
    wide = with_border(image, around, cv2.BORDER_REPLICATE, len(taps) // 2)
    wide -= image[0, 0]
    coarse = filter_valid_by_fft(wide, taps)
    differences = ((_DIFFERENCE, _ALONE), (_ALONE, _DIFFERENCE))
    gx, gy = (filter_same(coarse, *taps, cv2.BORDER_REPLICATE) for taps in differences)
    gradient = scale * np.hypot(gx, gy, out=gx)
    return gradient[rows.start - around.start : rows.stop - around.start]
