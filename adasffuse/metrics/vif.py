"""Visual information fidelity of fused images.  Images are float64 (H, W) on 0..255."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from adasffuse.metrics.windows import LocalMoments, filter_valid, fits, gaussian, strips

_EPSILON = 1e-10
_WINDOWS = (17, 9, 5, 3)  # window size of each scale, five times its sigma
_SMALLEST = 41  # pixels per side that the last scale needs
_NOISE, _HAN_NOISE = 2.0, 0.005 * 255**2  # variance of the visual noise, squared gray levels
_HAN_WEIGHTS = (1 / 2.15, 0.0, 0.15 / 2.15, 1 / 2.15)


class _Information(NamedTuple):
    """Maps over window positions; the logarithms of `kept` and `full` are information."""

    gain: ndarray  # gain of the channel from the source to F
    kept: ndarray  # 1 + signal-to-noise ratio of that channel: information of the source that F holds
    full: ndarray  # 1 + signal-to-visual-noise ratio of the source: information that the source holds


def visual_information_fidelity(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """VIFF, VIF(A, F) + VIF(B, F), pixel-domain VIF with visual noise of variance 2.

    Sheikh and Bovik, IEEE Trans. Image Processing 15(2), 2006, 10.1109/TIP.2005.859378: over 4 scales, windows of 17,
    9, 5 and 3 pixels, sum log10(1 + g^2 s_X / (s_v + 2)) / sum log10(1 + s_X / 2), F = g X + v.  At least 0, 2 for
    identical images, higher is better.  Rewards stretched contrast (beyond 2 even), and the source with more texture.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        NaN where a source is flat (0/0) or a side is below 41 pixels.
    """
    return sum(vif_terms((a, b), fused))


def vif_terms(sources: Sequence[ndarray], fused: ndarray) -> list[float]:
    """Pixel-domain VIF(source, F) of each source; NaN for a flat source and for images below 41 pixels.

    Args:
        sources: each (H, W) float64 on 0..255.
        fused: (H, W).
    Returns:
        One value per source, at least 0, 1 for the source itself.
    """
    if not fits(fused, _SMALLEST):
        return [float("nan")] * len(sources)
    kept, full = np.zeros(len(sources)), np.zeros(len(sources))
    for _, informations in _scales(sources, fused, _NOISE):
        for source, information in enumerate(informations):
            kept[source] += _sum_of_logs(information.kept)
            full[source] += _sum_of_logs(information.full)
    return [float(k / f) if f > 0 else float("nan") for k, f in zip(kept, full)]


def han_information_fidelity(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """VIFF of Han et al.: VIF of the source with the smaller gain in each window, weighted sum over four scales.

    Han, Cai, Cao and Xu, Information Fusion 14(2), 2013, 10.1016/j.inffus.2011.08.002; noise variance 0.005 * 255^2,
    weights (1, 0, 0.15, 1) / 2.15.  At least 0, 1 for identical images, higher is better.  Rewards stretched contrast.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN if a side is below 41 pixels.  Flat sources score 1, since the authors add 1e-7 to each window.
    """
    if not fits(fused, _SMALLEST):
        return float("nan")
    kept, full = np.zeros(len(_WINDOWS)), np.zeros(len(_WINDOWS))
    for scale, (of_a, of_b) in _scales((a, b), fused, _HAN_NOISE):
        from_a = of_a.gain < of_b.gain
        kept[scale] += float(np.sum(np.log10(np.where(from_a, of_a.kept, of_b.kept)) + 1e-7))
        full[scale] += float(np.sum(np.log10(np.where(from_a, of_a.full, of_b.full)) + 1e-7))
    return float(np.dot(_HAN_WEIGHTS, kept / full))


def _sum_of_logs(factors: ndarray) -> float:
    """Sum of the logarithms of a map, 32 factors per logarithm: their product stays below 1e126 for 8-bit images."""
    return sum(float(np.log(np.prod(factors[i : i + 32], axis=0)).sum()) for i in range(0, len(factors), 32))


def _scales(sources: Sequence[ndarray], fused: ndarray, noise: float) -> Iterator[tuple[int, Iterator[_Information]]]:
    """(scale, information of each source in turn) strip by strip, over the four scales."""
    names = [str(i) for i in range(len(sources))]
    images = dict(zip([*names, "fused"], [*sources, fused]))
    for scale, size in enumerate(_WINDOWS):
        taps = gaussian(size, size / 5)
        if scale:
            images = {name: _decimate(image, taps) for name, image in images.items()}
        for rows in strips(images["fused"].shape[0], size):
            # minus a constant, so that flat images get variance 0 exactly
            moments = LocalMoments(taps, {name: image[rows] - image[0, 0] for name, image in images.items()})
            yield scale, _informations(moments, names, noise)


def _decimate(image: ndarray, taps: ndarray) -> ndarray:
    """Every second pixel of the filtered image; strips have an even number of rows."""
    filtered = (filter_valid(image[rows], taps) for rows in strips(len(image), len(taps)))
    return np.concatenate([part[::2, ::2].copy() for part in filtered])  # copies: views would keep the strips


def _informations(moments: LocalMoments, names: Sequence[str], noise: float) -> Iterator[_Information]:
    for name in names:
        yield _information(moments, name, noise)
        moments.forget(name)


def _information(moments: LocalMoments, source: str, noise: float) -> _Information:
    """Fit F = gain * source + distortion in every window, and measure the information in that channel.

    Works in place: temporaries of whole strips cost more time than the arithmetic.
    """
    variance, variance_f = moments.variance(source), moments.variance("fused")
    covariance = moments.covariance(source, "fused")
    flat = variance < _EPSILON
    flat_f = variance_f < _EPSILON
    gain = variance + _EPSILON
    np.divide(covariance, gain, out=gain)
    np.maximum(gain, 0, out=gain)
    if flat.any() or flat_f.any():
        variance = np.where(flat, 0, variance)
        gain[flat | flat_f] = 0
    distorted = gain * covariance
    np.subtract(variance_f, distorted, out=distorted)
    np.maximum(distorted, _EPSILON, out=distorted)
    distorted += noise
    kept = gain * gain
    kept *= variance
    kept /= distorted
    kept += 1
    full = variance / noise
    full += 1
    return _Information(gain, kept, full)
