"""Scores of the rendered cases of `adasffuse.scenes`, which the pixel maximum and the paper's recipe fuse wrongly.

Images are luminance (H, W) on 0..255; masks are bool (H, W).  Every score lies in [0, 1], and is NaN if the case has
nothing to measure.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.images.color import luminance
from adasffuse.images.masks import dilate
from adasffuse.metrics.windows import LocalMoments, filter_valid, fits, uniform
from adasffuse.scenes.glare import GlareCase
from adasffuse.scenes.street import NightCase

HARD_CASE_SCORES = ("recovery", "fog", "targets", "detail")
_WINDOW = 7
_VISIBLE = 2  # gray levels: least local contrast of visible structure
_RING = 7  # pixels: width of the ring around a target that it is compared with
_GAP = 2  # pixels between target and ring, where the target's border is blurred


def structure_kept(source: ndarray, fused: ndarray, mask: ndarray) -> float:
    """Share of a source's local structure that the fused image holds, with the right sign.

    The mean, over 7x7 windows inside the mask, of the slope cov(S, F) / var(S) clipped to [0, 1], weighted by the
    standard deviation of S.  The source itself scores 1, a flat image or the source's negative 0, and w S + (1 - w)
    flat scores w.  Higher is better.  Not punished: structure from elsewhere, wrong brightness, and contrast above the
    source's.  Noise scores a little above 0, since negative slopes count as 0.  Windows in which S varies by less than
    2 gray levels do not count.

    Args:
        source, fused: luminance (H, W).
        mask: pixels that are scored.
    Returns:
        NaN where no window lies inside the mask or S is flat there.
    """
    if not fits(source, _WINDOW):
        return float("nan")
    images = {"s": source.astype(np.float64), "f": fused.astype(np.float64)}
    moments = LocalMoments(uniform(_WINDOW), images)
    inside = filter_valid(mask.astype(np.float64), uniform(_WINDOW)) > 1 - 0.5 / _WINDOW**2
    contrast = np.sqrt(np.maximum(moments.variance("s"), 0))
    inside &= contrast >= _VISIBLE
    if not inside.any():
        return float("nan")
    slope = moments.covariance("s", "f")[inside] / moments.variance("s")[inside]
    return float(np.average(slope.clip(0, 1), weights=contrast[inside]))


def fog(infrared: ndarray, visible: ndarray, fused: ndarray, dark: ndarray) -> float:
    """Fog, brightening of dark background: (mean F - mean V) / (mean I - mean V) over `dark`, clipped to [0, 1].

    0 for the visible image and anything darker, 1 for the infrared image and the pixel maximum, 0.5 for the average.
    Lower is better.  Only the mean level counts, so darkness is rewarded even where the infrared background shows
    something.

    Args:
        infrared, visible, fused: luminance (H, W).
        dark: bool (H, W).
    Returns:
        NaN where the mask is empty or the infrared image is not brighter there.
    """
    if not dark.any():
        return float("nan")
    night, gray, level = (float(image[dark].mean(dtype=np.float64)) for image in (visible, infrared, fused))
    return float(np.clip((level - night) / (gray - night), 0, 1)) if gray > night else float("nan")


def target_contrast(infrared: ndarray, fused: ndarray, targets: ndarray) -> float:
    """Targets, contrast of hot targets to their surroundings as a share of the infrared contrast, at most 1.

    The contrast of a connected target is its mean minus the mean over a ring of 7 pixels, 2 pixels off, without other
    targets.  The score is fused over infrared contrast, clipped to [0, 1], averaged over targets with the square root
    of their area as weight.  1 for the infrared image, 0 if targets are as dark as their surroundings or darker.
    Higher is better.  Rewards a bright silhouette without detail, and a dark halo around it.

    Args:
        infrared, fused: luminance (H, W).
        targets: bool (H, W).
    Returns:
        NaN without targets that are hotter than their surroundings.
    """
    count, labels = cv2.connectedComponents(targets.astype(np.uint8), connectivity=8)
    anywhere = dilate(targets, _GAP, disc=True)
    shares, weights = [], []
    for label in range(1, count):
        target = labels == label
        ring = dilate(target, _GAP + _RING, disc=True) & ~anywhere
        if not ring.any():
            continue
        hot, shown = (
            float(image[target].mean(dtype=np.float64) - image[ring].mean(dtype=np.float64))
            for image in (infrared, fused)
        )
        if hot > 0:
            shares.append(min(max(shown / hot, 0.0), 1.0))
            weights.append(float(target.sum()) ** 0.5)
    return float(np.average(shares, weights=weights)) if shares else float("nan")


def score_hard_case(case: GlareCase | NightCase, fused: ndarray) -> dict[str, float]:
    """The scores in `HARD_CASE_SCORES` of a `GlareCase` or `NightCase`, NaN for masks that it does not have.

    recovery: `structure_kept` of the infrared image where glare has clipped the visible one; 1 for the infrared image,
        0 for the visible image and the pixel maximum, 0.5 for the average.  Rewards copying the infrared image.
    fog: `fog`, lower is better.
    targets: `target_contrast`.
    detail: `structure_kept` of the visible image where it alone has structure, such as lettering; 1 for the visible
        image, near 0 for the infrared image, 0.5 or a little more for the average.  Rewards copying the visible image.

    Args:
        case: a case of `adasffuse.scenes`, images in [0, 1]; its sources are rounded to 8 bits, as files hold them.
        fused: luminance (H, W) on 0..255.
    Raises:
        ValueError: `fused` has another height and width than the case.
    """
    if fused.shape != case.infrared.shape:
        raise ValueError(f"the fused luminance must be {case.infrared.shape} as the case is, got {fused.shape}")
    infrared, visible = np.rint(case.infrared * 255.0), np.rint(luminance(case.visible) * 255.0)
    scores = dict.fromkeys(HARD_CASE_SCORES, float("nan"))
    scores["recovery"] = structure_kept(infrared, fused, case.saturated)
    if isinstance(case, NightCase):
        scores["fog"] = fog(infrared, visible, fused, case.dark)
        scores["targets"] = target_contrast(infrared, fused, case.targets)
        scores["detail"] = structure_kept(visible, fused, case.detail)
    return scores


def hard_case_total(scores: Mapping[str, float]) -> float:
    """The mean of recovery, 1 - fog, targets and detail: 1 is best, 0 worst, NaN if one of them is.

    Either source alone, and the average of both, score about 0.5.  Blind to seams (sources pasted together along hard
    borders score 1), colour, noise, halos, flicker, and infrared structure outside glare and targets.  It says nothing
    about ordinary images: read it beside the metrics.

    Args:
        scores: the four of `HARD_CASE_SCORES`.
    Returns:
        0..1 or NaN.
    """
    return (scores["recovery"] + (1 - scores["fog"]) + scores["targets"] + scores["detail"]) / 4
