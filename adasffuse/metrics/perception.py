"""Metrics with a model of human contrast sensitivity: Qcv, Qcb.  Images are float64 (H, W) on 0..255."""

import numpy as np
import scipy.fft
from numpy import ndarray

from adasffuse.metrics.histograms import stretch
from adasffuse.metrics.windows import filter_same

_BLOCK = 16


def chen_varshney_quality(a: ndarray, b: ndarray, fused: ndarray, divided_first: bool = False) -> float:
    """Qcv, squared errors that the eye sees, of 16x16 blocks weighted by their edge saliency.

    Chen and Varshney, Information Fusion 8(2), 2007, 193-207: sum s_A D_A + s_B D_B over sum s_A + s_B, s = block sum
    of Sobel magnitude^5, D = mean square of X - F after the Mannos-Sakrison filter 2.6 (0.0192 + 0.144 r)
    exp(-(0.144 r)^1.1).  At least 0, lower is better.  All images are stretched to 0..255 first, so that contrast and
    brightness are ignored; few strong edges rule.  NaN for flat sources.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
        divided_first: see `stretch`.
    Returns:
        The score; NaN for flat sources.
    """
    a, b, fused = (stretch(image, divided_first) for image in (a, b, fused))
    radius = _radius(fused.shape, 1 / 8)
    sensitivity = 2.6 * (0.0192 + 0.144 * radius) * np.exp(-((0.144 * radius) ** 1.1))
    error = weight = 0.0
    for source in (a, b):
        saliency = _block_sums(_sobel_strength(source) ** 5)
        seen = _filter_frequencies(source - fused, sensitivity)
        error += float(np.sum(saliency * _block_sums(seen * seen))) / _BLOCK**2
        weight += float(saliency.sum())
    return error / weight if weight > 0 else float("nan")


def chen_blum_quality(a: ndarray, b: ndarray, fused: ndarray, divided_first: bool = False) -> float:
    """Qcb, how well F keeps the masked local contrast of the sources, each counting by its share of it.

    Chen and Blum, Image and Vision Computing 27(10), 2009, 1421-1432: contrast sensitivity exp(-(r/15.387)^2) - 0.7622
    exp(-(r/1.3456)^2), contrast |G2 / G4 - 1| of Gaussians, masking C^3 / (C^2 + 0.0001), ratio smaller / larger.
    0..1, higher is better.  All images are stretched to 0..255 first; black regions are ruled by
    faint differences.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
        divided_first: see `stretch`.
    Returns:
        The score; NaN where an image is flat.
    """
    radius = _radius(fused.shape, 1 / 30)
    sensitivity = np.exp(-((radius / 15.3870) ** 2)) - 0.7622 * np.exp(-((radius / 1.3456) ** 2))
    stretched = [stretch(image, divided_first) for image in (a, b, fused)]
    contrast_a, contrast_b, contrast_f = (_masked_contrast(_filter_frequencies(x, sensitivity)) for x in stretched)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept_a, kept_b = (np.minimum(c, contrast_f) / np.maximum(c, contrast_f) for c in (contrast_a, contrast_b))
        share = contrast_a**2 / (contrast_a**2 + contrast_b**2)
    return float(np.mean(share * kept_a + (1 - share) * kept_b))


def _radius(shape: tuple[int, int], scale: float) -> ndarray:
    """Length of the frequency vector (u, v) = scale * (width, height) * normalised frequency, in rfft2's order."""
    v = scale * shape[0] * 2 * scipy.fft.fftfreq(shape[0])
    u = scale * shape[1] * 2 * scipy.fft.rfftfreq(shape[1])
    return np.hypot(u, v[:, None])


def _filter_frequencies(image: ndarray, response: ndarray) -> ndarray:
    return scipy.fft.irfft2(scipy.fft.rfft2(image) * response, s=image.shape)


def _sobel_strength(image: ndarray) -> ndarray:
    smooth, step = np.array([1.0, 2.0, 1.0]), np.array([-1.0, 0.0, 1.0])
    return np.hypot(filter_same(image, step, smooth), filter_same(image, smooth, step))


def _block_sums(image: ndarray) -> ndarray:
    """Sums over 16x16 blocks, zeros filling up the last ones."""
    height, width = image.shape
    full = np.pad(image, ((0, -height % _BLOCK), (0, -width % _BLOCK)))
    return full.reshape(full.shape[0] // _BLOCK, _BLOCK, -1, _BLOCK).sum(axis=(1, 3))


def _masked_contrast(image: ndarray) -> ndarray:
    """Local contrast of two Gaussians, then masking C^3 / (C^2 + 0.0001)."""
    x = np.arange(-15, 16)
    narrow, wide = (np.exp(-(x**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma) for sigma in (2, 4))
    with np.errstate(divide="ignore", invalid="ignore"):
        contrast = np.abs(filter_same(image, narrow, narrow) / filter_same(image, wide, wide) - 1)
    return contrast**3 / (contrast**2 + 0.0001)
