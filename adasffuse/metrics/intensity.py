"""Metrics of pixel values: SD, MSE, PSNR, CC, SCD.  Images are float64 (H, W) on 0..255."""

import numpy as np
from numpy import ndarray


def standard_deviation(fused: ndarray) -> float:
    """SD, population standard deviation of F in gray levels, 0..127.5; higher is better (contrast).

    Rewards noise and contrast stretching, which no source asked for.
    """
    return float(fused.std())


def mean_squared_error(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """MSE, mean of the two mean squared errors of F against A and B, in squared gray levels; lower is better."""
    return 0.5 * (_squared_error(a, fused) + _squared_error(b, fused))


def peak_signal_to_noise(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """PSNR, 10 log10(max(F)^2 / MSE) in dB."""
    mse = mean_squared_error(a, b, fused)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.divide(fused.max() ** 2, mse)))


def correlation(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """CC, mean of the Pearson correlations of F with A and with B, -1..1, higher is better; NaN with a flat image."""
    return 0.5 * (_pearson(a, fused) + _pearson(b, fused))


def sum_of_correlations_of_differences(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """SCD, r(F - B, A) + r(F - A, B) with r Pearson's correlation, -2..2, higher is better."""
    return _pearson(fused - b, a) + _pearson(fused - a, b)


def _squared_error(x: ndarray, y: ndarray) -> float:
    return float(np.mean((x - y) ** 2))


def _pearson(x: ndarray, y: ndarray) -> float:
    """Correlation of two images, NaN where one is flat."""
    x, y = (x - x.mean()).ravel(), (y - y.mean()).ravel()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else float("nan")
