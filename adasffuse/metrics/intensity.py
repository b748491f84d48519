"""Metrics of pixel values: SD, MSE, RMSE, PSNR, CC, SCD.  Images are float64 (H, W) on 0..255."""

import math

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
    mean = fused.mean()
    return math.sqrt(sum(sum_of_squares(fused[rows] - mean) for rows in strips(len(fused))) / fused.size)


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
    return 0.5 * (_correlation(fused, a) + _correlation(fused, b))


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
    return _correlation(fused, a, subtracted=b) + _correlation(fused, b, subtracted=a)


def _squared_error(x: ndarray, y: ndarray) -> float:
    return sum(sum_of_squares(x[rows] - y[rows]) for rows in strips(len(x))) / x.size


def _decibel(peak: float, error: float) -> float:
    """10 log10(peak^2 / error): inf without error, NaN when the peak is 0 as well."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.float64(peak) ** 2 / np.float64(error)))


def _correlation(fused: ndarray, source: ndarray, subtracted: ndarray | None = None) -> float:
    """Pearson's correlation of F, or of F - `subtracted`, with a source; NaN where one is flat."""
    # sums of whole numbers are exact, so that flat images and flat differences get variance 0 exactly
    total = fused.sum() - (0.0 if subtracted is None else subtracted.sum())
    mean, mean_source = total / fused.size, source.mean()
    products = np.zeros(3)
    for rows in strips(len(fused)):
        x = fused[rows] if subtracted is None else fused[rows] - subtracted[rows]
        x, y = x - mean, source[rows] - mean_source
        products += _sum_of_products(x, y), sum_of_squares(x), sum_of_squares(y)
    covariance, variance, variance_source = products
    scale = math.sqrt(variance * variance_source)
    return float(covariance) / scale if scale > 0 else float("nan")


def sum_of_squares(x: ndarray) -> float:
    """Sum of the squares of (H, W) values."""
    return _sum_of_products(x, x)


def _sum_of_products(x: ndarray, y: ndarray) -> float:
    """Sum of products; not by BLAS, whose rounding depends on the number of threads."""
    return float(np.einsum("ij,ij->", x, y))
