"""Heads that weigh the sources: one softmax over the sources per pixel, or one per pixel and band of a pyramid.

S sources lie one after the other in the batch, (S*B, ...); P planes are the pixels of a patch.
"""

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


class BlendHead(nn.Module):
    """Weighted mean of the sources: one logit per source and pixel from (fused features, its embedding), softmax.

    Features become a guide, a tuple of maps with few channels; guide and sources become an image.  Guides of the tiles
    of an image can be joined, so that images of any size are composed as a whole.
    """

    def __init__(self, channels: int, planes: int = 1, kernel: int = 3) -> None:
        super().__init__()
        hidden = channels // 2
        self.from_fused = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2)
        self.from_source = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2, bias=False)
        self.logit = nn.Conv2d(hidden, planes, 3, padding=1, bias=False)  # a bias would cancel in the softmax

    def forward(self, fused: Tensor, features: Tensor) -> Tensor:
        """Logits (S*B, P, H, W), float32, from fused features (B, C, H, W) and embeddings (S*B, C, H, W)."""
        count = features.shape[0] // fused.shape[0]
        hidden = self.from_source(features) + self.from_fused(fused).repeat(count, 1, 1, 1)
        return self.logit(F.leaky_relu(hidden, SLOPE)).float()

    def fine_guide(self, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """Maps of the guide that need the features at full resolution; arguments as of `forward`."""
        return (self(fused, features),)

    def coarse_guide(self, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """The other maps of the guide, from the means of the features over 2x2 patches."""
        return ()

    def compose(self, sources: Tensor, guide: Sequence[Tensor]) -> Tensor:
        """sources (S, B, P, H, W) and the guide, fine maps before coarse ones, to (B, P, H, W)."""
        (logits,) = guide
        return (logits.view_as(sources).softmax(dim=0) * sources).sum(dim=0)


class PyramidHead(BlendHead):
    """Blend of Laplacian pyramids: fine detail is weighed pixel by pixel, what is coarser by smooth weights.

    With patches of 2x2 pixels the bands hold what is finer than 4 pixels, octaves up to 16 pixels, and the rest.  The
    rest is blended cell by cell or, to a share that the network chooses for each cell (`reach`), over all coarser
    octaves, which keeps the order of brightness across an image, as exposure fusion does.  Where sources differ much
    in brightness, weights that follow every pixel would make edges that no source has.  No pixel is darker or brighter
    than in all sources: bands weighed differently cannot leave halos.

    With `exposure` every band's weights are those of exposure fusion, to a power that the network chooses for each cell
    (`trust`, 1 at first), times the network's own.

    The guide holds the logits of each band, with `exposure` its trust after them, and `reach` at last.
    """

    def __init__(self, channels: int, patch: int = 1, exposure: bool = False) -> None:
        super().__init__(channels, patch**2)
        self.patch = patch
        self.coarse = nn.ModuleList(BlendHead(channels, kernel=1) for _ in range(LEVELS))
        self.reach = _constant(nn.Conv2d(channels, 1, 1), -2.0)
        self.trust = _constant(nn.Conv2d(channels, 1, 1), 1.0) if exposure else None
        self.lean = 0.0  # added to the second source's logits in the rest where that is black; no part of the weights

    def fine_guide(self, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        return self._band_guide(self, fused, features)

    def coarse_guide(self, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        guide: tuple[Tensor, ...] = ()
        for head in self.coarse:
            if guide:
                fused, features = F.avg_pool2d(fused, 2), F.avg_pool2d(features, 2)
            guide += self._band_guide(head, fused, features)
        return (*guide, self.reach(fused).float())

    def _band_guide(self, head: BlendHead, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        logits = head(fused, features)
        return (logits,) if self.trust is None else (logits, self.trust(fused).float())

    def compose(self, sources: Tensor, guide: Sequence[Tensor]) -> Tensor:
        *maps, reach = guide
        images = _levels(sources)
        weights = [logits.softmax(dim=0) for logits in self._logits(maps, images)]
        low, weight = images.pop(), weights.pop()
        result = torch.lerp((weight * low).sum(dim=0), blend_pyramids(low, weight), torch.sigmoid(reach))
        while len(images) > 1:
            image = images.pop()
            result = _enlarged(result, 2) + (weights.pop() * (image - _enlarged(low, 2))).sum(dim=0)
            low = image
        detail = sources - self._as_patches(low)
        result = self._as_patches(result) + (weights.pop() * detail).sum(dim=0)
        return result.clamp(sources.amin(dim=0), sources.amax(dim=0))

    def _logits(self, maps: Sequence[Tensor], images: Sequence[Tensor]) -> list[Tensor]:
        """Of each band, shaped like its images: the network's, with those of exposure and with `lean`."""
        if self.trust is None:
            logits = [band.view_as(x) for band, x in zip(maps, images)]
        else:
            bands = zip(maps[::2], maps[1::2], _levels(self._exposed(images[0])))
            logits = [band.view_as(e) + trust * e.clamp(min=_LEAST).log() for band, trust, e in bands]
        if self.lean:
            first, last = logits[-1]
            logits[-1] = torch.stack([first, last + self.lean * (1 - images[-1][-1])])
        return logits

    def _exposed(self, sources: Tensor) -> Tensor:
        """Weights of exposure fusion, (S, B, P, H, W)."""
        weights = exposure_weights(F.pixel_shuffle(sources, self.patch), _FAINT)
        return F.pixel_unshuffle(weights, self.patch)

    def start_as_exposure_fusion(self) -> None:
        """Let the weights be those of exposure fusion alone, over all octaves."""
        for head in (self, *self.coarse):
            nn.init.zeros_(head.logit.weight)
        _constant(self.reach, 3.0)
        _constant(self.trust, 1.0)

    def start_as_blend(self) -> None:
        """Give every band the finest one's weights, the mean of its pixels': what a `BlendHead` does, nearly."""
        for head in self.coarse:
            head.from_fused.bias.data.copy_(self.from_fused.bias)
            for own, fine in ((head.from_fused, self.from_fused), (head.from_source, self.from_source)):
                own.weight.data.copy_(fine.weight.sum(dim=(2, 3), keepdim=True))  # features of cells vary little
            head.logit.weight.data.copy_(self.logit.weight.mean(dim=0, keepdim=True))

    def _as_patches(self, cells: Tensor) -> Tensor:
        return F.pixel_unshuffle(_enlarged(cells, 2 * self.patch), self.patch)


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
