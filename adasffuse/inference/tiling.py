"""Fusing images of any size: the network looks at overlapping tiles, the image is composed as a whole.

Tiles are bands as wide as the image wherever memory allows: the scan reads the image row by row, so a band sees
what the whole image shows it, while a cut across the rows changes the context of every pixel.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor

from adasffuse.models.network import AdaSFFuse, Kinds, pad_to_multiple

GRID = 16  # tiles start at multiples of this, so that wavelet and pooling cells fall as in the whole image


def fuse_tiled(network: AdaSFFuse, sources: Tensor, tile: int, overlap: int, kinds: Kinds = ()) -> Tensor:
    """The network's image (1, 1, H, W) of S sources (S, 1, 1, H, W), its weight maps made tile by tile.

    Brightness over the whole image, which multi-exposure and the coarse octaves need, is therefore no tile's guess.

    Args:
        tile, overlap: as in `tiled_maps`.
        kinds: of the sources, see `AdaSFFuse.forward`.
    Raises:
        ValueError: tile or overlap is impossible.
    """
    height, width = sources.shape[-2:]
    extended = pad_to_multiple(sources.flatten(0, 1), network.multiple).unflatten(0, sources.shape[:2])
    grid = math.lcm(GRID, network.multiple)  # GRID but for patches of more than 2x2 pixels
    tile, overlap = tile // grid * grid, -(-overlap // grid) * grid
    maps = tiled_maps(partial(network.weight_maps, kinds=kinds), extended, tile, overlap, grid)
    return network.compose(extended, maps)[..., :height, :width]


def tiled_maps(
    weight_maps: Callable[[Tensor], tuple[Tensor, ...]], sources: Tensor, tile: int, overlap: int, grid: int = GRID
) -> tuple[Tensor, ...]:
    """`weight_maps(sources)` tile by tile; neighbours cross-fade over `overlap` pixels.

    Args:
        weight_maps: makes maps (N, C, h, w) of sources, each reduced by a divisor of `grid`.
        sources: (S, 1, 1, H, W); these divisors divide H and W.
        tile: a tile has at most tile x tile pixels; a multiple of `grid`, larger than `overlap`.
        overlap: pixels that neighbouring tiles share, a multiple of `grid`.
        grid: tiles start at multiples of this.
    Raises:
        ValueError: tile or overlap is impossible.
    """
    if overlap < 0 or overlap % grid or tile % grid or tile <= overlap:
        raise ValueError(
            f"tile and overlap must be multiples of {grid} with tile > overlap >= 0, got tile {tile}, overlap {overlap}"
        )
    height, width = sources.shape[-2:]
    high, wide = tile_shape(height, width, tile, overlap, grid)
    tiles = product(_fading(height, high, overlap, grid, sources), _fading(width, wide, overlap, grid, sources))
    whole: list[Tensor] = []
    for (rows, row_shares), (columns, column_shares) in tiles:
        maps = weight_maps(sources[..., rows, columns])
        scales = [(rows.stop - rows.start) // m.shape[-2] for m in maps]
        if not whole:
            whole = [sources.new_zeros(*m.shape[:2], height // k, width // k) for m, k in zip(maps, scales)]
        for total, m, k in zip(whole, maps, scales):
            shares = _means(row_shares, k)[:, None] * _means(column_shares, k)
            total[..., _divided(rows, k), _divided(columns, k)] += shares * m
    return tuple(whole)


def _fading(length: int, tile: int, overlap: int, grid: int, like: Tensor) -> list[tuple[slice, Tensor]]:
    """Tiles along one side, and each pixel's share of them: cross-fading, together 1."""
    tiles = [slice(start, end) for start, end in spans(length, tile, overlap, grid)]
    ramps = [_ramp(t.start, t.stop, length, overlap, like) for t in tiles]
    total = like.new_zeros(length)
    for t, ramp in zip(tiles, ramps):
        total[t] += ramp
    return [(t, ramp / total[t]) for t, ramp in zip(tiles, ramps)]


def _means(x: Tensor, size: int) -> Tensor:
    return x.unflatten(0, (-1, size)).mean(dim=1)


def _divided(pixels: slice, size: int) -> slice:
    return slice(pixels.start // size, pixels.stop // size)


def tile_shape(height: int, width: int, tile: int, overlap: int, grid: int = GRID) -> tuple[int, int]:
    """Rows and columns of tiles: the whole image, bands of its full width, or squares where bands are too thin."""
    if height * width <= tile * tile:
        return height, width
    rows = tile * tile // width // grid * grid
    least = max(overlap + grid, 1.5 * overlap)  # thinner bands would mostly overlap
    return (rows, width) if rows >= least else (tile, tile)


def spans(length: int, tile: int, overlap: int, grid: int = GRID) -> list[tuple[int, int]]:
    """Start and end of the tiles along one side; the last is moved back so that it is not a sliver."""
    if length <= tile:
        return [(0, length)]
    last = -(-(length - tile) // grid) * grid  # the last tile may be up to grid - 1 pixels shorter
    count = -(-last // (tile - overlap))
    starts = [min(k * (tile - overlap), last) for k in range(count + 1)]
    return [(start, min(start + tile, length)) for start in starts]


def _ramp(start: int, end: int, length: int, overlap: int, like: Tensor) -> Tensor:
    """Weights along a tile's side: raised cosine over the overlap, except at the image's border."""
    position = torch.arange(end - start, dtype=like.dtype, device=like.device) + 0.5
    weight = torch.ones_like(position)
    fade = max(overlap, 1)
    for distance, inner in ((position, start > 0), (end - start - position, end < length)):
        if inner:
            weight = weight * torch.sin(0.5 * torch.pi * (distance / fade).clamp(max=1)).square()
    return weight
