"""Bands of a Laplacian pyramid of images that lie in patches.

Shapes: S sources, B samples; the P pixels of a patch are channels, H x W patches.  Level 0 of a pyramid is the image
itself, (..., P, H, W); level k are its means over 2^k x 2^k patches, the cells of that level, (..., 1, H/2^k, W/2^k).
Band k < LEVELS is the detail that level k has beyond level k + 1; band LEVELS, the base, is level LEVELS itself.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 3  # of the pyramid above the image; height and width in patches are multiples of 2 ** LEVELS
_NOISE = 0.01  # added to the contrast of a band before its logarithm, against noise


def pyramid_levels(images: Tensor) -> list[Tensor]:
    """Levels 0 .. LEVELS of images (S, B, P, H, W)."""
    return [images, *halvings(halved(images.mean(dim=2, keepdim=True)))]


def halvings(first: Tensor) -> list[Tensor]:
    """Levels 1 .. LEVELS of a pyramid, from level 1, (S, B, 1, h, w)."""
    levels = [first]
    while len(levels) < LEVELS:
        levels.append(halved(levels[-1]))
    return levels


def pooled_bands(features: Tensor) -> list[Tensor]:
    """Features (N, C, H, W), and their means over 2x2, 4x4 and 8x8 patches: a map for each band."""
    bands = [features]
    while len(bands) <= LEVELS:
        bands.append(F.avg_pool2d(bands[-1], 2))
    return bands


def detail_of(levels: Sequence[Tensor], band: int, patch: int) -> Tensor:
    """Band 0 .. LEVELS - 1 of a pyramid, from its levels; only levels `band` and `band` + 1 are used."""
    return levels[band] - enlarged(levels[band + 1], band, patch)


def enlarged(coarser: Tensor, band: int, patch: int) -> Tensor:
    """Bilinear enlargement of level `band` + 1, (..., 1, h, w), to level `band`, patches of patch x patch pixels."""
    cells = coarser.flatten(0, -4)  # (N, 1, h, w)
    finer = doubled(cells) if band else _cells_as_patches(cells, patch)
    return finer.unflatten(0, coarser.shape[:-3])


def halved(x: Tensor) -> Tensor:
    """Means over 2x2 patches or cells, (..., C, h, w) to (..., C, h/2, w/2)."""
    # as `avg_pool2d`, which takes four times as long
    return F.interpolate(x.flatten(0, -4), scale_factor=0.5, mode="bilinear").unflatten(0, x.shape[:-3])


def doubled(x: Tensor) -> Tensor:
    """Bilinear enlargement, (N, 1, h, w) to (N, 1, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def log_contrast(detail: Tensor, patch: int) -> Tensor:
    """Logarithm of the mean magnitude of a band (S, B, P, H, W), or (S, B, 1, h, w), around each pixel or cell.

    The mean is over 3x3 cells; in the finest band over 2x2 pixels, then over 3x3 of these.
    """
    magnitude = detail.flatten(0, 1).abs()
    if detail.shape[2] == 1:
        means = F.avg_pool2d(magnitude, 3, stride=1, padding=1, count_include_pad=False)
        return (means + _NOISE).log().view_as(detail)
    with torch.autocast(detail.device.type, enabled=False):
        mean = _kernel(_mean_of_2x2_and_3x3, patch, patch // 2, magnitude)
        contrast = (_by_patches(magnitude, mean) + _NOISE).log()  # (S*B, P / 4, H, W)
        return _by_patches(contrast, _kernel(doubled, patch // 2, patch, detail)).view_as(detail)


def _cells_as_patches(cells: Tensor, patch: int) -> Tensor:
    """Bilinear enlargement of each cell to 2x2 patches: (N, 1, h, w) to (N, P, 2h, 2w), in channels-last memory.

    The pixels of a cell are its 3x3 neighbourhood times a matrix, which gives them in the order of the patches.
    """
    batch, _, height, width = cells.shape
    side, size = 2 * patch, patch**2
    with torch.autocast(cells.device.type, enabled=False):
        ones = torch.eye(9, device=cells.device, dtype=cells.dtype).view(9, 1, 3, 3)  # 1 in one neighbour each
        middle = F.interpolate(ones, scale_factor=side, mode="bilinear")[..., side:-side, side:-side]
        bilinear = F.pixel_unshuffle(middle, patch).permute(0, 2, 3, 1).flatten(1)  # (9, 2 * 2 * P)
        around = F.pad(cells, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1)  # (N, 1, h, w, 3, 3)
        pixels = around.reshape(-1, 9) @ bilinear
    patches = pixels.view(batch, height, width, 2, 2 * size).transpose(2, 3)  # (N, h, 2, w, 2 * P)
    return patches.reshape(batch, 2 * height, 2 * width, size).permute(0, 3, 1, 2)


def _mean_of_2x2_and_3x3(pixels: Tensor) -> Tensor:
    """Means over 2x2 pixels (B, 1, H, W), then over 3x3 of these, (B, 1, H / 2, W / 2)."""
    return F.avg_pool2d(F.avg_pool2d(pixels, 2), 3, stride=1, padding=1)


def _kernel(linear: Callable[[Tensor], Tensor], before: int, after: int, like: Tensor) -> Tensor:
    """Kernel (after**2, before**2, 3, 3) of the convolution of patches that equals a linear function of images.

    So the function is computed where the pixels are channels, without bringing them into rows and back.

    Args:
        linear: takes and returns images (B, 1, H, W); a pixel depends on pixels at most one patch away.
        before, after: pixels per side of a patch, before and after the function.
        like: gives device and dtype.
    """
    planes = before**2
    pixels = torch.eye(9 * planes, device=like.device, dtype=like.dtype).view(-1, planes, 3, 3)  # 1 in one pixel each
    response = F.pixel_unshuffle(linear(F.pixel_shuffle(pixels, before)), after)[..., 1, 1]  # in the middle patch
    return response.T.reshape(after**2, planes, 3, 3)


def _by_patches(images: Tensor, kernel: Tensor) -> Tensor:
    """Convolve images (B, P, H, W) with a `_kernel`; patches at the border are repeated beyond it."""
    extended = F.pad(images, (1, 1, 1, 1), mode="replicate").contiguous(memory_format=torch.channels_last)
    return F.conv2d(extended, kernel)
