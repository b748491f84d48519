"""Blending of Laplacian pyramids of images by Gaussian pyramids of weights; images are (..., H, W) tensors.

Burt and Adelson, ACM Trans. Graphics 1983, doi:10.1145/245.247.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def blend_pyramids(images: Tensor, weights: Tensor) -> Tensor:
    """Blend images by the Laplacian pyramids of the images, weighted by the Gaussian pyramids of the weights.

    Args:
        images, weights: (S, ..., H, W); the weights add up to 1 over the sources.
    Returns:
        (..., H, W); the last level has a side of 1 or 2 pixels.
    """
    levels = []
    while min(images.shape[-2:]) > 2:
        coarse = halved(images)
        levels.append((weights * (images - doubled(coarse, images))).sum(dim=0))
        images, weights = coarse, halved(weights)
    blended = (weights * images).sum(dim=0)
    for level in reversed(levels):
        blended = level + doubled(blended, level)
    return blended


def halved(x: Tensor) -> Tensor:
    """Next level of a Gaussian pyramid, (..., H, W) to (..., ceil(H / 2), ceil(W / 2)); H, W > 2."""
    return _binomial(x)[..., ::2, ::2]


def doubled(x: Tensor, like: Tensor) -> Tensor:
    """Enlarge a level of a pyramid, (..., ceil(H / 2), ceil(W / 2)), to the size of `like` (..., H, W)."""
    sparse = torch.zeros_like(like)
    sparse[..., ::2, ::2] = 4 * x
    return _binomial(sparse)


def _binomial(x: Tensor) -> Tensor:
    """Smooth by the 5x5 window of image pyramids (1, 4, 6, 4, 1), borders mirrored, as four means of 2x2 pixels."""
    smooth = F.pad(x.reshape(-1, 1, *x.shape[-2:]), (2, 2, 2, 2), mode="reflect")
    for _ in range(4):
        smooth = F.avg_pool2d(smooth, 2, stride=1)
    return smooth.view_as(x)
