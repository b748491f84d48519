"""What becomes of the targets of an infrared image.  Images are float64 (H, W) on 0..255."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from adasffuse.images.boxes import PEOPLE, Box, box_area, of_classes


def target_retention(
    a: ndarray, fused: ndarray, boxes: Sequence[Box], classes: Sequence[str] = PEOPLE, least: float = 10.0
) -> float:
    """Retention, contrast of boxed targets in F over their contrast in A, the infrared image.

    Contrast of a box: its mean minus that of a ring around it, the box enlarged by half its width and height on each
    side, without any other box, cut at the image's border.  Sum over the targets of F's contrasts divided by that of
    A's; only targets whose contrast in A is at least `least` count.  1 for A itself, w for w A + (1 - w) flat, negative
    where targets turn dark; higher is better up to 1, and beyond it the contrast is exaggerated.  Definition of this
    project.  Blind to everything but the means of boxes and rings: to detail, shape, noise and the visible image; it
    rewards copying A, and the hottest targets rule.

    Args:
        a, fused: (H, W) float64 luminance on 0..255, a of the infrared image.
        boxes: all boxes of the scene.
        classes: names, in any mix of capitals, of those that are targets; ('all',): every box.
        least: gray levels.
    Returns:
        NaN where no target counts.
    Raises:
        ValueError: a box reaches beyond the image.
    """
    shown, kept = target_contrasts(a, fused, boxes, classes, least)
    return kept / shown if shown > 0 else float("nan")


def target_contrasts(
    a: ndarray, fused: ndarray, boxes: Sequence[Box], classes: Sequence[str] = PEOPLE, least: float = 10.0
) -> tuple[float, float]:
    """Sums of the contrasts of boxed targets in A and in F, in gray levels; arguments as in `target_retention`.

    Raises:
        ValueError: a box reaches beyond the image.
    """
    for box in boxes:
        if not box.lies_within(*a.shape):
            raise ValueError(f"{box} reaches beyond the image of {a.shape[1]}x{a.shape[0]} pixels")
    taken = np.zeros(a.shape, bool)
    for box in boxes:
        taken[box_area(box, 0)] = True
    shown = kept = 0.0
    for box in of_classes(boxes, classes):
        inside, around = box_area(box), box_area(box, 0.5)
        ring = ~taken[around]
        if not ring.any():
            continue
        contrast, after = (float(image[inside].mean() - image[around][ring].mean()) for image in (a, fused))
        if contrast >= least:
            shown += contrast
            kept += after
    return shown, kept
