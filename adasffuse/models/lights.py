"""Keeping what the visible image shows at night: lights, and the ground around people and other hot things.

In the infrared image a lamp is gray or dark, so a weighting that prefers the infrared detail puts it out.  A smooth
lift gives a light the contrast to its surroundings that it has in the visible image, and never more than that image
shows.  A light is small: large glare is left to what the infrared image shows behind it.

A hot thing is shown by the infrared image alone, with the cold ground beside it: a dark halo on a road that the visible
image shows.  There the fused image is raised to what the visible image shows, less what it lacks farther away.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.models.bands import halved
from adasffuse.models.kinds import night
from adasffuse.models.precision import mean_and_deviation, wide
from adasffuse.models.reduced import CELL, MULTIPLE, OnReducedCopy, ramp, shorter_side

_LIT = (0.75, 0.9)  # luminance of a pixel: from the first on part of a light, wholly from the second on
_GLOW = (0.5, 0.65)  # the same of the glow, which does not count as surroundings, nor does a cell beside it
_AMBIENT = (0.75, 0.9)  # luminance of the surroundings up to which a light counts fully, and from which it does not
_COMPACT = (0.3, 0.5)  # largest share nearby that is lit, up to which and from which, in the same way
_AROUND = 1 / 16  # of the shorter side: standard deviation of the Gaussian over the surroundings of a light
_OWN = 0.02  # weight of a block's own value in the mean of its surroundings, for places full of lights
_TAIL = 1e-6  # a Gaussian is 0 below it: processors are slow with numbers near the smallest that they hold
_NO_CELLS = 1e-4  # avoids a division by zero where no light is near
_HOT = (1.5, 2.5)  # standard deviations above the mean of the infrared image: something hot, wholly from the second on
_EVEN = 0.02  # added to that deviation, against noise
_NEAR = 9  # blocks: side of the square around something hot in which there may be a halo
_HOTTER = (0.2, 0.4)  # luminance by which something near must be hotter than a cell that may be in its halo
_COLD = (0.1, 0.25)  # luminance of the infrared image that is cold ground, and from which on it is none
_DIM = (0.4, 0.6)  # of the visible image: brighter ground may be glare, which hides the person
_FARTHER = 1 / 8  # as `_AROUND`, of a halo
_HIDDEN = 2e-3  # as `_OWN`, of a halo


class Lacking(NamedTuple):
    """What the fused image lacks of the visible one, one value per cell, (B, 1, h / 2, w / 2) for the copy (h, w)."""

    light: Tensor  # luminance that lights lack
    halo: Tensor  # 1 in the halo of something hot, 0 outside
    farther: Tensor  # luminance that the fused image lacks around the halo


class LightLift(OnReducedCopy):
    """Raises lights, and the ground around hot things, in a fused image.  It has no parameters.

    Where the fused image shows as much as the visible one, e.g. of equal sources, it is not changed.
    """

    def forward(self, fused: Tensor, infrared: Tensor, visible: Tensor) -> Tensor:
        """The fused image, raised at most up to the visible image; all are (B, 1, H, W) in [0, 1]."""
        return self.raised(fused, visible, self.find(fused, infrared, visible))

    def find(self, fused: Tensor, infrared: Tensor, visible: Tensor) -> Lacking:
        """What the fused image lacks; arguments as in `forward`."""
        shown, hot, seen = (wide(self.copy_of(image)) for image in (fused, infrared, visible))  # (B, 1, h, w)
        return Lacking(self._light(shown, seen), *self._halo(shown, hot, seen))

    def raised(self, fused: Tensor, visible: Tensor, lacking: Lacking, first: int = 0, height: int = 0) -> Tensor:
        """The fused image, or some of its rows, with lights and the ground around hot things raised.

        Args:
            fused, visible: (B, 1, rows, W).
            lacking: as `find` returns it for the whole image.
            first, height: as in `at_full_size`.
        """
        light, halo, farther = (self.at_full_size(grid, fused, first, height) for grid in lacking)
        higher = fused + (ramp(_LIT, visible) * light).to(fused.dtype)
        lit = torch.maximum(fused, torch.minimum(higher, visible))
        ground = torch.addcmul(wide(lit), halo, (visible - lit - farther).clamp(min=0))
        return ground.to(fused.dtype)

    def _light(self, shown: Tensor, seen: Tensor) -> Tensor:
        """`Lacking.light` of copies of the fused and the visible image, (B, 1, h, w)."""
        lead, lit = seen - shown, ramp(_LIT, seen)
        cells = halved(torch.cat([lead, seen, lit, lit * lead], dim=1))
        lead, own, light, lacking = cells.split(1, dim=1)
        others = 1 - F.max_pool2d(ramp(_GLOW, F.max_pool2d(seen, CELL)), 3, stride=1, padding=1)

        blocks = F.avg_pool2d(torch.cat([others * lead, others * own, others, light], dim=1), MULTIPLE // CELL)
        means = _gaussian_means(_AROUND, blocks)
        lead, ambient, weight, share = means.split(1, dim=1)
        ambient = (ambient + _OWN * F.avg_pool2d(own, MULTIPLE // CELL)) / (weight + _OWN)
        share = F.max_pool2d(share, 5, stride=1, padding=2)  # the corners of large glare are no lights, either
        counts = (1 - ramp(_AMBIENT, ambient)) * (1 - ramp(_COMPACT, share))
        around = torch.cat([counts, lead / (weight + _OWN)], dim=1)
        counts, lead = F.interpolate(around, scale_factor=MULTIPLE // CELL, mode="bilinear").split(1, dim=1)

        light, lacking = (F.avg_pool2d(x, 3, stride=1, padding=1) for x in (light, lacking))
        return counts * (lacking / (light + _NO_CELLS) - lead).clamp(min=0)

    def _halo(self, shown: Tensor, hot: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """`Lacking.halo` and `Lacking.farther` of copies of the fused, infrared and visible image, (B, 1, h, w)."""
        mean, deviation = mean_and_deviation(hot)
        ground, cells = halved(torch.cat([hot, seen], dim=1)).split(1, dim=1)
        hottest = F.max_pool2d(ground, MULTIPLE // CELL)  # of each block
        hottest = hottest * ramp(_HOT, (hottest - mean) / (deviation + _EVEN))
        near = F.max_pool2d(hottest, _NEAR, stride=1, padding=_NEAR // 2)

        lead = F.avg_pool2d((seen - shown).clamp(min=0), MULTIPLE)
        others = 1 - ramp(_HOTTER, near)
        weight, farther = _gaussian_means(_FARTHER, torch.cat([others, others * lead], dim=1)).split(1, dim=1)
        blocks = torch.cat([near, (farther + _HIDDEN * lead) / (weight + _HIDDEN)], dim=1)
        near, farther = F.interpolate(blocks, scale_factor=MULTIPLE // CELL, mode="bilinear").split(1, dim=1)
        halo = night(seen) * ramp(_HOTTER, near - ground) * (1 - ramp(_COLD, ground)) * (1 - ramp(_DIM, cells))
        return halo, farther


def _gaussian_means(share: float, blocks: Tensor) -> Tensor:
    """Gaussian means of blocks (B, C, h, w); standard deviation as a share of the shorter side."""
    deviation = share * shorter_side(*blocks.shape[-2:], blocks.device)
    down, across = (_gaussian(length, deviation, blocks) for length in blocks.shape[-2:])
    with torch.autocast(blocks.device.type, enabled=False):
        return down @ blocks @ across.T


def _gaussian(count: int, deviation: Tensor, like: Tensor) -> Tensor:
    """Gaussian means along an axis of `count` blocks as a matrix, (count, count); standard deviation in blocks."""
    place = torch.arange(count, device=like.device, dtype=like.dtype)
    window = torch.exp(-0.5 * ((place[:, None] - place) / deviation) ** 2)
    window = window * (window > _TAIL)
    return window / window.sum(dim=1, keepdim=True)
