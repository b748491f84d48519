"""Chroma error of a fused image against its sources.  Images are float64 RGB on 0..255."""

import numpy as np
from numpy import ndarray
from skimage.color import deltaE_ciede2000, rgb2lab

from adasffuse.metrics.windows import strips


def chroma_difference(color_a: ndarray, color_b: ndarray, color_fused: ndarray) -> float:
    """CIEDE2000 between the chroma of F and that of the coloured source, both at the source's lightness.

    Sharma, Wu and Dalal, Color Research and Application 30(1), 2005, 10.1002/col.20070.  Lightness does not count,
    since fusion changes it.  Mean over pixels and over coloured sources.  At least 0, about 1 is just visible, lower is
    better.  Rewards a copy of a source; with two coloured sources 0 cannot be reached unless they agree.

    Args:
        color_a, color_b, color_fused: (H, W, 3) sRGB, or (H, W) for gray, on 0..255.
    Returns:
        The score; NaN if neither source has colour.  A gray F has chroma 0.
    """
    sources = [image for image in (color_a, color_b) if _has_color(image)]
    if not sources:
        return float("nan")
    colored, total = _has_color(color_fused), 0.0
    for rows in strips(len(color_fused)):
        part = color_fused[rows]
        chroma = rgb2lab(part / 255)[..., 1:] if colored else np.zeros((*part.shape[:2], 2))
        for source in sources:
            lab = rgb2lab(source[rows] / 255)
            total += float(deltaE_ciede2000(lab, np.dstack([lab[..., :1], chroma])).sum())
    return total / (len(sources) * color_fused.shape[0] * color_fused.shape[1])


def _has_color(image: ndarray) -> bool:
    return image.ndim == 3 and bool((image != image[..., :1]).any())
