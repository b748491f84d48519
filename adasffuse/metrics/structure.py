"""Structural similarity and the fusion indices built on it.  Images are float64 (H, W) on 0..255."""

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.metrics.windows import LocalMoments, filter_same, fits, gaussian, strips, uniform, with_border

_GAUSSIAN_11 = gaussian(11, 1.5)
_GAUSSIAN_7 = gaussian(7, 1.5)
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM
_MEF_WEIGHTS = np.array(_SCALE_WEIGHTS[:3]) / sum(_SCALE_WEIGHTS[:3])
_FLAT = 1e-8  # variances below this are rounding noise of flat windows
_NAN = float("nan")


def structural_similarity(
    a: ndarray,
    b: ndarray,
    fused: ndarray,
    taps: ndarray = _GAUSSIAN_11,
    sample_covariance: bool = False,
    dynamic_range: float = 255.0,
    pad: bool = False,
    mean: bool = False,
) -> float:
    """SSIM, the sum (or mean) of SSIM(A, F) and SSIM(B, F).

    Wang, Bovik, Sheikh and Simoncelli, IEEE Trans. Image Processing 13(4), 2004, 10.1109/TIP.2003.819861.  -2..2 (mean:
    -1..1), higher is better.  Rewards the plain average of the sources; flat regions count as much as detail.

    Args:
        a, b, fused: (H, W).
        taps: weights of the separable window.
        sample_covariance: divide by N - 1.
        dynamic_range: L in the constants (0.01 L)^2 and (0.03 L)^2.
        pad: replicate borders and average the full map, else only where the window lies inside.
        mean: divide the sum by 2.
    Returns:
        NaN where the window does not fit.
    """
    if not fits(fused, len(taps)) and not pad:
        return _NAN
    terms = _ssim_terms((a, b), fused, taps, sample_covariance, dynamic_range, pad)
    total = sum(similarity for similarity, _ in terms)
    return total / 2 if mean else total


def ssim_of_reference(reference: ndarray, fused: ndarray) -> float:
    """SSIM_GT, SSIM(R, F) with the true image R: 11x11 Gaussian of sigma 1.5, constants for 0..255.

    Wang et al. 2004, 10.1109/TIP.2003.819861.  -1..1, higher is better; NaN below 11 pixels.  Rewards correct flat
    regions as much as correct detail.

    Args:
        reference, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN where the window does not fit.
    """
    return _ssim_terms((reference,), fused)[0][0] if fits(fused, 11) else _NAN


