"""Exposure fusion without learning: pixels weighted by contrast and well-exposedness.

Mertens, Kautz and Van Reeth, Computer Graphics Forum 2009, doi:10.1111/j.1467-8659.2008.01171.x, exponents 1, for gray
images in [0, 1] of at least 2 pixels per side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.classical.pyramid import blend_pyramids

_SIGMA = 0.2  # standard deviation of well-exposedness around middle gray
_NOTHING = 1e-12  # added to each weight, for pixels without contrast in any source


def exposure_fusion(sources: Tensor) -> Tensor:
    """Pyramid blend of S sources (S, B, 1, H, W) to (B, 1, H, W); the last level has a side of 1 or 2 pixels."""
    return blend_pyramids(sources, exposure_weights(sources)).clamp(0, 1)


def exposure_weights(sources: Tensor, faint: float = 0.0) -> Tensor:
    """Weights of the pixels of S sources (S, B, 1, H, W), float32 of the same shape, of sum 1 over the sources.

    Args:
        faint: added to the contrast of every pixel, so that noise has no effect in flat regions.
    """
    weights = exposure_strength(sources, faint)
    return weights / weights.sum(dim=0)


def exposure_strength(sources: Tensor, faint: float = 0.0) -> Tensor:
    """The weights before normalisation, which depend on each source alone."""
    sources = sources.float()
    x = F.pad(sources.flatten(0, 1), (1, 1, 1, 1), mode="reflect").unflatten(0, sources.shape[:2])
    above, below, left, right = x[..., :-2, 1:-1], x[..., 2:, 1:-1], x[..., 1:-1, :-2], x[..., 1:-1, 2:]
    contrast = (above + left - 4 * sources + right + below).abs()  # summed in OpenCV's order, for the same rounding
    exposed = torch.exp(-(sources - 0.5).square() / (2 * _SIGMA**2))
    return (contrast + faint) * exposed + _NOTHING
