"""The pyramid head: weights of S sources for every band of a Laplacian pyramid, and the blend by these weights.

Bands, and shapes as in `adasffuse.models.bands`; the batch holds the sources one after the other, (S*B, ...).  A weight
map has one weight per pixel in band 0 and one per cell in the others.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.classical.exposure import exposure_weights
from adasffuse.classical.pyramid import blend_pyramids
from adasffuse.models.bands import LEVELS, detail_of, enlarged, log_contrast, pooled_bands, pyramid_levels
from adasffuse.models.precision import wide

SLOPE = 0.2  # of the LeakyReLU
FAINT = 1e-3  # added to the contrast in exposure weights, against noise
_LEAST = 1e-4  # lower bound of exposure weights before their logarithm
# Per band: how much brighter than the infrared image the blend is where dark infrared detail begins to fade, and where
# it is gone.  In luminance.
_SHADED = ((0.45, 0.6), (0.3, 0.5), (0.3, 0.5))
_COLD = (0.1, 0.25)  # infrared luminance up to which detail can fade wholly, and from which it stays: glare hides more


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


class Parts(NamedTuple):
    """What the bands of S sources are blended from, of whole images or, for the finest band, of some of their rows."""

    levels: Sequence[Tensor | None]  # of the sources' pyramid, (S, B, ...); a band needs its level and the next one
    maps: Sequence[Tensor]  # the head's weight maps
    exposure: Sequence[Tensor | None] = ()  # levels of the weights of exposure fusion; () without them
    infrared: Sequence[int | None] | None = None  # as in `unshaded`


class PyramidHead(nn.Module):
    """Blend of Laplacian pyramids: fine detail has a weight per pixel, coarser bands have smooth weights.

    With patches of 2x2 pixels the bands hold detail finer than 4 pixels, the octaves up to 16 pixels, and the base.
    Sources may differ much in brightness, where weights per cell would make edges that no source has.  So the network
    chooses for each cell of the base (`octave_share`) how much of it is blended over all coarser octaves instead, which
    keeps the order of brightness across the image, as in exposure fusion.  The result is clamped to the range of the
    sources at each pixel, so differently weighted bands leave no halos.

    With `contrast` the weights of all bands but the base are multiplied by the source's contrast in the band to a power
    that the network chooses for each cell (`contrast_power`, 2 at first).

    With `exposure` the weights of all bands are multiplied by those of exposure fusion to a power that the network
    chooses for each cell (`exposure_power`, 1 at first).

    The weight maps are the logits of each band, then the maps that all sources share: the powers of contrast (all bands
    but the base) and of exposure (all bands), where the head has them, and the octave share.  The maps of tiles can be
    joined, so that an image of any size is composed as a whole.
    """

    def __init__(self, channels: int, patch: int = 1, exposure: bool = False, contrast: bool = False) -> None:
        super().__init__()
        self.patch = patch
        self.blend_octaves = blend_pyramids  # export replaces it by a form for any size
        self.detail = BandHead(channels, patch**2)
        self.coarse = nn.ModuleList(BandHead(channels, kernel=1) for _ in range(LEVELS))
        self.octave_share = _constant(nn.Conv2d(channels, 1, 1), -2.0)
        self.exposure_power = _constant(nn.Conv2d(channels, 1, 1), 1.0) if exposure else None
        self.contrast_power = _constant(nn.Conv2d(channels, 1, 1), 2.0) if contrast else None

    def start_as_exposure_fusion(self) -> None:
        """Set parameters so that the weights are those of exposure fusion alone, blended over all octaves."""
        for head in (self.detail, *self.coarse):
            nn.init.zeros_(head.logit.weight)
        _constant(self.octave_share, 3.0)
        _constant(self.exposure_power, 1.0)

    def weight_maps(
        self, fused: Tensor, features: Tensor, gains: Tensor | None = None, exposed: Sequence[bool] | None = None
    ) -> tuple[Tensor, ...]:
        """The weight maps, fine before coarse, from fused features (B, C, H, W) and embeddings (S*B, C, H, W).

        Args:
            gains: factors of the logits, (S*B, bands, 1, 1, 1).
            exposed: whether exposure weights apply to each sample, or one value for all; None: they apply.
        """
        pooled = pooled_bands(fused)
        return self.logits(pooled, features, gains) + self.shared_maps(pooled, exposed)

    def logits(self, fused: Sequence[Tensor], features: Tensor, gains: Tensor | None = None) -> tuple[Tensor, ...]:
        """The maps of each source, from `pooled_bands` of the fused features; arguments as in `weight_maps`."""
        bands = zip((self.detail, *self.coarse), fused, pooled_bands(features))
        logits = tuple(head(shared, own) for head, shared, own in bands)
        return logits if gains is None else tuple(gains[:, band] * own for band, own in enumerate(logits))

    def shared_maps(self, fused: Sequence[Tensor], exposed: Sequence[bool] | None = None) -> tuple[Tensor, ...]:
        """The maps that all sources share: powers of contrast and of exposure, then the octave share."""
        contrast, exposure = (), ()
        if self.contrast_power is not None:
            contrast = tuple(wide(self.contrast_power(band)) for band in fused[:LEVELS])
        if self.exposure_power is not None and (exposed is None or any(exposed) or self.training):
            exposure = tuple(wide(self.exposure_power(band)) for band in fused)
            if exposed is not None:
                exposure = tuple(p * p.new_tensor(exposed)[:, None, None, None] for p in exposure)
        return (*contrast, *exposure, wide(self.octave_share(fused[-1])))

    def compose(
        self,
        sources: Tensor,
        maps: Sequence[Tensor],
        residual: Tensor | None = None,
        base_logit: Callable[[Tensor], Tensor] | None = None,
        infrared: Sequence[int | None] | None = None,
    ) -> Tensor:
        """The fused image (B, P, H, W) of sources (S, B, P, H, W) by their weight maps.

        Args:
            residual: as in `finest_blend`.
            base_logit: as in `band_logits`.
            infrared: as in `unshaded`.
        """
        exposure = self.exposure_bands(sources) if self.has_exposure(maps) else ()
        parts = Parts(pyramid_levels(sources), maps, exposure, infrared)
        return self.finest_blend(self.coarse_blend(parts, base_logit), parts, residual)

    def coarse_blend(self, parts: Parts, base_logit: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The blend (B, 1, H/2, W/2) of all bands but the finest; base_logit: as in `band_logits`."""
        base = parts.levels[LEVELS]
        weights = _softmax(self.band_logits(LEVELS, base, parts, base_logit))
        result = self.blended_base(base, torch.stack(tuple(weights)), parts.maps)
        for band in range(LEVELS - 1, 0, -1):
            result = self._finer(band, result, parts)
        return result

    def finest_blend(self, coarse: Tensor, parts: Parts, residual: Tensor | None) -> Tensor:
        """The fused image (B, P, H, W), or some of its rows, from `coarse_blend` and the decoder's image, if any."""
        sources = parts.levels[0]
        lowest, highest = functools.reduce(torch.minimum, sources), functools.reduce(torch.maximum, sources)
        return limited(self._finer(0, coarse, parts), residual, lowest, highest)

    def _finer(self, band: int, coarser: Tensor, parts: Parts) -> Tensor:
        """The blend of all coarser bands, (B, 1, h/2, w/2), enlarged, plus one band, (B, P, h, w) or (B, 1, h, w)."""
        detail, result = detail_of(parts.levels, band, self.patch), enlarged(coarser, band, self.patch)
        weights = _softmax(self.band_logits(band, detail, parts))
        weights = unshaded(band, weights, detail, parts.levels[band], result, parts.infrared)
        for weight, own in zip(weights, detail):
            result = torch.addcmul(result, weight, own)
        return result

    def has_exposure(self, maps: Sequence[Tensor]) -> bool:
        """Whether the weight maps hold powers of exposure."""
        return len(maps) > self._exposure_from + 1

    def band_logits(
        self, band: int, detail: Tensor, parts: Parts, base_logit: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Logits of the weights of one band: the network's own, plus the logarithms of contrast and exposure terms.

        Args:
            band: 0 (finest) to LEVELS (base).
            detail: the band of the sources, (S, B, P, H, W), or (S, B, 1, h, w) from band 1 on.
            base_logit: returns what is added to the logits of the base, given the base of whole images.
        """
        total = parts.maps[band].view_as(detail)
        if base_logit is not None:
            total = total + base_logit(detail)
        if self.contrast_power is not None and band < LEVELS:
            total = total + parts.maps[LEVELS + 1 + band] * log_contrast(detail, self.patch)
        if parts.exposure:
            total = total + parts.maps[self._exposure_from + band] * parts.exposure[band].clamp(min=_LEAST).log()
        return total

    def blended_base(self, base: Tensor, weights: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """The base (B, 1, h, w) of sources (S, B, 1, h, w), blended per cell and, to a share, over octaves."""
        return torch.lerp((weights * base).sum(dim=0), self.blend_octaves(base, weights), torch.sigmoid(maps[-1]))

    def exposure_bands(self, sources: Tensor) -> list[Tensor]:
        """Weights of exposure fusion of sources (S, B, P, H, W), in every band."""
        weights = exposure_weights(F.pixel_shuffle(sources, self.patch), FAINT)
        return pyramid_levels(F.pixel_unshuffle(weights, self.patch))

    @property
    def _exposure_from(self) -> int:
        """Number of the first weight map after the logits and the powers of contrast."""
        return LEVELS + 1 + (LEVELS if self.contrast_power is not None else 0)


def unshaded(
    band: int,
    weights: Sequence[Tensor],
    detail: Tensor,
    level: Tensor,
    coarser: Tensor,
    infrared: Sequence[int | None] | None,
) -> Sequence[Tensor]:
    """Weights of two sources, the infrared one's reduced where its cold detail would darken a much brighter blend.

    A cold sky is darker than its mean with a warm building, so bands of infrared detail would darken the sky around the
    building, like smoke, where the visible image gives its brightness.

    Args:
        band: 0 (finest) to LEVELS - 1.
        weights: of both sources, each (B, P, H, W), of sum 1.
        detail, level: the band, and the level of the pyramid that it belongs to, of the sources, (2, B, P, H, W).
        coarser: the blend of all coarser bands, (B, P, H, W).
        infrared: number of the infrared source of each sample, None if neither or both are, or one value for all
            samples; None in place of the list: all detail counts.
    """
    if infrared is None:
        return weights
    if len(set(infrared)) > 1:
        parts = []
        for k, number in enumerate(infrared):
            one = slice(k, k + 1)
            own = [weight[one] for weight in weights]
            parts.append(unshaded(band, own, detail[:, one], level[:, one], coarser[one], [number]))
        return tuple(torch.cat(samples) for samples in zip(*parts))
    number = infrared[0]
    if number is None:
        return weights
    first, last = _SHADED[band]
    near = (last - coarser + level[number]) / (last - first)
    warm = (level[number] - _COLD[0]) / (_COLD[1] - _COLD[0])
    kept = torch.maximum(near, warm).clamp(0, 1)
    weight = torch.where(detail[number] < 0, weights[number] * kept, weights[number])
    return (weight, 1 - weight) if number == 0 else (1 - weight, weight)


def limited(blend: Tensor, residual: Tensor | None, lowest: Tensor, highest: Tensor) -> Tensor:
    """The blend clamped to the range of the sources, plus the residual, clamped to their difference; all (B, P, H, W).

    Args:
        residual: None for none.
        lowest, highest: the least and the largest of the sources at each pixel.
    """
    blend = blend.clamp(lowest, highest)
    return blend if residual is None else blend + residual.clamp(lowest - highest, highest - lowest)


def _softmax(logits: Tensor) -> Sequence[Tensor]:
    """Weights of the sources from logits (S, ...); for two of them a sigmoid takes a third of softmax's time."""
    if len(logits) != 2:
        return logits.softmax(dim=0).unbind(0)
    first = torch.sigmoid(logits[0] - logits[1])
    return first, 1 - first


def _constant(layer: nn.Conv2d, value: float) -> nn.Conv2d:
    """Initialise a layer so that its output is `value` everywhere; returns the layer."""
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return layer