def multi_scale_ssim(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """MS_SSIM, mean of MS-SSIM(A, F) and MS-SSIM(B, F).

    Wang, Simoncelli and Bovik, Asilomar 2003, 10.1109/ACSSC.2003.1292216: 5 scales, 11x11 Gaussian of sigma 1.5, 2x2
    means between them.  0..1, higher is better; a scale with a negative mean makes its term 0.  Rewards the plain
    average.  NaN below 176 pixels, where the window does not fit the last scale.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN below 176 pixels.
    """
    return 0.5 * (ms_ssim(a, fused) + ms_ssim(b, fused))


def ms_ssim(x: ndarray, y: ndarray) -> float:
    """MS-SSIM of two images; NaN where the fifth scale is smaller than its window.

    Args:
        x, y: (H, W) float64 on 0..255.
    Returns:
        0..1; NaN below 176 pixels.
    """
    product = 1.0
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        if scale:
            x, y = _halve(x), _halve(y)
        if not fits(x, 11):
            return _NAN
        ((similarity, contrast),) = _ssim_terms((x,), y)
        product *= max(similarity if scale == len(_SCALE_WEIGHTS) - 1 else contrast, 0.0) ** weight
    return product


def mef_ssim(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """MEF_SSIM, contrast and structure of F against the block-wise ideal made of both sources, over three scales.

    Ma, Zeng and Wang, IEEE Trans. Image Processing 24(11), 2015, 10.1109/TIP.2015.2442920: 11x11 blocks, the ideal has
    the highest contrast and a structure weighted by contrast.  About 0..1, higher is better.  Blind to brightness.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        NaN where a side is below 44 pixels, or the mean of a scale below 0 (F reverses the ideal).
    """
    if not fits(fused, 44):
        return _NAN
    product = 1.0
    for scale, weight in enumerate(_MEF_WEIGHTS):
        if scale:
            a, b, fused = _halve(a), _halve(b), _halve(fused)
        total = sum(float(_mef_map(a[rows], b[rows], fused[rows]).sum()) for rows in strips(fused.shape[0], 11))
        product *= (total / ((fused.shape[0] - 10) * (fused.shape[1] - 10))) ** weight
    return product


def piella_quality(a: ndarray, b: ndarray, fused: ndarray, edges: bool = False, weighted: bool = False) -> float:
    """Q, mean of share SSIM(A, F) + (1 - share) SSIM(B, F), share = var A / (var A + var B) in each window.

    Piella and Heijmans, ICIP 2003, 10.1109/ICIP.2003.1247209, in its public form with 11x11 Gaussian SSIM maps in place
    of the paper's universal quality index.  -1..1, higher is better.  Rewards detail of the source with more contrast
    alone.  Where both sources are flat, each counts half.

    Args:
        a, b, fused: (H, W); below 11 pixels NaN.
        edges: compare the Prewitt gradient magnitudes of the images.
        weighted: Qw, weight windows by the larger variance.
    Returns:
        The score.
    """
    if not fits(fused, 11):
        return _NAN
    total = weights = 0.0
    for rows in strips(len(fused), 11):
        images = {"a": a, "b": b, "fused": fused}
        parts = {name: _prewitt(x, rows) if edges else x[rows] for name, x in images.items()}
        moments = LocalMoments(_GAUSSIAN_11, parts, floor=_FLAT)
        saliency_a, saliency_b = moments.variance("a"), moments.variance("b")
        both_flat = saliency_a + saliency_b == 0
        saliency_a, saliency_b = saliency_a + 0.5 * both_flat, saliency_b + 0.5 * both_flat
        share = saliency_a / (saliency_a + saliency_b)
        with_a, with_b = (_ssim_maps(moments, source, "fused")[0] for source in ("a", "b"))
        quality = share * with_a + (1 - share) * with_b
        weight = np.maximum(saliency_a, saliency_b) if weighted else np.ones_like(quality)
        total += float(np.sum(weight * quality))
        weights += float(weight.sum())
    return total / weights


def piella_edge_quality(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """Qe, Qw of the images times Qw of their Prewitt gradient magnitudes (exponent 1).

    Piella and Heijmans, ICIP 2003, 10.1109/ICIP.2003.1247209; see `piella_quality`.  At most 1, higher is better.
    Rewards sharp edges of the source with more contrast; the product of two negative terms counts as good.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN below 11 pixels.
    """
    return piella_quality(a, b, fused, weighted=True) * piella_quality(a, b, fused, edges=True, weighted=True)


def yang_quality(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """Qy, variance-weighted mean of SSIM(A, F) and SSIM(B, F) where SSIM(A, B) >= 0.75, elsewhere the larger one.

    Yang, Zhang, Wang and Liu, Information Fusion 9(2), 2008, 156-160, 10.1016/j.inffus.2006.09.001; 7x7 Gaussian of
    sigma 1.5, constants 2e-16.  At most 1, higher is better.  Rewards a copy of one source where they differ.  Windows
    in which both sources are flat do not count; public code lets rounding noise decide there.  NaN below 11 pixels.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN below 11 pixels or where no window counts.
    """
    if not fits(fused, 11):
        return _NAN
    return _mean_of_numbers(_yang_map(moments) for moments in _flat_aware_moments(a, b, fused))


def cvejic_quality(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """Qc, share SSIM(A, F) + (1 - share) SSIM(B, F) with share = cov(A, F) / (cov(A, F) + cov(B, F)) in each window.

    Cvejic, Loza, Bull and Canagarajah, Int. J. Signal Processing 2(3), 2005, 178-182; 7x7 Gaussian of sigma 1.5.
    Windows score 0 for a share below 0, 1 for a share above 1.  At most 1, higher is better.  Rewards a reversed source
    by the latter rule.  Windows without covariance do not count; public code lets rounding noise decide there.  NaN
    below 11 pixels.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score; NaN below 11 pixels or where no window counts.
    """
    if not fits(fused, 11):
        return _NAN
    return _mean_of_numbers(_cvejic_map(moments) for moments in _flat_aware_moments(a, b, fused))


def _yang_map(moments: LocalMoments) -> ndarray:
    with_a, with_b = (_ssim_maps(moments, source, "fused", 0)[0] for source in ("a", "b"))
    with np.errstate(invalid="ignore"):
        share = moments.variance("a") / (moments.variance("a") + moments.variance("b"))
    agree = _ssim_maps(moments, "a", "b", 0)[0] >= 0.75
    return np.where(agree, share * with_a + (1 - share) * with_b, np.maximum(with_a, with_b))


def _cvejic_map(moments: LocalMoments) -> ndarray:
    covariance_a, covariance_b = moments.covariance("a", "fused"), moments.covariance("b", "fused")
    with np.errstate(divide="ignore", invalid="ignore"):
        share = covariance_a / (covariance_a + covariance_b)
    with_a, with_b = (_ssim_maps(moments, source, "fused", 0)[0] for source in ("a", "b"))
    quality = share * with_a + (1 - share) * with_b
    quality[share < 0] = 0
    quality[share > 1] = 1
    return quality


def _flat_aware_moments(a: ndarray, b: ndarray, fused: ndarray) -> Iterator[LocalMoments]:
    """Moments in 7x7 Gaussian windows, exactly 0 in flat ones, strip by strip."""
    for rows in strips(len(fused), len(_GAUSSIAN_7)):
        yield LocalMoments(_GAUSSIAN_7, {"a": a[rows], "b": b[rows], "fused": fused[rows]}, floor=_FLAT)


def _ssim_terms(
    sources: Sequence[ndarray],
    fused: ndarray,
    taps: ndarray = _GAUSSIAN_11,
    sample_covariance: bool = False,
    dynamic_range: float = 255.0,
    pad: bool = False,
) -> list[tuple[float, float]]:
    """For each source, the means of the SSIM map with F and of its contrast-structure factor."""
    k, names = len(taps), [str(i) for i in range(len(sources))]
    images = dict(zip([*names, "fused"], [*sources, fused]))
    if pad:
        images = {n: cv2.copyMakeBorder(x, *(k // 2,) * 4, cv2.BORDER_REPLICATE) for n, x in images.items()}
    height, width = images["fused"].shape
    correction = k * k / (k * k - 1) if sample_covariance else 1.0
    sums = np.zeros((len(sources), 2))
    for rows in strips(height, k):
        moments = LocalMoments(taps, {name: image[rows] for name, image in images.items()})
        for i, name in enumerate(names):
            maps = _ssim_maps(moments, name, "fused", dynamic_range, correction)
            sums[i] += [float(part.sum()) for part in maps]
            moments.forget(name)
    return [(float(s), float(c)) for s, c in sums / ((height - k + 1) * (width - k + 1))]


def _ssim_maps(
    moments: LocalMoments, x: str, y: str, dynamic_range: float = 255.0, correction: float = 1.0
) -> tuple[ndarray, ndarray]:
    """SSIM map of two images, and its contrast-structure factor; variances are multiplied by `correction`.

    A range of 0 makes both constants 2e-16, which do no more than avoid 0/0.
    """
    c1, c2 = ((k * dynamic_range) ** 2 or 2e-16 for k in (0.01, 0.03))
    structure = _ratio(moments.covariance(x, y), moments.variance(x), moments.variance(y), correction, c2)
    similarity = _ratio(moments.mean_product(x, y), moments.mean_product(x, x), moments.mean_product(y, y), 1.0, c1)
    similarity *= structure
    return similarity, structure


def _ratio(xy: ndarray, xx: ndarray, yy: ndarray, factor: float, constant: float) -> ndarray:
    """(2 f xy + c) / (f (xx + yy) + c), in place: temporaries cost more time than the arithmetic."""
    above, below = xy * (2 * factor), xx + yy
    if factor != 1:
        below *= factor
    above += constant
    below += constant
    above /= below
    return above


def _mean_of_numbers(maps: Iterable[ndarray]) -> float:
    """Mean over the pixels of all maps that are not NaN."""
    total, count = 0.0, 0
    for quality in maps:
        kept = quality[~np.isnan(quality)]
        total, count = total + float(kept.sum()), count + kept.size
    return total / count if count else _NAN


def _prewitt(image: ndarray, rows: slice) -> ndarray:
    """Some rows of the Prewitt gradient magnitude with zeros around the image."""
    ones, step = np.ones(3), np.array([-1.0, 0.0, 1.0])
    part = with_border(image, rows, cv2.BORDER_CONSTANT)
    return np.hypot(filter_same(part, step, ones), filter_same(part, ones, step))[1:-1, 1:-1]


def _halve(image: ndarray) -> ndarray:
    """Means of 2x2 pixels; an odd last row or column is repeated."""
    height, width = image.shape
    even = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _mef_map(a: ndarray, b: ndarray, fused: ndarray) -> ndarray:
    """Contrast-structure map of F against the ideal r = sum_k alpha_k (x_k - mean_k) of each 11x11 block.

    alpha_k grows with the contrast of source k.  r is never computed: its moments follow from the sources' covariances.
    """
    plain = LocalMoments(uniform(11), {"a": a, "b": b})
    smooth = LocalMoments(_GAUSSIAN_11, {"a": a, "b": b, "fused": fused})
    aa, bb, ab = 121 * plain.variance("a"), 121 * plain.variance("b"), 121 * plain.covariance("a", "b")
    lengths = [np.sqrt(np.maximum(square, 0)) for square in (aa, bb)]
    length_of_sum = np.sqrt(np.maximum(aa + bb + 2 * ab, 0))
    eps = np.finfo(np.float64).eps
    consistency = np.clip((length_of_sum + eps) / (lengths[0] + lengths[1] + eps), eps, 1 - eps)
    power = np.minimum(np.tan(np.pi / 2 * consistency), 10)
    contrast = [length + 0.001 for length in lengths]
    weights = [(c / 11) ** power + eps for c in contrast]
    alpha, beta = (w / (weights[0] + weights[1]) / c for w, c in zip(weights, contrast))

    def mixed_variance(aa: ndarray, ab: ndarray, bb: ndarray) -> ndarray:
        return np.maximum(alpha * alpha * aa + 2 * alpha * beta * ab + beta * beta * bb, 0)

    length = np.sqrt(mixed_variance(aa, ab, bb))
    longest = np.maximum(*contrast)
    scale = np.divide(longest, length, out=np.ones_like(length), where=length > 0)
    c = (0.03 * 255) ** 2
    covariance = scale * (alpha * smooth.covariance("a", "fused") + beta * smooth.covariance("b", "fused"))
    variance = scale**2 * mixed_variance(smooth.variance("a"), smooth.covariance("a", "b"), smooth.variance("b"))
    return (2 * covariance + c) / (variance + smooth.variance("fused") + c)
