"""Scoring one fused picture."""

import warnings
from collections.abc import Sequence

import numpy as np

from adasffuse.metrics.arrays import check_same_size, to_luminance
from adasffuse.metrics.conventions import DEFAULT_METRICS, definitions


class MetricWarning(UserWarning):
    """A metric is not defined for the pictures at hand; its score is NaN."""


def evaluate(
    a,
    b,
    fused,
    metrics: Sequence[str] = DEFAULT_METRICS,
    convention: str = "adasffuse",
    data_range: float | None = None,
    reference=None,
) -> dict[str, float]:
    """Score one fused picture of sources a and b.

    All pictures are first reduced to Y of BT.601, rounded to 0..255, as a saved 8-bit file holds it.

    Args:
        a, b, fused: arrays or tensors of one height and width, gray (H, W) or RGB (H, W, 3), uint8, uint16 or float.
        metrics: names out of `METRICS` that the convention defines.
        convention: name out of `CONVENTIONS`.
        data_range: value of full white in float pictures, e.g. 1.0; required for them.
        reference: the true all-in-focus (or otherwise ideal) picture, for metrics that compare with it.
    Returns:
        name to score in the order asked for; NaN, with one `MetricWarning`, where a metric is undefined, for example
        on flat pictures or on ones smaller than its window.
    Raises:
        ValueError: unknown metric or convention, shapes that differ, NaN pixels, floats outside the stated range.
    """
    given = {"a": a, "b": b, "fused": fused}
    if reference is not None:
        given["reference"] = reference
    images = {name: to_luminance(image, name, data_range) for name, image in given.items()}
    check_same_size(**images)
    scores = {}
    for name, definition in definitions(metrics, convention).items():
        with np.errstate(all="ignore"):  # undefined scores are reported once, below
            scores[name] = float(definition.score(images))
    undefined = [name for name, score in scores.items() if np.isnan(score)]
    if undefined:
        height, width = images["fused"].shape
        warnings.warn(
            f"{', '.join(undefined)}: undefined for these {width}x{height} pictures (flat, or too small), NaN returned",
            MetricWarning,
            stacklevel=2,
        )
    return scores
