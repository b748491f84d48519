"""Heads that weigh the sources: one softmax over the sources per pixel, or one per pixel and band of a pyramid.

S sources lie one after the other in the batch, (S*B, ...); P planes are the pixels of a patch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.pyramid import blend_pyramids

LEVELS = 3  # of the pyramid above its finest band; height and width in patches are multiples of 2 ** LEVELS
SLOPE = 0.2  # of the LeakyReLU


class BlendHead(nn.Module):
    """Weighted mean of the sources: one logit per source and pixel from (fused features, its embedding), softmax."""

    def __init__(self, channels: int, planes: int = 1, kernel: int = 3) -> None:
        super().__init__()
        hidden = channels // 2
        self.from_fused = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2)
        self.from_source = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2, bias=False)
        self.logit = nn.Conv2d(hidden, planes, 3, padding=1, bias=False)  # a bias would cancel in the softmax

    def forward(self, fused: Tensor, features: Tensor, sources: Tensor) -> Tensor:
        """fused (B, C, H, W), features (S*B, C, H, W) and sources (S*B, P, H, W) to (B, P, H, W)."""
        weights = self.weights(fused, features)
        return (weights * sources.view_as(weights)).sum(dim=0)

    def weights(self, fused: Tensor, features: Tensor) -> Tensor:
        """Of every source and pixel, (S, B, P, H, W) float32."""
        count = features.shape[0] // fused.shape[0]
        hidden = self.from_source(features) + self.from_fused(fused).repeat(count, 1, 1, 1)
        logits = self.logit(F.leaky_relu(hidden, SLOPE))
        return logits.float().unflatten(0, (count, -1)).softmax(dim=0)


class PyramidHead(BlendHead):
    """Blend of Laplacian pyramids: fine detail is weighed pixel by pixel, what is coarser by smooth weights.

    With patches of 2x2 pixels the bands hold what is finer than 4 pixels, octaves up to 16 pixels, and the rest.  The
    rest is blended cell by cell or, to a share that the network chooses for each cell (`reach`), over all coarser
    octaves, which keeps the order of brightness across a picture, as exposure fusion does.  Where sources differ much
    in brightness, weights that follow every pixel would make edges that no source has.  No pixel is darker or brighter
    than in all sources: bands weighed differently cannot leave halos.
    """

    def __init__(self, channels: int, patch: int = 1) -> None:
        super().__init__(channels, patch**2)
        self.patch = patch
        self.coarse = nn.ModuleList(BlendHead(channels, kernel=1) for _ in range(LEVELS))
        self.reach = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(self.reach.weight)
        nn.init.constant_(self.reach.bias, -2.0)

    def forward(self, fused: Tensor, features: Tensor, sources: Tensor, *bands: Tensor) -> Tensor:
        """As in `BlendHead`; `bands` are what `coarse_bands` gives, where they are known already."""
        result, low = bands or self.coarse_bands(F.avg_pool2d(fused, 2), F.avg_pool2d(features, 2), sources)
        result = result + super().forward(fused, features, sources - low)
        pixels = sources.unflatten(0, (features.shape[0] // fused.shape[0], -1))
        return result.clamp(pixels.amin(dim=0), pixels.amax(dim=0))

    def coarse_bands(self, fused: Tensor, features: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
        """The bands above the finest, of the result, (B, P, H, W), and of the sources, (S*B, P, H, W).

        Args:
            fused, features: means over 2x2 patches, (B, C, H/2, W/2) and (S*B, C, H/2, W/2).
            sources: (S*B, P, H, W).
        """
        levels = [(fused, features, F.avg_pool2d(sources.mean(dim=1, keepdim=True), 2))]
        while len(levels) < LEVELS:
            levels.append(tuple(F.avg_pool2d(t, 2) for t in levels[-1]))
        fused, features, low = levels[-1]
        weights = self.coarse[-1].weights(fused, features)
        images = low.view_as(weights)
        here = (weights * images).sum(dim=0)
        far = torch.sigmoid(self.reach(fused).float())
        result = torch.lerp(here, blend_pyramids(images, weights), far)
        for head, (fused, features, image) in zip(self.coarse[-2::-1], levels[-2::-1]):
            result = _enlarged(result, 2) + head(fused, features, image - _enlarged(low, 2))
            low = image
        return self._as_patches(result), self._as_patches(low)

    def start_as_blend(self) -> None:
        """Give every band the finest one's weights, the mean of its pixels': what a `BlendHead` does, nearly."""
        for head in self.coarse:
            head.from_fused.bias.data.copy_(self.from_fused.bias)
            for own, fine in ((head.from_fused, self.from_fused), (head.from_source, self.from_source)):
                own.weight.data.copy_(fine.weight.sum(dim=(2, 3), keepdim=True))  # features of cells vary little
            head.logit.weight.data.copy_(self.logit.weight.mean(dim=0, keepdim=True))

    def _as_patches(self, cells: Tensor) -> Tensor:
        return F.pixel_unshuffle(_enlarged(cells, 2 * self.patch), self.patch)


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear")
