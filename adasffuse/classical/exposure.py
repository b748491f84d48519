"""Exposure fusion without learning: pixels weighed by contrast and by how well they are exposed.

Mertens, Kautz and Van Reeth, Computer Graphics Forum 2009, doi:10.1111/j.1467-8659.2008.01171.x, exponents 1, for gray
images in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.classical.pyramid import blend_pyramids

_SIGMA = 0.2  # of the Gaussian that calls middle gray well exposed
_NOTHING = 1e-12  # weight of what has no contrast in any source


def exposure_fusion(sources: Tensor) -> Tensor:
    """Blend (B, 1, H, W) of S sources (S, B, 1, H, W) by pyramids that end where a level is 1 or 2 pixels small."""
    return blend_pyramids(sources, exposure_weights(sources)).clamp(0, 1)


def exposure_weights(sources: Tensor, faint: float = 0.0) -> Tensor:
    """Weights of the pixels of S sources (S, B, 1, H, W), to the same shape, float32, adding up to 1 over the sources.

    Args:
        faint: contrast that is added to every pixel, so that noise decides nothing in flat regions.
    """
    weights = exposure_strength(sources, faint)
    return weights / weights.sum(dim=0)


def exposure_strength(sources: Tensor, faint: float = 0.0) -> Tensor:
    """The weights before they are made to add up to 1: of each source alone, whatever the others are."""
    sources = sources.float()
    x = F.pad(sources.flatten(0, 1), (1, 1, 1, 1), mode="reflect").unflatten(0, sources.shape[:2])
    above, below, left, right = x[..., :-2, 1:-1], x[..., 2:, 1:-1], x[..., 1:-1, :-2], x[..., 1:-1, 2:]
    contrast = (above + left - 4 * sources + right + below).abs()  # OpenCV's order: rounding shows where it is flat
    exposed = torch.exp(-(sources - 0.5).square() / (2 * _SIGMA**2))
    return (contrast + faint) * exposed + _NOTHING
