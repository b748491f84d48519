"""Contrast of the targets of an infrared image in the fused image.  Images are float64 (H, W) on 0..255."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from adasffuse.images.boxes import PEOPLE, Box, box_area, of_classes

_LEAST = 10.0  # gray levels: contrast in A from which on a target counts


def target_retention(a: ndarray, fused: ndarray, boxes: Sequence[Box], classes: Sequence[str] = PEOPLE) -> float:
    """Retention, contrast of boxed targets in F over their contrast in A, the infrared image.

    The contrast of a box is its mean minus the mean of a ring around it: the box enlarged by half its width and height
    on each side, without any box, cut at the image's border.  The score is the sum of the contrasts in F over the sum
    in A, over the targets whose contrast in A is at least 10 gray levels.  1 for A itself, w for w A + (1 - w) flat,
    negative if targets turn dark; higher is better up to 1, above 1 the contrast is exaggerated.  Definition of this
    project.  Blind to everything but the means of boxes and rings, e.g. detail, shape, noise and the visible image;
    rewards copying A; the hottest targets dominate.

    Args:
        a, fused: (H, W) float64 luminance on 0..255, `a` being the infrared image.
        boxes: all boxes of the scene.
        classes: class names of the targets, case ignored; ('all',): every box.
    Returns:
        The score; NaN if no target counts.
    Raises:
        ValueError: a box reaches beyond the image.
    """
    shown, kept = target_contrasts(a, fused, boxes, classes)
    return kept / shown if shown > 0 else float("nan")


def target_contrasts(
    a: ndarray, fused: ndarray, boxes: Sequence[Box], classes: Sequence[str] = PEOPLE
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
        if contrast >= _LEAST:
            shown += contrast
            kept += after
    return shown, kept
