"""Visual information fidelity of fused images.  Images are float64 (H, W) on 0..255."""

import numpy as np
from numpy import ndarray

from adasffuse.metrics.windows import LocalMoments, filter_valid, fits, gaussian

_NOISE = 2.0  # variance of the visual noise
_EPSILON = 1e-10
_WINDOWS = (17, 9, 5, 3)  # per scale, sigma a fifth of it


def visual_information_fidelity(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """VIFF, VIF(A, F) + VIF(B, F)."""
    return sum(vif_terms((a, b), fused))


def vif_terms(sources: tuple[ndarray, ...], fused: ndarray) -> list[float]:
    """VIF(source, F) of each source, NaN for a flat source or below 41 pixels."""
    if not fits(fused, 41):
        return [float("nan")] * len(sources)
    images = {"fused": fused, **{str(i): source for i, source in enumerate(sources)}}
    images = {name: image - image.flat[0] for name, image in images.items()}  # VIF looks at variances only
    gained, available = np.zeros(len(sources)), np.zeros(len(sources))
    for scale, size in enumerate(_WINDOWS):
        taps = gaussian(size, size / 5)
        if scale:
            images = {name: filter_valid(image, taps)[::2, ::2] for name, image in images.items()}
        moments = LocalMoments(taps, **images)
        for i in range(len(sources)):
            information = _information(
                moments.variance(str(i)), moments.variance("fused"), moments.covariance(str(i), "fused")
            )
            gained[i] += information[0]
            available[i] += information[1]
    return [float(g / n) if n > 0 else float("nan") for g, n in zip(gained, available)]


def _information(source: ndarray, fused: ndarray, covariance: ndarray) -> tuple[float, float]:
    """Information (in bans) that F holds of the source, and that the source holds, given local variances."""
    gain = covariance / (source + _EPSILON)
    distortion = fused - gain * covariance
    flat_source, lost = source < _EPSILON, fused < _EPSILON
    inverted = gain < 0
    distortion = np.where(flat_source | inverted, fused, distortion)
    gain[flat_source | lost | inverted] = 0
    distortion = np.maximum(np.where(lost, 0, distortion), _EPSILON)
    kept = np.log10(1 + gain * gain * source / (distortion + _NOISE))
    return float(kept.sum()), float(np.log10(1 + np.where(flat_source, 0, source) / _NOISE).sum())
