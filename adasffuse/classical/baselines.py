"""Baselines: fusion without learning.  Each takes luminance a and b, (H, W) in [0, 1], and returns the same."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.images.write import quantise

_LEVELS = 4  # of the Laplacian pyramid


def average(a: ndarray, b: ndarray) -> ndarray:
    """Mean of both sources.

    Args:
        a, b: (H, W) float luminance in [0, 1].
    Returns:
        (H, W) of the same type, in [0, 1].
    """
    return (a + b) / 2


def maximum(a: ndarray, b: ndarray) -> ndarray:
    """The brighter source at every pixel.

    Args:
        a, b: (H, W) float luminance in [0, 1].
    Returns:
        (H, W) of the same type, in [0, 1].
    """
    return np.maximum(a, b)


def laplacian(a: ndarray, b: ndarray) -> ndarray:
    """Laplacian pyramid of 4 levels: the detail of larger absolute value (A's if equal), the mean of the bases.

    Burt and Adelson, IEEE Trans. Commun. 1983, doi:10.1109/TCOM.1983.1095851, with OpenCV's 5-tap pyramid.

    Args:
        a, b: (H, W) float luminance in [0, 1].
    Returns:
        (H, W) of the same type, in [0, 1].
    """
    bases, details = [a, b], []
    for _ in range(_LEVELS):
        smaller = [cv2.pyrDown(base) for base in bases]
        detail_a, detail_b = (base - cv2.pyrUp(s, dstsize=base.shape[::-1]) for base, s in zip(bases, smaller))
        np.copyto(detail_b, detail_a, where=np.abs(detail_a) >= np.abs(detail_b))
        details.append(detail_b)
        bases = smaller
    fused = (bases[0] + bases[1]) / 2
    for detail in reversed(details):
        fused = cv2.pyrUp(fused, dstsize=detail.shape[::-1]) + detail
    return fused.clip(0, 1)


def guided_filter_fusion(a: ndarray, b: ndarray) -> ndarray:
    """GFF: base and detail layers of the sources, weighted by saliency maps refined by guided filters.

    Li, Kang and Hu, IEEE Trans. Image Process. 2013, doi:10.1109/TIP.2013.2244222, with its parameters: 31x31 mean
    filter, 3x3 Laplacian, 11x11 Gaussian of sigma 5, guided filters (r 45, eps 0.3) for the base and (r 7, eps 1e-6)
    for the detail.

    Args:
        a, b: (H, W) float luminance in [0, 1].
    Returns:
        (H, W) of the same type, in [0, 1].
    """
    sources = [a.astype(np.float64), b.astype(np.float64)]
    bases = [cv2.blur(source, (31, 31)) for source in sources]
    saliency = [cv2.GaussianBlur(np.abs(cv2.Laplacian(s, cv2.CV_64F)), (11, 11), 5) for s in sources]
    first = (saliency[0] >= saliency[1]).astype(np.float64)
    masks = [first, 1 - first]
    fused = np.zeros_like(sources[0])
    layers = (bases, [s - base for s, base in zip(sources, bases)])
    for layer, (radius, eps) in zip(layers, ((45, 0.3), (7, 1e-6))):
        weights = [_guided_filter(mask, guide, radius, eps) for mask, guide in zip(masks, sources)]
        total = np.maximum(sum(weights), 1e-12)
        fused += sum(w * x for w, x in zip(weights, layer)) / total
    return fused.clip(0, 1).astype(a.dtype)


def mertens(a: ndarray, b: ndarray) -> ndarray:
    """Exposure fusion: a pyramid blend weighted by contrast and well-exposedness, as OpenCV implements it.

    Mertens, Kautz and Van Reeth, Computer Graphics Forum 28(1), 2009, doi:10.1111/j.1467-8659.2008.01171.x, with the
    paper's exponents of 1; gray images have no saturation.

    Args:
        a, b: (H, W) float luminance in [0, 1].
    Returns:
        (H, W) of the same type, in [0, 1].
    """
    levels = [quantise(x, "8") for x in (a, b)]
    merge = cv2.createMergeMertens(contrast_weight=1, saturation_weight=0, exposure_weight=1)
    return merge.process(levels).reshape(a.shape).clip(0, 1).astype(a.dtype)


def _guided_filter(image: ndarray, guide: ndarray, radius: int, eps: float) -> ndarray:
    """He, Sun and Tang's guided filter with a (2r+1) x (2r+1) window."""

    def mean(x: ndarray) -> ndarray:
        return cv2.blur(x, (2 * radius + 1, 2 * radius + 1))

    mean_guide, mean_image = mean(guide), mean(image)
    slope = (mean(guide * image) - mean_guide * mean_image) / (mean(guide * guide) - mean_guide**2 + eps)
    return (mean(slope) * guide + mean(mean_image - slope * mean_guide)).clip(0, 1)


BASELINES: dict[str, Callable[[ndarray, ndarray], ndarray]] = {
    "average": average,
    "max": maximum,
    "laplacian": laplacian,
    "gff": guided_filter_fusion,
    "mertens": mertens,
}
