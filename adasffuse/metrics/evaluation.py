"""Scoring one fused image."""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy import ndarray

from adasffuse.arguments import check_arguments
from adasffuse.images.boxes import PEOPLE, Box
from adasffuse.metrics.arrays import Pixels, check_same_size, to_pixels
from adasffuse.metrics.conventions import DEFAULT_METRICS, Definition, definitions


class MetricWarning(UserWarning):
    """A metric is not defined for the images at hand; its score is NaN."""


def evaluate(
    a,
    b,
    fused,
    metrics: Sequence[str] = DEFAULT_METRICS,
    convention: str = "adasffuse",
    data_range: float | None = None,
    reference=None,
    per_channel: bool = False,
    boxes: Sequence[Box] | None = None,
    classes: Sequence[str] = PEOPLE,
) -> dict[str, float]:
    """Score one fused image of two sources a and b.

    All images are first converted to Y of BT.601, rounded to 0..255 as in an 8-bit file.  Fusion metrics are defined
    for two sources; a result of a longer stack can be scored against any two of its images.

    Args:
        a, b, fused: arrays or tensors of one height and width, gray (H, W) or RGB (H, W, 3), uint8, uint16 or float;
            or PIL images of mode L, RGB, I;16 or F.
        metrics: names out of `METRICS` that the convention defines.
        convention: name out of `CONVENTIONS`.
        data_range: value of full white in float images, e.g. 1.0; required for them.
        reference: the true all-in-focus (or otherwise ideal) image, for metrics that compare with it.
        per_channel: for a coloured `fused`, the mean of the scores of red, green and blue instead of Y, as in VIFB.
        boxes: boxes around the objects of the scene, for Retention; empty if there are none.
        classes: class names of the target boxes, case ignored; ('all',): every box.
    Returns:
        name to score in the order asked for; NaN, with one `MetricWarning`, if a metric is undefined, for example on
        flat images or on ones smaller than its window.
    Raises:
        ValueError: unknown metric or convention, a metric that needs a reference or boxes without them, a box beyond
            the image, shapes that differ, NaN pixels, floats outside the stated range, more than two sources.
    """
    if isinstance(metrics, str) or np.ndim(metrics) > 1:
        raise ValueError(
            "evaluate(a, b, fused, metrics=(NAME, ...)) takes two sources, the fused image and names of metrics; score "
            "more than two sources two at a time"
        )
    options = {"metrics": metrics, "convention": convention, "data_range": data_range, "per_channel": per_channel}
    options |= {"boxes": boxes, "classes": classes}
    options = check_arguments(evaluate, options)  # not `checked`, which would keep the images alive
    data_range, boxes, classes = options["data_range"], options["boxes"], options["classes"]
    table = definitions(options["metrics"], convention)
    check_given(table, reference is not None, boxes is not None)
    given = {"a": a, "b": b, "fused": fused} | ({} if reference is None else {"reference": reference})
    pixels = {name: to_pixels(image, name, data_range) for name, image in given.items()}
    del a, b, fused, reference, given  # frees large images that nobody else holds
    check_same_size(**pixels)
    height, width, *color = pixels["fused"].values.shape
    channels = (0, 1, 2) if per_channel and color else (None,)  # None: luminance
    scores = dict.fromkeys(table, 0.0)
    with np.errstate(all="ignore"):  # undefined scores are reported once, below
        for name, definition in table.items():  # first, since no other metric needs the large colour images
            if _needs_colors(definition):
                scores[name] = definition.score({f"color_{key}": image.scaled() for key, image in pixels.items()})
        others = {name: definition for name, definition in table.items() if not _needs_colors(definition)}
        for channel in channels if others else ():
            images = _images(pixels, channel, freed=channel == channels[-1])
            images |= {"boxes": boxes, "classes": classes}
            for name, definition in others.items():
                scores[name] += definition.score(images) / len(channels)
    undefined = [name for name, score in scores.items() if math.isnan(score)]
    if undefined:
        warnings.warn(
            f"{', '.join(undefined)}: undefined for these {width}x{height} images (flat, gray, too small, without "
            "targets), NaN returned",
            MetricWarning,
            stacklevel=2,
        )
    return scores


def check_given(table: Mapping[str, Definition], reference: bool, boxes: bool) -> None:
    """Raise a ValueError that names the metrics that need a reference or boxes, if these are not given.

    Args:
        table: name to definition.
        reference, boxes: whether they are given.
    Raises:
        ValueError: a metric of the table needs a reference or boxes, and there are none.
    """
    for given, key, message in (
        (reference, "reference", "compare with a true image: give a reference, or leave them out"),
        (boxes, "boxes", "looks at boxes around targets: give boxes, or leave it out"),
    ):
        names = [name for name, definition in table.items() if key in definition.inputs]
        if names and not given:
            raise ValueError(f"{', '.join(names)} {message}")


def _needs_colors(definition: Definition) -> bool:
    """Whether a metric takes the images in colour, and nothing else."""
    return all(name.startswith("color_") for name in definition.inputs)


def _images(pixels: dict[str, Pixels], channel: int | None, freed: bool) -> dict[str, ndarray]:
    """Rounded Y, or a channel, of every image, by name.

    Args:
        freed: remove each image from `pixels` once it is converted, so that large images are not kept twice.
    """
    images = {}
    for name in list(pixels):
        image = pixels.pop(name) if freed else pixels[name]
        images[name] = image.rounded(channel)
        del image
    return images
