"""Metrics of pixel values: SD, MSE, RMSE, PSNR, CC, SCD.  Images are float64 (H, W) on 0..255."""

import math

import numpy as np
from numpy import ndarray


def standard_deviation(fused: ndarray) -> float:
    """SD, population standard deviation of F in gray levels, 0..127.5; higher is better (contrast).

    Rewards noise and contrast stretching, which no source asked for.
    """
    return float(fused.std())


def mean_squared_error(a: ndarray, b: ndarray, fused: ndarray, full_scale: float = 1.0) -> float:
    """MSE, mean of the two mean squared errors of F against A and B; pixels are divided by `full_scale` first."""
    return 0.5 * (_squared_error(a, fused) + _squared_error(b, fused)) / full_scale**2


def root_mean_squared_error(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """RMSE, mean over A and B of sqrt(sum (X - F)^2) / (H W)."""
    return 0.5 * sum(math.sqrt(_squared_error(source, fused) / fused.size) for source in (a, b))


def peak_signal_to_noise(a: ndarray, b: ndarray, fused: ndarray, peak: float | None = None) -> float:
    """PSNR, 10 log10(peak^2 / MSE) in dB."""
    return _decibel(float(fused.max()) if peak is None else peak, mean_squared_error(a, b, fused))


def peak_signal_to_root_error(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """PSNR, 10 log10(255^2 / RMSE)."""
    return _decibel(255.0, root_mean_squared_error(a, b, fused))


def peak_signal_to_noise_of_reference(reference: ndarray, fused: ndarray) -> float:
    """PSNR_GT, 10 log10(255^2 / mean (R - F)^2) in dB."""
    return _decibel(255.0, _squared_error(reference, fused))


def correlation(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """CC, mean of the Pearson correlations of F with A and with B."""
    f = _centered(fused)
    return 0.5 * (_pearson(_centered(a), f) + _pearson(_centered(b), f))


def sum_of_correlations_of_differences(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """SCD, r(F - B, A) + r(F - A, B) with r Pearson's correlation."""
    a, b, f = _centered(a), _centered(b), _centered(fused)
    return _pearson(f - b, a) + _pearson(f - a, b)


def _squared_error(x: ndarray, y: ndarray) -> float:
    difference = (x - y).ravel()
    return float(difference @ difference) / difference.size


def _decibel(peak: float, error: float) -> float:
    """10 log10(peak^2 / error): inf without error, NaN when the peak is 0 as well."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.float64(peak) ** 2 / np.float64(error)))


def _centered(image: ndarray) -> ndarray:
    return (image - image.mean()).ravel()


def _pearson(x: ndarray, y: ndarray) -> float:
    """Correlation of two centred images, NaN where one is flat."""
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0 else float("nan")
