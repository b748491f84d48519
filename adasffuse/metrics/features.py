"""Feature mutual information (FMI).  Images are float64 (H, W) on 0..255."""

import cv2
import numpy as np
import scipy.fft
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view

from adasffuse.metrics.windows import filter_same, fits, strips

_CHUNK = 1024  # windows computed at once, at least one row of them


def feature_mutual_information(a: ndarray, b: ndarray, fused: ndarray, feature: str = "pixel") -> float:
    """FMI, mean over 3x3 windows of 2 I(X; F) / (H(X) + H(F)), averaged over X = A, B, of a feature of the images.

    Haghighat, Aghagolzadeh and Seyedarabi, Computers and Electrical Engineering 37(5), 2011,
    10.1016/j.compeleceng.2011.07.012, in the fast form of Haghighat and Razian, AICT 2014.  0..1, higher is better.
    The values of a window are treated as probabilities, and their joint distribution is estimated from their
    correlation.  Rewards any F on edge maps: most of their windows are empty and score 1.

    Args:
        a, b, fused: (H, W); NaN below 3 pixels.
        feature: 'pixel', 'gradient' (along rows), 'edge' (thinned Sobel edges), 'dct' or 'wavelet' (Meyer, one level).
    Returns:
        The score.
    """
    if not fits(fused, 3):
        return float("nan")
    a, b, fused = (_FEATURES[feature](image) for image in (a, b, fused))
    return float((_information(a, fused) + _information(b, fused)) / 2)


def _windows(feature: ndarray) -> ndarray:
    """(number of windows, 9) values, each window read column by column."""
    return sliding_window_view(feature, (3, 3)).transpose(0, 1, 3, 2).reshape(-1, 9)


