"""Metrics of pixel values: SD, MSE, RMSE, PSNR, CC, SCD.  Images are float64 (H, W) on 0..255."""

import math
from collections.abc import Iterator

import numpy as np
from numpy import ndarray

from adasffuse.metrics.windows import strips


def standard_deviation(fused: ndarray) -> float:
    """SD, population standard deviation of F in gray levels, 0..127.5; higher is better (contrast).

    Rewards noise and stretched contrast.

    Args:
        fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score.
    """
    return math.sqrt(sum(_dot(f, f) for (f,) in _centered_strips(fused)) / fused.size)


def mean_squared_error(a: ndarray, b: ndarray, fused: ndarray, full_scale: float = 1.0) -> float:
    """MSE, mean of the mean squared errors of F against A and B, of pixels divided by `full_scale`.

    At least 0, in squared gray levels, lower is better.  Rewards the plain average of the sources, its minimum.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
        full_scale: divisor of the pixels.
    Returns:
        The score.
    """
    return 0.5 * (_squared_error(a, fused) + _squared_error(b, fused)) / full_scale**2


def root_mean_squared_error(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """RMSE, mean over A and B of sqrt(sum (X - F)^2) / (H W); despite its name not a root mean square.

    Lower is better.  Shrinks with the number of pixels: comparable only at one size.  Rewards the plain average.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score, at least 0.
    """
    return 0.5 * sum(math.sqrt(_squared_error(source, fused) / fused.size) for source in (a, b))


def peak_signal_to_noise(a: ndarray, b: ndarray, fused: ndarray, peak: float | None = None) -> float:
    """PSNR, 10 log10(peak^2 / MSE) in dB, MSE being the mean over both sources; peak None is the maximum of F.

    Higher is better; inf if F equals both sources.  With peak None a black F scores -inf, NaN if the sources are black,
    too.  Rewards the plain average of the sources; a peak taken from F rewards one bright pixel.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
        peak: gray level; None: the maximum of F.
    Returns:
        The score in dB.
    """
    return _decibel(float(fused.max()) if peak is None else peak, mean_squared_error(a, b, fused))


def peak_signal_to_root_error(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """PSNR of VIFB and MEFB, 10 log10(255^2 / RMSE) with `root_mean_squared_error`.

    Some 40 dB above the usual value and growing with the number of pixels.  Higher is better; inf without errors.
    Rewards the plain average, and large images.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score in dB.
    """
    return _decibel(255.0, root_mean_squared_error(a, b, fused))


def peak_signal_to_noise_of_reference(reference: ndarray, fused: ndarray) -> float:
    """PSNR_GT, 10 log10(255^2 / mean (R - F)^2) in dB against the true image R; higher is better.

    At least 0 for images on 0..255, inf for R itself.  Rewards blur over misplaced detail of the same energy.

    Args:
        reference, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score in dB.
    """
    return _decibel(255.0, _squared_error(reference, fused))


def correlation(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """CC, mean of the Pearson correlations of F with A and with B.

    -1..1, higher is better; NaN where an image is flat.  Rewards the plain average; blind to contrast and brightness.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN where an image is flat.
    """
    sums = sum(np.array([_products(a, f), _products(b, f)]) for a, b, f in _centered_strips(a, b, fused))
    return 0.5 * sum(_pearson(*products) for products in sums)


def sum_of_correlations_of_differences(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """SCD, r(F - B, A) + r(F - A, B) with r Pearson's correlation.

    Aslantas and Bendes, AEU International Journal of Electronics and Communications 69(12), 2015,
    10.1016/j.aeue.2015.09.004.  -2..2, higher is better; NaN where a difference or a source is flat.  Rewards the sum
    of the sources over any sensible image, and contrast beyond that of both.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN where a difference or a source is flat.
    """
    sums = sum(np.array([_products(f - b, a), _products(f - a, b)]) for a, b, f in _centered_strips(a, b, fused))
    return sum(_pearson(*products) for products in sums)


def _squared_error(x: ndarray, y: ndarray) -> float:
    differences = ((x[rows] - y[rows]).ravel() for rows in strips(len(x)))
    return sum(_dot(difference, difference) for difference in differences) / x.size


def _decibel(peak: float, error: float) -> float:
    """10 log10(peak^2 / error): inf without error, NaN when the peak is 0 as well."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.float64(peak) ** 2 / np.float64(error)))


def _centered_strips(*images: ndarray) -> Iterator[list[ndarray]]:
    """The images minus their means, strip by strip, flattened."""
    means = [image.mean() for image in images]
    for rows in strips(len(images[0])):
        yield [(image[rows] - mean).ravel() for image, mean in zip(images, means)]


def _products(x: ndarray, y: ndarray) -> tuple[float, float, float]:
    """Sums of x y, x x and y y."""
    return _dot(x, y), _dot(x, x), _dot(y, y)


def _pearson(xy: float, xx: float, yy: float) -> float:
    """Correlation of two centred images from their `_products`, NaN where one is flat."""
    scale = math.sqrt(xx * yy)
    return xy / scale if scale > 0 else float("nan")


def _dot(x: ndarray, y: ndarray) -> float:
    """Sum of products; not by BLAS, whose rounding depends on the number of threads."""
    return float(np.einsum("i,i->", x, y))
