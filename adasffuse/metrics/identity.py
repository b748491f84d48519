"""Identity error: how a fuser changes an image that is fused with itself."""

from collections.abc import Callable

import numpy as np
from numpy import ndarray


def identity_error(fuse: Callable[[ndarray, ndarray], ndarray], image: ndarray) -> tuple[float, float]:
    """Identity, difference between an image and its fusion with itself: a property of a fuser, not of a result.

    Largest and mean absolute difference, in gray levels, before rounding; 0..255, lower is better.  Definition of this
    project.  Blind to the fusion of sources that differ: any weighted mean scores 0.

    Args:
        fuse: takes two luminances (H, W) float in [0, 1] and returns the fused one, as `Fuser.fuse_luminance` and
            `adasffuse.classical.baselines` do.
        image: (H, W) float luminance in [0, 1].
    Returns:
        (largest, mean) in gray levels.
    Raises:
        ValueError: `image` is not (H, W), or `fuse` returns another shape.
    """
    if image.ndim != 2:
        raise ValueError(f"identity_error needs luminance (H, W), got {image.shape}")
    fused = np.asarray(fuse(image, image))
    if fused.shape != image.shape:
        raise ValueError(f"fusing {image.shape} with itself returned {fused.shape}")
    difference = 255 * np.abs(fused.astype(np.float64) - image.astype(np.float64))
    return float(difference.max()), float(difference.mean())
