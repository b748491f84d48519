"""The pyramid head: weight maps of S sources for every band of a Laplacian pyramid, and the blend that follows them.

Sources lie one after the other in the batch, (S*B, ...); P planes are the pixels of a patch; here H x W counts patches.
"""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.classical.exposure import exposure_weights
from adasffuse.classical.pyramid import blend_pyramids

LEVELS = 3  # of the pyramid above its finest band; height and width in patches are multiples of 2 ** LEVELS
SLOPE = 0.2  # of the LeakyReLU
_FAINT = 1e-3  # contrast that exposure weights do not tell from noise
_LEAST = 1e-4  # exposure weights below this are no smaller


class BandHead(nn.Module):
    """Logits of the sources in one band, from the fused features and each source's embedding."""

    def __init__(self, channels: int, planes: int = 1, kernel: int = 3) -> None:
        super().__init__()
        hidden = channels // 2
        self.from_fused = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2)
        self.from_source = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2, bias=False)
        self.logit = nn.Conv2d(hidden, planes, 3, padding=1, bias=False)  # a bias would cancel in the softmax

    def forward(self, fused: Tensor, features: Tensor) -> Tensor:
        """Logits (S*B, P, H, W), at least float32, from fused features (B, C, H, W) and embeddings (S*B, C, H, W)."""
        count = features.shape[0] // fused.shape[0]
        hidden = self.from_source(features) + self.from_fused(fused).repeat(count, 1, 1, 1)
        return wide(self.logit(F.leaky_relu(hidden, SLOPE)))


