"""Brightness that no source shows.  Images are float64 (H, W) on 0..255."""

import math

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.metrics.windows import filter_same, gaussian

_DIFFERENCE, _ALONE = np.array([-0.5, 0.0, 0.5]), np.array([1.0])


def spurious_brightness(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """Spurious, coarse gradient of F beyond that of every source: halos, glows and patches that no source shows.

    Mean over pixels of max(0, g_F - max(g_A, g_B)), g = s |gradient of (image * Gaussian of standard deviation s)| by
    central differences, s = sqrt(H W) / 64 pixels, borders replicated.  In gray levels per s, at least 0, lower is
    better; 0 for each source and for fixed weighted means of sources and a constant.  Definition of this project.
    Rewards lost contrast: a flat F scores 0.  Blind to whatever is finer than s, to a wrong level without a gradient
    and to the gradient's direction.  Borders between regions of A and of B count although each side is right, and so
    does contrast of the scene that all exposures compress.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score.
    """
    scale = math.sqrt(fused.size) / 64
    excess = _coarse_gradient(fused, scale)
    excess -= np.maximum(_coarse_gradient(a, scale), _coarse_gradient(b, scale))
    return float(np.maximum(excess, 0, out=excess).mean())


def _coarse_gradient(image: ndarray, scale: float) -> ndarray:
    """Gradient magnitude of the blurred image, gray levels per `scale` pixels."""
    taps = gaussian(2 * math.ceil(4 * scale) + 1, scale)
    coarse = filter_same(image, taps, taps, cv2.BORDER_REPLICATE)
    gx = filter_same(coarse, _DIFFERENCE, _ALONE, cv2.BORDER_REPLICATE)
    gy = filter_same(coarse, _ALONE, _DIFFERENCE, cv2.BORDER_REPLICATE)
    return scale * np.hypot(gx, gy, out=gx)
