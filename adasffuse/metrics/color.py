"""Errors of the chroma of fused images against their sources."""

from collections.abc import Iterable

import numpy as np
from numpy import ndarray
from skimage.color import deltaE_ciede2000, rgb2lab

from adasffuse.images.color import activity_chroma, as_rgb, fit_gamut, luminance, rgb_to_ycbcr, ycbcr_to_rgb
from adasffuse.images.write import quantise
from adasffuse.metrics.windows import strips

CHROMA_LEVELS = 2  # tolerance of Cb and Cr in a saved file


def chroma_difference(color_a: ndarray, color_b: ndarray, color_fused: ndarray) -> float:
    """CIEDE2000 between the chroma of F and that of the coloured source, both at the source's lightness.

    Sharma, Wu and Dalal, Color Research and Application 30(1), 2005, 10.1002/col.20070.  Lightness does not count,
    since fusion changes it.  Mean over pixels and over coloured sources.  At least 0, about 1 is just visible, lower is
    better.  Rewards a copy of a source; with two coloured sources 0 cannot be reached unless they agree.

    Args:
        color_a, color_b, color_fused: (H, W, 3) sRGB, or (H, W) for gray, float64 on 0..255.
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


def chroma_fidelity(images: Iterable[tuple[ndarray, ndarray]]) -> dict[str, float]:
    """Fidelity of the chroma of functional images in saved results, over all pixels in which these have colour.

    It is compared with what `activity_chroma` leaves of it where the source is nearly black.

    Args:
        images: source and result as read from files, (H, W) or (H, W, 3) float32 in [0, 1]; gray sources are left out.
    Returns:
        max_angle_degrees: largest rotation of the chroma before rounding, where it is one level or more;
        gamut_forced: share of coloured pixels whose chroma was shrunk to fit the gamut;
        within_levels: share of the other pixels whose Cb and Cr are within CHROMA_LEVELS of that;
        max_levels: largest difference of these;
        forced_within_levels: share of shrunk pixels within CHROMA_LEVELS of the fitted chroma.
        Empty if no source has colour.
    """
    turns, forced, free_off, forced_off = [], [], [], []
    for source, saved in images:
        if source.ndim == 2:
            continue
        saved = as_rgb(saved)
        y = quantise(luminance(saved), "8") / np.float32(255)
        cb, cr = activity_chroma(y, source)
        colored = np.hypot(cb, cr) * 255 >= 1
        fitted = fit_gamut(y, cb, cr)
        _, *before_rounding = rgb_to_ycbcr(ycbcr_to_rgb(y, *fitted))
        turn = np.angle((before_rounding[0] + 1j * before_rounding[1]) * (cb - 1j * cr), deg=True)
        turns.append(np.abs(turn)[np.hypot(*fitted) * 255 >= 1])
        shrunk = np.hypot(*fitted) < np.hypot(cb, cr) * np.float32(1 - 1e-5)
        forced.append(shrunk[colored])
        _, *of_file = rgb_to_ycbcr(saved)
        off = np.maximum(*(np.abs(chroma - target) * 255 for chroma, target in zip(of_file, fitted)))
        free_off.append(off[~shrunk])
        forced_off.append(off[shrunk])
    if not forced:
        return {}
    turn, off, off_forced = (np.concatenate(parts) for parts in (turns, free_off, forced_off))
    return {
        "max_angle_degrees": float(turn.max(initial=0)),
        "gamut_forced": float(np.concatenate(forced).mean()),
        "within_levels": float((off <= CHROMA_LEVELS).mean()) if off.size else 1.0,
        "max_levels": float(off.max(initial=0)),
        "forced_within_levels": float((off_forced <= CHROMA_LEVELS).mean()) if off_forced.size else 1.0,
    }
