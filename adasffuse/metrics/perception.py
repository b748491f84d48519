"""Metrics with a model of human contrast sensitivity: Qcv, Qcb.  Images are float64 (H, W) on 0..255."""

from collections.abc import Callable

import cv2
import numpy as np
import scipy.fft
from numpy import ndarray

from adasffuse.metrics.gradients import sobel_rows
from adasffuse.metrics.histograms import stretch
from adasffuse.metrics.windows import filter_same, strips, with_border

_BLOCK = 16  # pixels per side of a block of Qcv
_BLOCKS = 4  # rows of blocks per strip
_RADIUS = 15  # radius of the Gaussian windows of Qcb, pixels


def chen_varshney_quality(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """Qcv, mean squared error after a contrast sensitivity filter, 16x16 blocks weighted by their edge saliency.

    Chen and Varshney, Information Fusion 8(2), 2007, 10.1016/j.inffus.2005.10.001: sum s_A D_A + s_B D_B over sum s_A +
    s_B, s = block sum of Sobel magnitude^5, D = mean square of X - F after the Mannos-Sakrison filter 2.6 (0.0192 +
    0.144 r) exp(-(0.144 r)^1.1).  At least 0, lower is better.  All images are stretched to 0..255 first, so contrast
    and brightness are ignored; a few strong edges dominate.  NaN for flat sources.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN for flat sources.
    """
    fused = stretch(fused)
    error = weight = 0.0
    for source in (a, b):
        source = stretch(source)
        seen = _filter_frequencies(source - fused, _mannos_sakrison, 1 / 8)
        for rows in strips(len(source), step=_BLOCKS * _BLOCK):
            strength = np.hypot(*sobel_rows(source, rows, cv2.BORDER_CONSTANT))
            saliency = _block_sums(strength**5)
            error += float(np.sum(saliency * _block_sums(np.square(seen[rows])))) / _BLOCK**2
            weight += float(saliency.sum())
    return error / weight if weight > 0 else float("nan")


def chen_blum_quality(a: ndarray, b: ndarray, fused: ndarray, divided_first: bool = False) -> float:
    """Qcb, preservation of the masked local contrast of the sources, each weighted by its share of the contrast.

    Chen and Blum, Image and Vision Computing 27(10), 2009, 10.1016/j.imavis.2007.12.002: contrast sensitivity
    exp(-(r/15.387)^2) - 0.7622 exp(-(r/1.3456)^2), contrast |G2 / G4 - 1| of Gaussians, masking C^3 / (C^2 + 0.0001),
    ratio smaller / larger.  0..1, higher is better.  All images are stretched to 0..255 first; faint differences
    dominate in black regions.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
        divided_first: see `stretch`.
    Returns:
        The score; NaN where an image is flat.
    """
    seen = [_filter_frequencies(stretch(image, divided_first), _sensitivity, 1 / 30) for image in (a, b, fused)]
    total = 0.0
    for rows in strips(len(fused)):
        contrast_a, contrast_b, contrast_f = (_masked_contrast(image, rows) for image in seen)
        with np.errstate(divide="ignore", invalid="ignore"):
            kept_a, kept_b = (np.minimum(c, contrast_f) / np.maximum(c, contrast_f) for c in (contrast_a, contrast_b))
            share = contrast_a**2 / (contrast_a**2 + contrast_b**2)
        total += float(np.sum(share * kept_a + (1 - share) * kept_b))
    return total / fused.size


def _mannos_sakrison(radius: ndarray) -> ndarray:
    return 2.6 * (0.0192 + 0.144 * radius) * np.exp(-((0.144 * radius) ** 1.1))


def _sensitivity(radius: ndarray) -> ndarray:
    return np.exp(-((radius / 15.3870) ** 2)) - 0.7622 * np.exp(-((radius / 1.3456) ** 2))


def _filter_frequencies(image: ndarray, response: Callable[[ndarray], ndarray], scale: float) -> ndarray:
    """Multiply the spectrum of the image by a response.

    Its argument is the length of the frequency vector (u, v) = scale * (width, height) * normalised frequency.
    """
    height, width = image.shape
    v, u = scale * height * 2 * scipy.fft.fftfreq(height), scale * width * 2 * scipy.fft.rfftfreq(width)
    spectrum = scipy.fft.rfft2(image)
    for rows in strips(height):
        spectrum[rows] *= response(np.hypot(u, v[rows, None]))
    return scipy.fft.irfft2(spectrum, s=image.shape, overwrite_x=True)


def _block_sums(image: ndarray) -> ndarray:
    """Sums over 16x16 blocks, the last ones padded with zeros."""
    height, width = image.shape
    full = np.pad(image, ((0, -height % _BLOCK), (0, -width % _BLOCK)))
    return full.reshape(full.shape[0] // _BLOCK, _BLOCK, -1, _BLOCK).sum(axis=(1, 3))


def _masked_contrast(image: ndarray, rows: slice) -> ndarray:
    """Masked contrast C^3 / (C^2 + 0.0001) in some rows, C = |narrow Gaussian / wide Gaussian - 1|."""
    x = np.arange(-_RADIUS, _RADIUS + 1)
    part = with_border(image, rows, cv2.BORDER_CONSTANT, _RADIUS)
    narrow, wide = (np.exp(-(x**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma) for sigma in (2, 4))
    with np.errstate(divide="ignore", invalid="ignore"):
        contrast = np.abs(filter_same(part, narrow, narrow) / filter_same(part, wide, wide) - 1)
    contrast = contrast[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return contrast**3 / (contrast**2 + 0.0001)
