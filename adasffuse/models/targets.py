"""People stand out in the fused image as they do in the infrared one: where they are, and how far they are raised.

By day people are bright in an infrared image and darker than their surroundings in a visible one, and any weighing of
the two leaves them gray.  So a small network, taught by labelled people, finds them on a small copy of the whole image;
there what the fused image lacks of the infrared's contrast is added.  Shapes: images are (B, 1, H, W) in [0, 1].
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.models.heads import wide

SHORTER = 384  # pixels: the copy in which people are looked for has at most so many on its shorter side
STRENGTH = 1.5  # of the lacking contrast; people cover few pixels, and what surrounds them is no plain background
_TOKEN = 4  # pixels per side of the copy that one token holds
MULTIPLE = 2 * _TOKEN  # height and width of the copy, pixels
_COARSE = (1, 2, 4, 2)  # dilations of the layers on a grid half as fine, by which people are told from trees and cars
_FINE = (1, 2)
_ABSENT = -20.0  # logit of a network that nobody has taught: there is no one
_SURE = 0.2  # probability from which on a pixel is a target wholly
_SURROUNDINGS = 3  # standard deviation of the Gaussian over what surrounds a target, in tokens
_FAINT = 0.06  # contrast in the infrared image from which on a pixel of a target is raised wholly
_WORTH = 0.06  # gain of contrast from which on a target that is dark before a bright background is raised wholly
_ANYONE = 2e-3  # share of a negative's pixels on which people are found, if they are
_CLEARLY = 3  # times as many there as in the image itself
_NONE = 1e-3  # instead of a division by zero
_ALMOST_NONE = 0.02  # share of a surrounding without targets below which a pixel's own value counts instead


class Found(NamedTuple):
    """What `TargetLift.find` learns of a whole image, on grids of its copy."""

    presence: Tensor  # (B, 1, h / 2, w / 2) of a copy (h, w): in 0 .. 1, how surely a target is there
    infrared: Tensor  # (B, 1, h / 4, w / 4): mean luminance around each place, without targets
    fused: Tensor  # the same of the fused image
    worth: Tensor  # (B, 1, h / 4, w / 4): in 0 .. 1, whether targets raised there stand out more than before


class TargetLift(nn.Module):
    """Raises people in a fused image by the contrast that it lacks of the infrared one.

    The network looks at the infrared image, less its mean and over its standard deviation, and at the visible one.  It
    is not trained with the fusion, whose loss knows no people, but by `scripts/train_targets.py`; until then nothing
    is a target.  A result that has the infrared's contrast already, as of equal sources, stays as it is.

    Args:
        channels: width of the network; twice as many on the coarse grid.
    """

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * _TOKEN**2, channels, 3, padding=1)
        self.down = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(nn.Conv2d(2 * channels, 2 * channels, 3, padding=d, dilation=d) for d in _COARSE)
        self.up = nn.Conv2d(2 * channels, 4 * channels, 1)
        self.fine = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in _FINE)
        self.last = nn.Conv2d(channels, (_TOKEN // 2) ** 2, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, _ABSENT)
        self.requires_grad_(False)

    def forward(self, fused: Tensor, infrared: Tensor, visible: Tensor) -> Tensor:
        """The fused image with people raised, at most to 1."""
        return self.raised(fused, infrared, self.find(fused, infrared, visible))

    def find(self, fused: Tensor, infrared: Tensor, visible: Tensor) -> Found:
        """Where targets are, and what surrounds them."""
        hot, seen, shown = (self.copy_of(image) for image in (infrared, visible, fused))
        probability = wide(self.logits(hot, seen)).sigmoid()
        presence = (probability / _SURE).clamp(max=1).to(fused.dtype)
        share = F.avg_pool2d(probability, 2)
        others = 1 - F.max_pool2d(share, 3, stride=1, padding=1)  # without the rims of targets
        hot, shown = (F.avg_pool2d(wide(image), _TOKEN) for image in (hot, shown))
        weight, *means = _gaussian_means(others, others * hot, others * shown)
        around, around_shown = (
            (mean + _ALMOST_NONE * own) / (weight + _ALMOST_NONE) for mean, own in zip(means, (hot, shown))
        )
        weight, *sums = _gaussian_means(share, share * (hot - around), share * (shown - around_shown))
        contrast, own = (mean / (weight + _NONE) for mean in sums)  # of the targets of a neighbourhood
        becomes = torch.minimum(own + STRENGTH * (contrast - own), 1 - around_shown)
        worth = ((becomes + own) / _WORTH).clamp(0, 1)
        return Found(presence, *(grid.to(fused.dtype) for grid in (around, around_shown, worth)))

    def looks_black_hot(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Of each pair, (B,) bool, whether people are found in the negative of the infrared image, not in itself."""
        seen = self.copy_of(visible)

        def found(hot: Tensor) -> Tensor:
            return (self.logits(self.copy_of(hot), seen) > 0).float().mean(dim=(1, 2, 3))

        return found(1 - infrared) > (_CLEARLY * found(infrared)).clamp(min=_ANYONE)

    def logits(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Logit of a target, (B, 1, h / 2, w / 2), from copies (B, 1, h, w) of both images."""
        with torch.autocast(infrared.device.type, enabled=False):
            images = wide(infrared), wide(visible)
            variance, mean = torch.var_mean(images[0], dim=(2, 3), keepdim=True, correction=0)
            hot = (images[0] - mean) / (2 * (variance.sqrt() + 0.02))
            tokens = torch.cat([F.pixel_unshuffle(x, _TOKEN) for x in (hot, images[1] - 0.5)], dim=1)
            tokens = tokens.to(self.first.weight.dtype)
        x = F.gelu(self.first(tokens))
        # Not in bfloat16, in which oneDNN's strided convolutions read memory beyond grids of two columns.
        with torch.autocast(infrared.device.type, enabled=False):
            y = F.gelu(self.down(x.to(self.down.weight.dtype)))
        for layer in self.coarse:
            y = y + F.gelu(layer(y))
        x = x + F.pixel_shuffle(self.up(y), 2)
        for layer in self.fine:
            x = x + F.gelu(layer(x))
        return F.pixel_shuffle(self.last(x), _TOKEN // 2)

    def raised(self, fused: Tensor, infrared: Tensor, found: Found, first: int = 0, height: int = 0) -> Tensor:
        """The fused image, or some of its rows, with targets raised.

        Args:
            fused, infrared: (B, 1, rows, W).
            first: which row of the whole image they begin with.
            height: of the whole image; 0: they are all of it.
        """
        rows = slice(first, first + fused.shape[2])
        size = (height or fused.shape[2], fused.shape[3])
        cells = (_TOKEN // 2, _TOKEN, _TOKEN, _TOKEN)
        presence, hot, shown, worth = (self.at_full_size(grid, cell, size, rows) for grid, cell in zip(found, cells))
        contrast = infrared - hot
        share = presence * worth * (contrast / _FAINT).clamp(0, 1)
        lacking = torch.minimum(STRENGTH * (contrast - (fused - shown)), 1 - fused).clamp(min=0)
        return torch.addcmul(fused, share, lacking)

    def copy_of(self, image: Tensor) -> Tensor:
        """The small copy of an image, means over squares of pixels, extended to multiples of 8: (B, 1, h, w)."""
        factor = reduction(*image.shape[-2:])
        if factor > 1:
            image = F.avg_pool2d(image, factor, ceil_mode=True)
        height, width = image.shape[-2:]
        return F.pad(image, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")

    def at_full_size(self, grid: Tensor, cell: int, size: tuple[int, int], rows: slice) -> Tensor:
        """Some rows of a grid (B, 1, h, w), a cell of cell x cell pixels of the copy, at the image's size (H, W)."""
        step = reduction(*size) * cell
        above = max(0, rows.start // step - 1)
        part = grid[..., above : (rows.stop - 1) // step + 2, :]
        enlarged = F.interpolate(part, scale_factor=step, mode="bilinear")
        return enlarged[..., rows.start - above * step : rows.stop - above * step, : size[1]]


def reduction(height: int, width: int) -> int:
    """Pixels of the image per side of a pixel of its copy."""
    return max(1, -(-min(height, width) // SHORTER))


def _gaussian_means(*grids: Tensor) -> tuple[Tensor, ...]:
    """Gaussian means of grids (B, 1, h, w), whose borders are repeated."""
    x = torch.cat(grids, dim=1)
    reach = 3 * _SURROUNDINGS
    offset = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    window = torch.exp(-0.5 * (offset / _SURROUNDINGS) ** 2)
    window = (window / window.sum()).expand(len(grids), 1, 1, -1)
    with torch.autocast(x.device.type, enabled=False):
        x = F.conv2d(F.pad(x, (reach,) * 4, mode="replicate"), window, groups=len(grids))
        return F.conv2d(x, window.transpose(2, 3), groups=len(grids)).split(1, dim=1)