class PyramidHead(nn.Module):
    """Blend of Laplacian pyramids: fine detail is weighed pixel by pixel, what is coarser by smooth weights.

    With patches of 2x2 pixels the bands hold what is finer than 4 pixels, octaves up to 16 pixels, and the base.  The
    base is blended cell by cell or, to a share that the network chooses for each cell (`octave_share`), over all
    coarser octaves, which keeps the order of brightness across an image, as exposure fusion does.  Where sources differ
    much in brightness, weights that follow every pixel would make edges that no source has.  No pixel is darker or
    brighter than in all sources: bands weighed differently cannot leave halos.

    With `exposure` every band's weights are those of exposure fusion, to a power that the network chooses for each cell
    (`exposure_power`, 1 at first), times the network's own.

    The weight maps are the logits of each band, with `exposure` its power after them, and the octaves' share at last.
    Those of the tiles of an image can be joined, so that images of any size are composed as a whole.
    """

    def __init__(self, channels: int, patch: int = 1, exposure: bool = False) -> None:
        super().__init__()
        self.patch = patch
        self.detail = BandHead(channels, patch**2)
        self.coarse = nn.ModuleList(BandHead(channels, kernel=1) for _ in range(LEVELS))
        self.octave_share = _constant(nn.Conv2d(channels, 1, 1), -2.0)
        self.exposure_power = _constant(nn.Conv2d(channels, 1, 1), 1.0) if exposure else None

    def fine_maps(self, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """Weight maps that need features at full resolution: fused (B, C, H, W), of the sources (S*B, C, H, W)."""
        return self._band_maps(self.detail, fused, features)

    def coarse_maps(self, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """The other weight maps, from 2x2 means of the features of `fine_maps`: (B, C, H/2, W/2), (S*B, ...)."""
        maps: tuple[Tensor, ...] = ()
        for head in self.coarse:
            if maps:
                fused, features = F.avg_pool2d(fused, 2), F.avg_pool2d(features, 2)
            maps += self._band_maps(head, fused, features)
        return (*maps, wide(self.octave_share(fused)))

    def _band_maps(self, head: BandHead, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        logits = head(fused, features)
        return (logits,) if self.exposure_power is None else (logits, wide(self.exposure_power(fused)))

    def compose(self, sources: Tensor, maps: Sequence[Tensor], night: float = 0.0) -> Tensor:
        """The blend (B, P, H, W) of sources (S, B, P, H, W) by their weight maps, fine ones before coarse ones.

        Args:
            night: added to the logits of all sources but the first in the base, times each one's darkness.
        """
        *bands, share = maps
        images = _levels(sources)
        fine, *logits = self._logits(bands, images, night)
        weights = [band.softmax(dim=0) for band in logits]
        base, weight = images.pop(), weights.pop()
        result = torch.lerp((weight * base).sum(dim=0), blend_pyramids(base, weight), torch.sigmoid(share))
        while len(images) > 1:
            image = images.pop()
            result = _enlarged(result, 2) + (weights.pop() * (image - _enlarged(base, 2))).sum(dim=0)
            base = image
        result, base = self._as_patches(result), self._as_patches(base.flatten(0, 1)).view_as(sources)
        for weight, source, smooth in zip(_softmax(fine), sources, base):
            result = torch.addcmul(result, weight, source - smooth)
        return result.clamp(functools.reduce(torch.minimum, sources), functools.reduce(torch.maximum, sources))

    def _logits(self, maps: Sequence[Tensor], images: Sequence[Tensor], night: float) -> list[Tensor]:
        """Of each band, shaped like its images: the network's, with those of exposure and with `night`."""
        if self.exposure_power is None:
            logits = [band.view_as(x) for band, x in zip(maps, images)]
        else:
            bands = zip(maps[::2], maps[1::2], _levels(self._exposed(images[0])))
            logits = [band.view_as(e) + power * e.clamp(min=_LEAST).log() for band, power, e in bands]
        if night:
            first, others = logits[-1][:1], logits[-1][1:]
            logits[-1] = torch.cat([first, others + night * (1 - images[-1][1:])])
        return logits

    def _exposed(self, sources: Tensor) -> Tensor:
        """Weights of exposure fusion, (S, B, P, H, W)."""
        weights = exposure_weights(F.pixel_shuffle(sources, self.patch), _FAINT)
        return F.pixel_unshuffle(weights, self.patch)

    def start_as_exposure_fusion(self) -> None:
        """Let the weights be those of exposure fusion alone, over all octaves."""
        for head in (self.detail, *self.coarse):
            nn.init.zeros_(head.logit.weight)
        _constant(self.octave_share, 3.0)
        _constant(self.exposure_power, 1.0)

    def _as_patches(self, cells: Tensor) -> Tensor:
        """Enlarged bilinearly, a cell to 2x2 patches: (B, 1, h, w) to (B, P, 2h, 2w), in channels-last memory.

        The pixels of a cell are a matrix times its 3x3 neighbourhood, which writes them in the order of the patches.
        """
        batch, _, height, width = cells.shape
        side, size = 2 * self.patch, self.patch**2
        with torch.autocast(cells.device.type, enabled=False):
            ones = torch.eye(9, device=cells.device, dtype=cells.dtype).view(9, 1, 3, 3)  # in each neighbour alone
            middle = F.interpolate(ones, scale_factor=side, mode="bilinear")[..., side:-side, side:-side]
            bilinear = F.pixel_unshuffle(middle, self.patch).permute(0, 2, 3, 1).flatten(1)  # (9, 2 * 2 * P)
            around = F.pad(cells, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1)  # (B, 1, h, w, 3, 3)
            pixels = around.reshape(-1, 9) @ bilinear
        patches = pixels.view(batch, height, width, 2, 2 * size).transpose(2, 3)  # (B, h, 2, w, 2 * P)
        return patches.reshape(batch, 2 * height, 2 * width, size).permute(0, 3, 1, 2)


def wide(x: Tensor) -> Tensor:
    """A tensor of any shape in float32 where it has fewer digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _softmax(logits: Tensor) -> Sequence[Tensor]:
    """Weights of the sources, logits (S, ...): of two from one exponential for both, in a third of softmax's time."""
    if len(logits) != 2:
        return logits.softmax(dim=0).unbind(0)
    first = torch.sigmoid(logits[0] - logits[1])
    return first, 1 - first


def _levels(x: Tensor) -> list[Tensor]:
    """x (S, B, P, H, W), and means over 2x2, 4x4 and 8x8 patches of all their pixels, down to (S, B, 1, H/8, W/8)."""
    levels = [x, _halved(x.mean(dim=2, keepdim=True))]
    while len(levels) <= LEVELS:
        levels.append(_halved(levels[-1]))
    return levels


def _constant(layer: nn.Conv2d, value: float) -> nn.Conv2d:
    """The layer, whose output is `value` everywhere until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return layer


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])


def _enlarged(x: Tensor, factor: int) -> Tensor:
    planes = x.flatten(0, -4)  # (B, 1, H, W)
    return F.interpolate(planes, scale_factor=factor, mode="bilinear").unflatten(0, x.shape[:-3])
