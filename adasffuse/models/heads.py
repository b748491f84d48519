"""Heads that weigh the sources: one softmax over the sources per pixel, or one per pixel and band of a pyramid.

S sources lie one after the other in the batch, (S*B, ...); P planes are the pixels of a patch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.exposure import exposure_weights
from adasffuse.pyramid import blend_pyramids

LEVELS = 3  # of the pyramid above its finest band; height and width in patches are multiples of 2 ** LEVELS
SLOPE = 0.2  # of the LeakyReLU
_FAINT = 1e-3  # contrast that exposure weights do not tell from noise
_LEAST = 1e-4  # exposure weights below this are no smaller


class BlendHead(nn.Module):
    """Weighted mean of the sources: one logit per source and pixel from (fused features, its embedding), softmax."""

    def __init__(self, channels: int, planes: int = 1, kernel: int = 3) -> None:
        super().__init__()
        hidden = channels // 2
        self.from_fused = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2)
        self.from_source = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2, bias=False)
        self.logit = nn.Conv2d(hidden, planes, 3, padding=1, bias=False)  # a bias would cancel in the softmax

    def forward(self, fused: Tensor, features: Tensor, sources: Tensor, prior: Tensor | None = None) -> Tensor:
        """fused (B, C, H, W), features (S*B, C, H, W) and sources (S*B, P, H, W) to (B, P, H, W)."""
        weights = self.weights(fused, features, prior)
        return (weights * sources.view_as(weights)).sum(dim=0)

    def weights(self, fused: Tensor, features: Tensor, prior: Tensor | None = None) -> Tensor:
        """Of every source and pixel, (S, B, P, H, W) float32; `prior` (S*B, P, H, W) is added to the logits."""
        count = features.shape[0] // fused.shape[0]
        hidden = self.from_source(features) + self.from_fused(fused).repeat(count, 1, 1, 1)
        logits = self.logit(F.leaky_relu(hidden, SLOPE)).float()
        if prior is not None:
            logits = logits + prior
        return logits.unflatten(0, (count, -1)).softmax(dim=0)


class PyramidHead(BlendHead):
    """Blend of Laplacian pyramids: fine detail is weighed pixel by pixel, what is coarser by smooth weights.

    With patches of 2x2 pixels the bands hold what is finer than 4 pixels, octaves up to 16 pixels, and the rest.  The
    rest is blended cell by cell or, to a share that the network chooses for each cell (`reach`), over all coarser
    octaves, which keeps the order of brightness across a picture, as exposure fusion does.  Where sources differ much
    in brightness, weights that follow every pixel would make edges that no source has.  No pixel is darker or brighter
    than in all sources: bands weighed differently cannot leave halos.

    With `exposure` every band's weights are those of exposure fusion, to a power that the network chooses for each cell
    (`trust`, 1 at first), times the network's own.
    """

    def __init__(self, channels: int, patch: int = 1, exposure: bool = False) -> None:
        super().__init__(channels, patch**2)
        self.patch = patch
        self.coarse = nn.ModuleList(BlendHead(channels, kernel=1) for _ in range(LEVELS))
        self.reach = _constant(nn.Conv2d(channels, 1, 1), -2.0)
        self.trust = _constant(nn.Conv2d(channels, 1, 1), 1.0) if exposure else None

    def forward(self, fused: Tensor, features: Tensor, sources: Tensor, *bands: Tensor) -> Tensor:
        """As in `BlendHead`; `bands` are what `coarse_bands` gives, where they are known already."""
        result, low = bands or self.coarse_bands(F.avg_pool2d(fused, 2), F.avg_pool2d(features, 2), sources)
        count = features.shape[0] // fused.shape[0]
        prior = self._prior(fused, self._exposed(sources, count))
        result = result + super().forward(fused, features, sources - low, prior)
        pixels = sources.unflatten(0, (count, -1))
        return result.clamp(pixels.amin(dim=0), pixels.amax(dim=0))

    def coarse_bands(self, fused: Tensor, features: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
        """The bands above the finest, of the result, (B, P, H, W), and of the sources, (S*B, P, H, W).

        Args:
            fused, features: means over 2x2 patches, (B, C, H/2, W/2) and (S*B, C, H/2, W/2).
            sources: (S*B, P, H, W).
        """
        exposed = self._exposed(sources, features.shape[0] // fused.shape[0])
        levels = [(fused, features, _cells(sources), _cells(exposed))]
        while len(levels) < LEVELS:
            levels.append(tuple(_halved(x) for x in levels[-1]))
        fused, features, low, exposed = levels[-1]
        weights = self.coarse[-1].weights(fused, features, self._prior(fused, exposed))
        images = low.view_as(weights)
        here = (weights * images).sum(dim=0)
        far = torch.sigmoid(self.reach(fused).float())
        result = torch.lerp(here, blend_pyramids(images, weights), far)
        for head, (fused, features, image, exposed) in zip(self.coarse[-2::-1], levels[-2::-1]):
            detail = head(fused, features, image - _enlarged(low, 2), self._prior(fused, exposed))
            result = _enlarged(result, 2) + detail
            low = image
        return self._as_patches(result), self._as_patches(low)

    def _exposed(self, sources: Tensor, count: int) -> Tensor | None:
        """Weights of exposure fusion, (S*B, P, H, W), where they are asked for."""
        if self.trust is None:
            return None
        images = F.pixel_shuffle(sources, self.patch).unflatten(0, (count, -1))
        return F.pixel_unshuffle(exposure_weights(images, _FAINT).flatten(0, 1), self.patch)

    def _prior(self, fused: Tensor, exposed: Tensor | None) -> Tensor | None:
        """What these weights add to the logits of their band."""
        if exposed is None:
            return None
        trust = self.trust(fused).float().repeat(exposed.shape[0] // fused.shape[0], 1, 1, 1)
        return trust * exposed.clamp(min=_LEAST).log()

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


def _constant(layer: nn.Conv2d, value: float) -> nn.Conv2d:
    """The layer, whose output is `value` everywhere until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return layer


def _cells(x: Tensor | None) -> Tensor | None:
    """Means over 2x2 patches of all their pixels, (N, P, H, W) to (N, 1, H/2, W/2)."""
    return x if x is None else _halved(x.mean(dim=1, keepdim=True))


def _halved(x: Tensor | None) -> Tensor | None:
    return x if x is None else F.avg_pool2d(x, 2)


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear")
