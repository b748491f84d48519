"""Scores of the rendered cases of `adasffuse.scenes`, which the pixel maximum and the paper's recipe fuse wrongly.

Images are luminance (H, W), all images of a case on one scale, 0..255 or 0..1; masks are bool (H, W).  Every score lies
in [0, 1], and is NaN if the case has nothing to measure.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.images.color import luminance
from adasffuse.metrics.windows import LocalMoments, filter_valid, fits, uniform
from adasffuse.scenes.glare import GlareCase
from adasffuse.scenes.street import NightCase

HARD_CASE_SCORES = ("recovery", "fog", "targets", "detail")
_WINDOW = 7
_VISIBLE = 2 / 255  # least local contrast of visible structure, as a share of full white
_RING = 7  # pixels: width of the ring around a target that it is compared with
_GAP = 2  # pixels between target and ring, where the target's border is blurred


def structure_kept(source: ndarray, fused: ndarray, mask: ndarray, data_range: float = 255.0) -> float:
    """Share of a source's local structure that the fused image holds, with the right sign.

    The mean, over 7x7 windows inside the mask, of the slope cov(S, F) / var(S) clipped to [0, 1], weighted by the
    standard deviation of S.  The source itself scores 1, a flat image or the source's negative 0, and w S + (1 - w)
    flat scores w.  Higher is better.  Not punished: structure from elsewhere, wrong brightness, and contrast above the
    source's.  Noise scores a little above 0, since negative slopes count as 0.

    Args:
        source, fused: luminance (H, W).
        mask: pixels that are scored.
        data_range: value of full white; windows in which S varies by less than 2/255 of it do not count.
    Returns:
        NaN where no window lies inside the mask or S is flat there.
    """
    if not fits(source, _WINDOW):
        return float("nan")
    images = {"s": source.astype(np.float64), "f": fused.astype(np.float64)}
    moments = LocalMoments(uniform(_WINDOW), images)
    inside = filter_valid(mask.astype(np.float64), uniform(_WINDOW)) > 1 - 0.5 / _WINDOW**2
    contrast = np.sqrt(np.maximum(moments.variance("s"), 0))
    inside &= contrast >= _VISIBLE * data_range
    if not inside.any():
        return float("nan")
    slope = moments.covariance("s", "f")[inside] / moments.variance("s")[inside]
    return float(np.average(slope.clip(0, 1), weights=contrast[inside]))


def glare_recovery(infrared: ndarray, fused: ndarray, saturated: ndarray, data_range: float = 255.0) -> float:
    """Recovery, the infrared structure that the result shows where glare has clipped the visible image.

    `structure_kept` of the infrared image inside `saturated`: 1 for the infrared image, 0 for the visible image and the
    pixel maximum, 0.5 for the average.  Higher is better.  Rewards copying the infrared image.

    Args:
        infrared, fused: luminance (H, W).
        saturated: bool (H, W), where glare has clipped the visible image.
        data_range: value of full white.
    Returns:
        NaN where nothing is saturated or the infrared image is flat there.
    """
    return structure_kept(infrared, fused, saturated, data_range)


def fog(infrared: ndarray, visible: ndarray, fused: ndarray, dark: ndarray) -> float:
    """Fog, brightening of dark background: (mean F - mean V) / (mean I - mean V) over `dark`, clipped to [0, 1].

    0 for the visible image and anything darker, 1 for the infrared image and the pixel maximum, 0.5 for the average.
    Lower is better.  Only the mean level counts, so darkness is rewarded even where the infrared background shows
    something.

    Args:
        infrared, visible, fused: luminance (H, W), on one scale.
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
        infrared, fused: luminance (H, W), on one scale.
        targets: bool (H, W).
    Returns:
        NaN without targets that are hotter than their surroundings.
    """
    count, labels = cv2.connectedComponents(targets.astype(np.uint8), connectivity=8)
    anywhere = _grown(targets, _GAP)
    shares, weights = [], []
    for label in range(1, count):
        target = labels == label
        ring = _grown(target, _GAP + _RING) & ~anywhere
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


def lit_detail(visible: ndarray, fused: ndarray, detail: ndarray, data_range: float = 255.0) -> float:
    """Detail, the visible structure that the result shows where only the visible image has any, such as lettering.

    `structure_kept` of the visible image inside `detail`: 1 for the visible image, near 0 for the infrared image, 0.5
    or a little more for the average.  Higher is better.  Rewards copying the visible image.

    Args:
        visible, fused: luminance (H, W).
        detail: bool (H, W).
        data_range: value of full white.
    Returns:
        NaN where there is no detail.
    """
    return structure_kept(visible, fused, detail, data_range)


def score_hard_case(case: GlareCase | NightCase, fused: ndarray, data_range: float = 255.0) -> dict[str, float]:
    """The scores in `HARD_CASE_SCORES` of a `GlareCase` or `NightCase`, NaN for masks that it does not have.

    The sources are scaled to `data_range` and their luminance rounded to 8 bits, as a fuser's file would hold them.

    Args:
        case: a case of `adasffuse.scenes`, images in [0, 1].
        fused: luminance (H, W) in 0..data_range.
        data_range: value of full white in `fused`.
    Raises:
        ValueError: `fused` has another height and width than the case.
    """
    if fused.shape != case.infrared.shape:
        raise ValueError(f"the fused luminance must be {case.infrared.shape} as the case is, got {fused.shape}")
    infrared, visible = (np.rint(x * 255.0) * (data_range / 255) for x in (case.infrared, luminance(case.visible)))
    scores = dict.fromkeys(HARD_CASE_SCORES, float("nan"))
    scores["recovery"] = glare_recovery(infrared, fused, case.saturated, data_range)
    if isinstance(case, NightCase):
        scores["fog"] = fog(infrared, visible, fused, case.dark)
        scores["targets"] = target_contrast(infrared, fused, case.targets)
        scores["detail"] = lit_detail(visible, fused, case.detail, data_range)
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


def _grown(mask: ndarray, pixels: int) -> ndarray:
    size = 2 * pixels + 1
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
