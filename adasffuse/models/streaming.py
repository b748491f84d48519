"""Fusing any number of sources with the memory of one: every source is read twice, one after the other.

The first pass (`add`) sums the wavelet bands and exposure strengths of all sources; `settle` makes the fused features
from the sum.  The second pass (`blend`) computes the logits of each source and adds its detail to a running softmax,
the finest band some rows at a time.  The result equals `AdaSFFuse.forward`, up to rounding.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.classical.exposure import exposure_strength
from adasffuse.models.bands import LEVELS, detail_of, enlarged, halvings, pooled_bands
from adasffuse.models.heads import FAINT, Parts, limited
from adasffuse.models.kinds import are_exposures
from adasffuse.models.network import AdaSFFuse, pad_to_multiple
from adasffuse.models.precision import rounded, wide
from adasffuse.models.tiles import BAND, GRID, Tiles, divided, inside, row_bands, rows_of, with_rim


class StreamedFusion:
    """Fuses the luminance of sources of one kind; call `add` with each, then `settle`, then `blend` with each again.

    Args:
        network: in evaluation mode.
        kind: kind of all sources, a name in the network's `kinds`, or '' if unknown.
        size: height and width of the images, pixels.
        tile, overlap: as in `adasffuse.models.tiles.Tiles`; 0 for no tiles.
        band: pixels whose finest band is worked on at a time.
    """

    def __init__(
        self,
        network: AdaSFFuse,
        kind: str,
        size: tuple[int, int],
        tile: int = 0,
        overlap: int = 0,
        band: int = BAND,
    ) -> None:
        self._network, self._size, self._patch = network, size, network.options.patch
        self._height, self._width = (n + -n % network.multiple for n in size)
        self._tiles = Tiles(self._height, self._width, tile, overlap, math.lcm(GRID, network.multiple))
        self._rows = row_bands(self._height, self._width, network.multiple, band)
        self._kinds = ((kind,),) if kind and network.options.kinds else ()
        has_powers = network.head is not None and network.head.exposure_power is not None
        self._weighs_exposure = has_powers and (not self._kinds or kind == "exposure")
        self._bands: list[tuple[Tensor, Tensor]] = []  # low and high band of each tile, summed over the sources
        self._strength: Tensor | None = None
        self._count = 0
        self._lowest: Tensor | None = None
        self._running: list[_RunningSoftmax] = []  # of each band but the base, the finest first
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
            self._strength = torch.zeros_like(image) if self._weighs_exposure else None
        else:
            torch.minimum(self._lowest, image, out=self._lowest)
            torch.maximum(self._highest, image, out=self._highest)
        if self._strength is not None:
            for rows in self._rows:
                self._strength[..., rows, :] += self._strength_of(image, rows)
        self._count += 1

    def settle(self) -> None:
        """Between the passes: compute the fused features and the maps that all sources share."""
        network, shared = self._network, []
        residual = network.has_residual(self._kinds, 1)
        exposed = are_exposures(self._kinds) if self._kinds else None
        self._fused = []
        for low, high in self._bands:
            low, high = (rounded((band * (2 / self._count)).to(network.embed.weight.dtype)) for band in (low, high))
            fused = network.full_blocks(network.merge(network.low_blocks(low), network.high_blocks(high)))
            maps = (wide(network.decode(fused)),) if residual else ()
            if network.head is not None:
                if maps and self._kinds:
                    maps = (network.kinds.residual_gain(self._kind_index(), 1) * maps[0],)
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
        gains = network.kinds.logit_gains(self._kind_index()) if self._kinds else None
        logits = self._tiles.joined(
            network.head.logits(pooled_bands(fused), rounded(self._embedded(image[..., rows, columns])), gains)
            for fused, (rows, columns) in zip(self._fused, self._tiles.places)
        )
        exposure = self._exposure_of(image)
        exposed = () if exposure is None else self._coarse(exposure)
        parts = Parts(self._coarse(image), [*logits, *self._shared], exposed)
        self._blend_coarse(parts)
        self._blend_finest(image, parts, exposure)

    def _blend_coarse(self, parts: Parts) -> None:
        """Add bands 1 .. LEVELS - 1 of a source to the running softmax, and keep its base for `result`."""
        head, levels = self._network.head, parts.levels
        if not self._running:
            finest = torch.Size((1, 1, self._patch**2, *parts.maps[0].shape[-2:]))
            sizes = (finest, *(one.shape for one in levels[1:LEVELS]))
            self._running = [_RunningSoftmax(levels[1], size) for size in sizes]
        for band in range(1, LEVELS):
            detail = detail_of(levels, band, self._patch)
            self._running[band].add(head.band_logits(band, detail, parts), detail)
        base = levels[LEVELS]
        self._bases.append(base)
        self._base_logits.append(head.band_logits(LEVELS, base, parts))

    def _blend_finest(self, image: Tensor, parts: Parts, exposure: Tensor | None) -> None:
        """Add band 0 of a source (1, 1, 1, H', W') to the running softmax, some rows at a time."""
        for rows in self._rows:
            around = with_rim(rows, self._network.multiple, self._height)
            levels = [self._patches(image, around), parts.levels[1][..., self._cells(around), :]]
            maps = rows_of(parts.maps, self._tokens(around), self._height // self._patch)
            exposed = () if exposure is None else [self._patches(exposure, around)]
            detail = detail_of(levels, 0, self._patch)
            logits = self._network.head.band_logits(0, detail, Parts(levels, maps, exposed))
            inner = self._tokens(inside(rows, around))
            self._running[0].add(logits[..., inner, :], detail[..., inner, :], self._tokens(rows))

    def result(self) -> Tensor:
        """The fused image (1, 1, H, W), not clamped; all sources have been blended."""
        network = self._network
        if network.head is None:
            return network.from_patches(self._residual, *self._size)
        head = network.head
        bases, logits = torch.cat(self._bases), torch.cat(self._base_logits)
        base_logit = network.base_logit(self._kinds * len(bases))
        weights = (logits if base_logit is None else logits + base_logit(bases)).softmax(dim=0)
        coarse = head.blended_base(bases, weights, self._shared)
        for band in range(LEVELS - 1, 0, -1):
            coarse = enlarged(coarse, band, self._patch) + self._running[band].mean()[0]
        fused = self._lowest.new_empty(1, 1, *self._size)
        for rows in self._rows:
            around = with_rim(rows, network.multiple, self._height)
            coarser = enlarged(coarse[..., self._cells(around), :], 0, self._patch)
            tokens = self._tokens(rows)
            band = coarser[..., self._tokens(inside(rows, around)), :] + self._running[0].mean(tokens)[0]
            residual = None if self._residual is None else self._residual[..., tokens, :]
            band = limited(band, residual, *(self._patches(image, rows)[0] for image in (self._lowest, self._highest)))
            end = min(rows.stop, self._size[0])
            fused[..., rows.start : end, :] = network.from_patches(band, end - rows.start, self._size[1])
        return fused

    def _exposure_of(self, image: Tensor) -> Tensor | None:
        """Weights of exposure fusion of an extended source, (1, 1, 1, H', W'); None if they do not count."""
        if self._strength is None:
            return None
        weights = torch.empty_like(image)
        for rows in self._rows:
            weights[..., rows, :] = self._strength_of(image, rows) / self._strength[..., rows, :]
        return weights

    def _strength_of(self, image: Tensor, rows: slice) -> Tensor:
        """Strength of exposure fusion in some rows of an extended source."""
        around = with_rim(rows, self._network.multiple, self._height)
        strength = exposure_strength(image[..., around, :], FAINT)
        return strength[..., inside(rows, around), :]

    def _coarse(self, image: Tensor) -> list[Tensor | None]:
        """Levels 1 .. LEVELS of the pyramid of an extended image (1, 1, 1, H', W'), each (1, 1, 1, h, w)."""
        return [None, *halvings(F.avg_pool2d(image[0], 2 * self._patch).unsqueeze(0))]

    def _patches(self, image: Tensor, rows: slice) -> Tensor:
        """Some rows of an extended image as patches, (1, 1, P, h, w)."""
        return self._network.as_patches(image[..., rows, :]).unsqueeze(0)

    def _tokens(self, rows: slice) -> slice:
        """Rows of patches."""
        return divided(rows, self._patch)

    def _cells(self, rows: slice) -> slice:
        """Rows of the first coarse level, of 2x2 patches a cell."""
        return divided(rows, 2 * self._patch)

    def _extended(self, source: Tensor) -> Tensor:
        """(1, 1, H, W) as (1, 1, 1, H', W'), one source of one sample, at least float32."""
        if tuple(source.shape) != (1, 1, *self._size):
            raise ValueError(f"the sources are (1, 1, {self._size[0]}, {self._size[1]}), got {tuple(source.shape)}")
        pixels = source.to(torch.promote_types(self._network.embed.weight.dtype, torch.float32))
        return pad_to_multiple(pixels, self._network.multiple).unsqueeze(0)

    def _embedded(self, image: Tensor) -> Tensor:
        """Features of a part of a source."""
        return self._network.embed_sources(self._network.as_patches(image), self._kind_index() if self._kinds else None)

    def _kind_index(self) -> Tensor:
        """Index of the kind, (1,)."""
        parameter = self._network.embed.weight
        return self._network.kinds.indices(self._kinds[0], parameter.new_zeros(1, 1))


class _RunningSoftmax:
    """Mean of details weighted by the softmax of their logits, one source after the other.

    It keeps the largest logit so far, and the sums of the exponentials and of the details weighted by them, both
    relative to that logit.

    Args:
        like: gives device and type.
        size: shape of logits and details; the last axis but one holds the rows.
    """

    def __init__(self, like: Tensor, size: torch.Size) -> None:
        self._largest = like.new_full(size, -math.inf)
        self._total, self._sum = like.new_zeros(size), like.new_zeros(size)

    def add(self, logits: Tensor, detail: Tensor, rows: slice = slice(None)) -> None:
        largest, total, sums = (one[..., rows, :] for one in (self._largest, self._total, self._sum))
        before = largest.clone()
        torch.maximum(before, logits, out=largest)
        own = (logits - largest).exp_()
        before.sub_(largest).exp_()  # 0 of the first source
        total.mul_(before).add_(own)
        sums.mul_(before).addcmul_(own, detail)

    def mean(self, rows: slice = slice(None)) -> Tensor:
        return self._sum[..., rows, :] / self._total[..., rows, :]