def _information(source: ndarray, fused: ndarray) -> float:
    """Mean normalised information over 3x3 windows of two features."""
    height, width = fused.shape
    total = 0.0
    for rows in strips(height, 3, step=max(1, _CHUNK // (width - 2))):
        x, y = _windows(source[rows]), _windows(fused[rows])
        same = (x == y).all(axis=1)
        p, q = _distribution(x[~same]), _distribution(y[~same])
        h_p, h_q = _entropies(p), _entropies(q)
        information = h_p + h_q - _joint_entropies(p, q)
        normalized = np.divide(2 * information, h_p + h_q, out=np.zeros_like(information), where=information != 0)
        total += float(same.sum()) + float(normalized.sum())
    return total / ((height - 2) * (width - 2))


def _distribution(values: ndarray) -> ndarray:
    """The values of each window as probabilities: stretched to 0..1, ones if all are equal, and normalised."""
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    flat = low == high
    scaled = np.where(flat, 1, (values - low) / np.where(flat, 1, high - low))
    return scaled / scaled.sum(axis=1, keepdims=True)


def _entropies(p: ndarray) -> ndarray:
    """-sum p log2 |p| over all but the first axis; mixtures may hold small negative 'probabilities'."""
    return -np.sum(p * np.log2(np.where(p == 0, 1, np.abs(p))), axis=tuple(range(1, p.ndim)))


def _joint_entropies(p: ndarray, q: ndarray) -> ndarray:
    """Entropy of a joint distribution with the correlation of p and q: a Frechet bound mixed with independence."""
    centered_p, centered_q = p - p.mean(axis=1, keepdims=True), q - q.mean(axis=1, keepdims=True)
    dot = np.sum(centered_p * centered_q, axis=1)
    norm = np.sqrt(np.sum(centered_p**2, axis=1) * np.sum(centered_q**2, axis=1))
    correlation = np.divide(dot, norm, out=np.zeros_like(dot), where=(dot != 0) & (norm > 0))
    cdf_p, cdf_q = np.cumsum(p, axis=1)[:, :, None], np.cumsum(q, axis=1)[:, None, :]
    bound = np.where((correlation >= 0)[:, None, None], np.minimum(cdf_p, cdf_q), np.maximum(cdf_p + cdf_q - 1, 0))
    spread = _deviations(p) * _deviations(q)
    covariance = np.sum(bound - cdf_p * cdf_q, axis=(1, 2))
    usable = (correlation != 0) & (spread > 0) & (covariance != 0)
    mixing = np.divide(correlation * spread, covariance, out=np.zeros_like(spread), where=usable)[:, None, None]
    pdf = np.diff(np.diff(bound, axis=1, prepend=0), axis=2, prepend=0)
    return _entropies(mixing * pdf + (1 - mixing) * p[:, :, None] * q[:, None, :])


def _deviations(p: ndarray) -> ndarray:
    """Standard deviations of the index 1..9 under p."""
    index = np.arange(1, 10)
    return np.sqrt(np.maximum(p @ index**2 - (p @ index) ** 2, 0))


def _gradient(image: ndarray) -> ndarray:
    return np.gradient(image, axis=1)


def _sobel_edges(image: ndarray) -> ndarray:
    """0/1 map: Sobel magnitude above twice its RMS, thinned to local maxima along the stronger direction."""
    gx, gy = (
        np.abs(cv2.Sobel(image, cv2.CV_64F, dx, dy, scale=1 / 8, borderType=cv2.BORDER_REPLICATE))
        for dx, dy in ((1, 0), (0, 1))
    )
    power = gx * gx + gy * gy
    edges = np.zeros_like(image)  # 0 in the outermost pixels
    inner, x, y = power[1:-1, 1:-1], gx[1:-1, 1:-1], gy[1:-1, 1:-1]
    slack = 100 * np.finfo(np.float64).eps
    ridge = (x >= y - slack) & (power[1:-1, :-2] <= inner) & (inner > power[1:-1, 2:])
    ridge |= (y >= x - slack) & (power[:-2, 1:-1] <= inner) & (inner > power[2:, 1:-1])
    edges[1:-1, 1:-1] = (inner > 4 * power.mean()) & ridge
    return edges


def _dct(image: ndarray) -> ndarray:
    return scipy.fft.dctn(image, norm="ortho")


def _wavelet(image: ndarray) -> ndarray:
    """One level of the Meyer wavelet (61 taps), the four bands as one image: [low, vertical; horizontal, diagonal]."""
    low = _meyer_taps()
    high = -low[::-1] * (-1.0) ** np.arange(len(low))
    for axis in (0, 1):
        image = np.concatenate([_decimate(image, taps, axis) for taps in (low, high)], axis=axis)
    return image


def _decimate(image: ndarray, taps: ndarray, axis: int) -> ndarray:
    """Every second sample of the full convolution along an axis, the image mirrored at its borders."""
    margin = len(taps) - 1
    padding = [(0, 0), (0, 0)]
    padding[axis] = (margin, margin)
    mirrored = np.pad(image, padding, mode="symmetric")
    reversed_taps, alone = taps[::-1], np.ones(1)  # a convolution as a correlation
    along_rows, along_columns = (reversed_taps, alone) if axis == 1 else (alone, reversed_taps)
    along = filter_same(mirrored, along_rows, along_columns)
    first = len(taps) // 2 + 1
    return np.take(along, range(first, first + image.shape[axis] + margin - 1, 2), axis=axis)


def _meyer_taps() -> ndarray:
    """62 taps of the Meyer low-pass filter, the first one 0: its spectrum is flat up to pi/3, 0 from 2 pi/3 on."""
    n = 4096
    omega = 2 * np.pi * np.abs(scipy.fft.fftfreq(n))
    x = np.clip(3 * omega / np.pi - 1, 0, 1)
    transition = x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)
    response = np.real(scipy.fft.ifft(np.sqrt(2) * np.cos(np.pi / 2 * transition)))
    return np.append(0, np.roll(response, 30)[:61])


_FEATURES = {
    "pixel": np.asarray,
    "gradient": _gradient,
    "edge": _sobel_edges,
    "dct": _dct,
    "wavelet": _wavelet,
}
