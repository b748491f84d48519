"""Raising people in the fused image to the contrast that they have in the infrared image.

By day people are brighter than their surroundings in the infrared image and darker in the visible one, so any weighted
mean of the two leaves them gray.  A small network, trained on labelled people, finds them on a reduced copy of the
image.  A smooth lift adds the contrast that they lack, so that detail of both images stays visible on them; the outline
follows the infrared image.  Shapes: images are (B, 1, H, W) in [0, 1].
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.models.bands import doubled, halved
from adasffuse.models.precision import mean_and_deviation, wide
from adasffuse.models.reduced import CELL, OnReducedCopy, gaussian_means, ramp

STRENGTH = 1.75  # factor of the missing contrast; people cover few pixels, and their surroundings are not plain
_TOKEN = 2 * CELL  # pixels of the copy per side of a token
_CHANNELS = 24  # width of the network; the coarse grid has twice as many
_COARSE = (1, 2, 4, 2)  # dilations of the layers at half resolution, whose context tells people from trees and cars
_FINE = (1, 2)  # dilations of the last layers
_ABSENT = -20.0  # logit everywhere before training: no targets
_SURE = 0.2  # probability at which a pixel counts fully as target
_SURROUNDINGS = 3  # standard deviation of the Gaussian over a target's surroundings, in tokens
_FAINT = 0.06  # least contrast in the infrared image at which something is fully part of a target
_PERSON = 1  # standard deviation of the Gaussian over the contrast that a target lacks, in cells
_EDGE = 0.8  # standard deviation of the window in which the outline follows the infrared edge, in cells
_EDGES = 1e-3  # variance of the infrared image, in that window, above which it has an edge
_GAPS = 3  # cells: narrower gaps in a target are closed
_INSIDE = (0.22, 0.5)  # membership of a pixel at which it is not raised, and fully
_BRIGHT = 0.92  # local mean of a target up to which it is raised, so that detail is left below white
_SHOULDER = 0.85  # level above which raised pixels approach white, without reaching it
_WORTH = 0.06  # gain of contrast at which a target, dark before a bright background, is raised fully
_ANYONE = 2e-3  # least share of people in the negative of an image that counts as black-hot
_CLEARLY = 3  # least ratio of that share to the share of people in the image itself
_NO_TARGETS = 1e-3  # avoids a division by zero where no target is near
_NO_CELLS = 1e-4  # avoids a division by zero in means over few cells
_OWN = 0.02  # weight of a token's own value in the mean of its surroundings, for places full of targets


class Found(NamedTuple):
    """Maps of a whole image, one value per cell, (B, 1, h / 2, w / 2) for its copy (h, w), at least float32.

    A pixel's membership of a target is slope * infrared + offset.
    """

    slope: Tensor
    offset: Tensor
    lift: Tensor  # luminance in 0 .. 1 that is added to a target


class TargetLift(OnReducedCopy):
    """Raises people in a fused image by the contrast that it lacks against the infrared image, keeping their detail.

    The input is the standardised infrared image and the visible image.  The fusion loss knows no people, so the network
    is trained apart, by `scripts/train_targets.py`; untrained it finds no targets.  A fused image that already has the
    infrared contrast, e.g. of equal sources, is not changed.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = _CHANNELS
        self.first = nn.Conv2d(2 * _TOKEN**2, channels, 3, padding=1)
        self.down = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(nn.Conv2d(2 * channels, 2 * channels, 3, padding=d, dilation=d) for d in _COARSE)
        self.up = nn.Conv2d(2 * channels, 4 * channels, 1)
        self.fine = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in _FINE)
        self.last = nn.Conv2d(channels, CELL**2, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, _ABSENT)
        self.requires_grad_(False)

    def forward(self, fused: Tensor, infrared: Tensor, visible: Tensor) -> Tensor:
        """The fused image with people raised, up to 1; all are (B, 1, H, W) in [0, 1]."""
        return self.raised(fused, infrared, self.find(fused, infrared, visible))

    def find(self, fused: Tensor, infrared: Tensor, visible: Tensor) -> Found:
        """Find targets, their outlines and the contrast that they lack; arguments as in `forward`."""
        hot, seen, shown = (self.copy_of(image) for image in (infrared, visible, fused))  # (B, 1, h, w)
        probability = wide(self.logits(hot, seen)).sigmoid()  # (B, 1, h / 2, w / 2), as all grids below
        hot, shown = wide(hot), wide(shown)
        around, around_shown, contrast, worth = (doubled(grid) for grid in _surroundings(probability, hot, shown))
        presence = _certain(probability)
        cells, cells_shown = halved(torch.cat([hot, shown], dim=1)).split(1, dim=1)
        lacking = STRENGTH * ((cells - around) - (cells_shown - around_shown))
        weight = presence * ((cells - around) / _FAINT).clamp(0, 1)
        weight, *sums = gaussian_means(_PERSON, weight, weight * lacking, weight * cells_shown)
        lift, level = (mean / (weight + _NO_CELLS) for mean in sums)  # over the nearby cells of targets
        lift = worth * torch.minimum(lift, _BRIGHT - level).clamp(min=0)

        member = presence * ((cells - around) / contrast.clamp(min=_FAINT)).clamp(0, 1)
        return Found(*_guided(_closed(member), cells), lift)

    def presence(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Certainty of a target in 0 .. 1, (B, 1, h / 2, w / 2), one value per cell."""
        return _certain(wide(self.logits(self.copy_of(infrared), self.copy_of(visible))).sigmoid())

    def looks_black_hot(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Whether people are found in the negative of the infrared image, but not in the image itself: (B,) bool."""
        seen = self.copy_of(visible)

        def people(hot: Tensor) -> Tensor:
            """Share of the cells that are people, (B,)."""
            return (self.logits(self.copy_of(hot), seen) > 0).float().mean(dim=(1, 2, 3))

        return people(1 - infrared) > (_CLEARLY * people(infrared)).clamp(min=_ANYONE)

    def logits(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Logit of a target, (B, 1, h / 2, w / 2), from copies (B, 1, h, w) of both images."""
        with torch.autocast(infrared.device.type, enabled=False):
            images = wide(infrared), wide(visible)
            mean, deviation = mean_and_deviation(images[0])
            hot = (images[0] - mean) / (2 * (deviation + 0.02))
            tokens = torch.cat([F.pixel_unshuffle(x, _TOKEN) for x in (hot, images[1] - 0.5)], dim=1)
            tokens = tokens.to(self.first.weight.dtype)
        x = F.gelu(self.first(tokens))
        # Not in bfloat16: oneDNN's strided convolutions then read memory beyond grids of two columns.
        with torch.autocast(infrared.device.type, enabled=False):
            y = F.gelu(self.down(x.to(self.down.weight.dtype)))
        for layer in self.coarse:
            y = y + F.gelu(layer(y))
        x = x + F.pixel_shuffle(self.up(y), 2)
        for layer in self.fine:
            x = x + F.gelu(layer(x))
        return F.pixel_shuffle(self.last(x), CELL)

    def raised(self, fused: Tensor, infrared: Tensor, found: Found, first: int = 0, height: int = 0) -> Tensor:
        """The fused image, or some of its rows, with targets raised.

        Levels above `_SHOULDER` approach white without reaching it.

        Args:
            fused, infrared: (B, 1, rows, W).
            found: as `find` returns it for the whole image.
            first, height: as in `at_full_size`.
        """
        slope, offset, lift = (self.at_full_size(grid, fused, first, height) for grid in found)
        added = ramp(_INSIDE, slope * infrared + offset) * lift
        over = (fused + added - _SHOULDER).clamp(min=0)
        excess = over - over * torch.rsqrt(1 + (over / (1 - _SHOULDER)).square())  # 0 below the shoulder
        return fused + (added - excess).clamp(min=0).to(fused.dtype)


def _certain(probability: Tensor) -> Tensor:
    """Certainty of a target in 0 .. 1: from the probability `_SURE` on it is 1."""
    return (probability / _SURE).clamp(max=1)


def _surroundings(probability: Tensor, hot: Tensor, shown: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What surrounds targets, on the grid of tokens (B, 1, h / 4, w / 4).

    Args:
        probability: of a target, (B, 1, h / 2, w / 2).
        hot, shown: copies of the infrared and the fused image, (B, 1, h, w).
    Returns:
        local means of the infrared and of the fused image without targets; the contrast of nearby targets in the
        infrared image; and how much it is worth to raise them, 0 .. 1: 0 where a raised target stands out less than
        before, being dark before a bright background.
    """
    share = halved(probability)
    others = 1 - F.max_pool2d(share, 3, stride=1, padding=1)  # weight of the surroundings, without targets' rims
    hot, shown = (F.avg_pool2d(image, _TOKEN) for image in (hot, shown))
    weight, *means = gaussian_means(_SURROUNDINGS, others, others * hot, others * shown)
    around, around_shown = ((mean + _OWN * own) / (weight + _OWN) for mean, own in zip(means, (hot, shown)))
    weight, *sums = gaussian_means(_SURROUNDINGS, share, share * (hot - around), share * (shown - around_shown))
    contrast, own = (mean / (weight + _NO_TARGETS) for mean in sums)  # of nearby targets, in infrared and fused image
    becomes = torch.minimum(own + STRENGTH * (contrast - own), 1 - around_shown)
    return around, around_shown, contrast, ((becomes + own) / _WORTH).clamp(0, 1)


def _guided(member: Tensor, hot: Tensor) -> tuple[Tensor, Tensor]:
    """Membership as a local linear function of the infrared image: slope and offset (B, 1, h, w) of a guided filter.

    He, Sun and Tang, "Guided image filtering", IEEE TPAMI 2013, with a Gaussian window; as in their fast form, slope
    and offset are enlarged and applied to the infrared image at full size.
    """
    mean, mean_member, square, product = gaussian_means(_EDGE, hot, member, hot * hot, hot * member)
    slope = (product - mean * mean_member) / ((square - mean * mean).clamp(min=0) + _EDGES)
    return gaussian_means(_EDGE, slope, mean_member - slope * mean)


def _closed(grid: Tensor) -> Tensor:
    """A grid without narrow gaps, by morphological closing."""
    grid = F.max_pool2d(grid, _GAPS, stride=1, padding=_GAPS // 2)
    return -F.max_pool2d(-grid, _GAPS, stride=1, padding=_GAPS // 2)
