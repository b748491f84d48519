"""Number types of the network, and a standard deviation that can be differentiated on flat images."""

import torch
from torch import Tensor

_FLAT = 1e-30  # least variance under the root, whose derivative is infinite at 0; too small to change a result


def wide(x: Tensor) -> Tensor:
    """The tensor in float32, or as it is if its type is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def rounded(x: Tensor) -> Tensor:
    """The tensor in autocast's type where that is on: embedding and wavelets need float32, the blocks do not."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def mean_and_deviation(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each image (..., H, W), both (..., 1, 1); the gradient of a flat image is 0."""
    variance, mean = torch.var_mean(images, dim=(-2, -1), keepdim=True, correction=0)
    return mean, variance.clamp(min=_FLAT).sqrt()
