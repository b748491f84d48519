"""Fusing any number of sources with the memory of one: every source is read twice, one after the other.

The first pass (`add`) sums the wavelet bands and exposure strengths of all sources; `settle` makes the fused features
from the sum.  The second pass (`blend`) computes the logits of each source and adds its detail to a running softmax.
The result equals `AdaSFFuse.forward`, up to rounding.
"""

import math

import torch
from torch import Tensor

from adasffuse.classical.exposure import exposure_strength
from adasffuse.models.heads import FAINT, LEVELS, pooled_bands, pyramid_levels, wide
from adasffuse.models.network import AdaSFFuse, exposures, pad_to_multiple, rounded
from adasffuse.models.tiles import GRID, Tiles


class StreamedFusion:
    """Fuses the luminance of sources of one kind; call `add` with each, then `settle`, then `blend` with each again.

    Args:
        network: in evaluation mode.
        kind: kind of all sources, a name in the network's `kinds`, or '' if unknown.
        size: height and width of the images, pixels.
        tile, overlap: as in `adasffuse.models.tiles.Tiles`; 0 for no tiles.
    """

    def __init__(self, network: AdaSFFuse, kind: str, size: tuple[int, int], tile: int = 0, overlap: int = 0) -> None:
        self._network, self._size = network, size
        extended = tuple(n + -n % network.multiple for n in size)
        self._tiles = Tiles(*extended, tile, overlap, math.lcm(GRID, network.multiple))
        self._kinds = ((kind,),) if kind and network.options.kinds else ()
        has_powers = network.head is not None and network.head.exposure_power is not None
        self._weighs_exposure = has_powers and (not self._kinds or kind == "exposure")
        self._bands: list[tuple[Tensor, Tensor]] = []  # low and high band of each tile, summed over the sources
        self._strength: Tensor | None = None
        self._count = 0
        self._lowest: Tensor | None = None
        self._running: list[_RunningSoftmax] = []
        self._bases: list[Tensor] = []
        self._base_logits: list[Tensor] = []

    def add(self, source: Tensor) -> None:
        """First pass: add the bands of a source, (1, 1, H, W) in [0, 1]."""
        network, image = self._network, self._extended(source)
        for number, (rows, columns) in enumerate(self._tiles.places):
            bands = [wide(band) for band in network.split(self._embedded(image[..., rows, columns]))]
            if self._count:
                for total, band in zip(self._bands[number], bands):
                    total += band
            else:
                self._bands.append(tuple(bands))
        if self._count == 0:
            self._lowest, self._highest = image.clone(), image.clone()
        else:
            torch.minimum(self._lowest, image, out=self._lowest)
            torch.maximum(self._highest, image, out=self._highest)
        if self._weighs_exposure:
            strength = exposure_strength(image, FAINT)
            self._strength = strength if self._strength is None else self._strength.add_(strength)
        self._count += 1

    def settle(self) -> None:
        """Between the passes: compute the fused features and the maps that all sources share."""
        network, shared = self._network, []
        residual = network.has_residual(self._kinds, 1)
        exposed = exposures(self._kinds) if self._kinds else None
        self._fused = []
        for low, high in self._bands:
            low, high = (rounded(band * (2 / self._count)) for band in (low, high))
            fused = network.full_blocks(network.merge(network.low_blocks(low), network.high_blocks(high)))
            maps = (wide(network.decode(fused)),) if residual else ()
            if network.head is not None:
                if maps and self._kinds:
                    maps = (network.kinds.residual_gain(self._known(), 1) * maps[0],)
                maps += network.head.shared_maps(pooled_bands(fused), exposed)
                self._fused.append(fused)
            shared.append(maps)
        self._bands = []
        maps = self._tiles.joined(shared)
        self._residual, self._shared = (maps[0], maps[1:]) if residual else (None, maps)

    def blend(self, source: Tensor) -> None:
        """Second pass: blend in a source that was added."""
        network, image = self._network, self._extended(source)
        if network.head is None:
            return
        head = network.head
        gains = network.kinds.logit_gains(self._known()) if self._kinds else None
        logits = self._tiles.joined(
            head.logits(pooled_bands(fused), rounded(self._embedded(image[..., rows, columns])), gains)
            for fused, (rows, columns) in zip(self._fused, self._tiles.places)
        )
        patches = network.as_patches(image).unsqueeze(0)  # (1, 1, P, h, w)
        levels, exposure = pyramid_levels(patches), []
        if self._strength is not None and head.has_exposure(self._shared):
            weights = exposure_strength(image, FAINT) / self._strength
            exposure = pyramid_levels(network.as_patches(weights).unsqueeze(0))
        if not self._running:
            self._running = [_RunningSoftmax() for _ in range(LEVELS)]
        for band, running in enumerate(self._running):
            detail = head.detail_of(levels, band)
            own = logits[band].view_as(detail)
            running.add(head.band_logits(band, own, detail, self._shared, exposure), detail)
        base = levels[LEVELS]
        self._bases.append(base)
        own, night = logits[LEVELS].view_as(base), network.night_logit(self._kinds)
        self._base_logits.append(head.band_logits(LEVELS, own, base, self._shared, exposure, night))

    def result(self) -> Tensor:
        """The fused image (1, 1, H, W), not clamped; all sources have been blended."""
        network = self._network
        if network.head is None:
            return network.from_patches(self._residual, *self._size)
        head = network.head
        weights = torch.cat(self._base_logits).softmax(dim=0)
        result = head.blended_base(torch.cat(self._bases), weights, self._shared)
        for band in range(LEVELS - 1, -1, -1):
            result = head.enlarged(result, band) + self._running[band].mean()[0]
        lowest, highest = (network.as_patches(image) for image in (self._lowest, self._highest))
        result = result.clamp(lowest, highest)
        if self._residual is not None:
            difference = highest - lowest
            result = result + self._residual.clamp(-difference, difference)
        return network.from_patches(result, *self._size)

    def _extended(self, source: Tensor) -> Tensor:
        """(1, 1, H, W) as (1, 1, 1, H', W'), one source of one sample."""
        if tuple(source.shape) != (1, 1, *self._size):
            raise ValueError(f"the sources are (1, 1, {self._size[0]}, {self._size[1]}), got {tuple(source.shape)}")
        return pad_to_multiple(source, self._network.multiple).unsqueeze(0)

    def _embedded(self, image: Tensor) -> Tensor:
        """Features of a part of a source."""
        return self._network.embed_sources(self._network.as_patches(image), self._known() if self._kinds else None)

    def _known(self) -> Tensor:
        """Index of the kind, (1,)."""
        parameter = self._network.embed.weight
        return self._network.kinds.numbers(self._kinds[0], parameter.new_zeros(1, 1))


class _RunningSoftmax:
    """Mean of details weighted by the softmax of their logits, one source after the other.

    It keeps the largest logit so far, and the sums of the exponentials and of the details weighted by them, both
    relative to that logit.
    """

    def __init__(self) -> None:
        self._largest: Tensor | None = None

    def add(self, logits: Tensor, detail: Tensor) -> None:
        if self._largest is None:
            self._largest, self._total, self._sum = logits, torch.ones_like(logits), detail.clone()
            return
        largest = torch.maximum(self._largest, logits)
        before, own = (self._largest - largest).exp_(), (logits - largest).exp_()
        self._total.mul_(before).add_(own)
        self._sum.mul_(before).addcmul_(own, detail)
        self._largest = largest

    def mean(self) -> Tensor:
        return self._sum / self._total
