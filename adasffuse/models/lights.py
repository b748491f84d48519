"""Keeping the lights of a night in the fused image: lamps, traffic lights, headlights.

In the infrared image a lamp is gray or dark, so a weighting that prefers the infrared detail puts it out.  A smooth
lift gives a light the contrast to its surroundings that it has in the visible image, and never more than that image
shows.  A light is small: large glare is left to what the infrared image shows behind it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.models.precision import wide
from adasffuse.models.reduced import CELL, MULTIPLE, OnReducedCopy, ramp, shorter_side

_LIT = (0.75, 0.9)  # luminance of a pixel: from the first on part of a light, wholly from the second on
_HALO = (0.5, 0.65)  # the same of the halo, which does not count as surroundings, nor does a cell beside it
_AMBIENT = (0.75, 0.9)  # luminance of the surroundings up to which a light counts fully, and from which it does not
_COMPACT = (0.3, 0.5)  # largest share nearby that is lit, up to which and from which, in the same way
_AROUND = 1 / 16  # of the shorter side: standard deviation of the Gaussian over the surroundings
_OWN = 0.02  # weight of a block's own value in the mean of its surroundings, for places full of lights
_NO_CELLS = 1e-4  # avoids a division by zero where no light is near


class LightLift(OnReducedCopy):
    """Raises the lights of the visible image in a fused image.  It has no parameters.

    A fused image in which a light has the contrast of the visible image, e.g. of equal sources, is not changed.
    """

    def forward(self, fused: Tensor, visible: Tensor) -> Tensor:
        """The fused image with lights raised, at most up to the visible image; both are (B, 1, H, W) in [0, 1]."""
        return self.raised(fused, visible, self.find(fused, visible))

    def find(self, fused: Tensor, visible: Tensor) -> Tensor:
        """The luminance that lights lack, one value per cell, (B, 1, h / 2, w / 2) for the copy (h, w); 0 elsewhere."""
        shown, seen = (wide(self.copy_of(image)) for image in (fused, visible))  # (B, 1, h, w)
        lead, lit = seen - shown, ramp(_LIT, seen)
        cells = F.avg_pool2d(torch.cat([lead, seen, lit, lit * lead], dim=1), CELL)
        lead, own, light, lacking = cells.split(1, dim=1)
        others = 1 - F.max_pool2d(ramp(_HALO, F.max_pool2d(seen, CELL)), 3, stride=1, padding=1)

        blocks = F.avg_pool2d(torch.cat([others * lead, others * own, others, light], dim=1), MULTIPLE // CELL)
        deviation = _AROUND * shorter_side(*blocks.shape[-2:], blocks.device)
        down, across = (_gaussian(length, deviation, blocks) for length in blocks.shape[-2:])
        with torch.autocast(blocks.device.type, enabled=False):
            means = down @ blocks @ across.T  # over the surroundings
        lead, ambient, weight, share = means.split(1, dim=1)
        ambient = (ambient + _OWN * F.avg_pool2d(own, MULTIPLE // CELL)) / (weight + _OWN)
        share = F.max_pool2d(share, 5, stride=1, padding=2)  # the corners of large glare are no lights, either
        counts = (1 - ramp(_AMBIENT, ambient)) * (1 - ramp(_COMPACT, share))
        around = torch.cat([counts, lead / (weight + _OWN)], dim=1)
        counts, lead = F.interpolate(around, scale_factor=MULTIPLE // CELL, mode="bilinear").split(1, dim=1)

        light, lacking = (F.avg_pool2d(x, 3, stride=1, padding=1) for x in (light, lacking))
        return counts * (lacking / (light + _NO_CELLS) - lead).clamp(min=0)

    def raised(self, fused: Tensor, visible: Tensor, lift: Tensor, first: int = 0, height: int = 0) -> Tensor:
        """The fused image, or some of its rows, with lights raised.

        Args:
            fused, visible: (B, 1, rows, W).
            lift: as `find` returns it for the whole image.
            first, height: as in `at_full_size`.
        """
        lift = self.at_full_size(lift, fused, first, height)
        higher = fused + (ramp(_LIT, visible) * lift).to(fused.dtype)
        return torch.maximum(fused, torch.minimum(higher, visible))


def _gaussian(count: int, deviation: Tensor, like: Tensor) -> Tensor:
    """Gaussian means along an axis of `count` blocks as a matrix, (count, count); standard deviation in blocks."""
    place = torch.arange(count, device=like.device, dtype=like.dtype)
    window = torch.exp(-0.5 * ((place[:, None] - place) / deviation) ** 2)
    return window / window.sum(dim=1, keepdim=True)
