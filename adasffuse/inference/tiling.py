"""Fusing images of any size: the network looks at overlapping tiles, the image is composed as a whole."""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor

from adasffuse.models.network import AdaSFFuse, Kinds, pad_to_multiple
from adasffuse.models.tiles import GRID, Tiles


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
    tile, overlap, grid = on_grid(network, tile, overlap)
    maps = tiled_maps(partial(network.weight_maps, kinds=kinds), extended, tile, overlap, grid)
    return network.compose(extended, maps)[..., :height, :width]


def on_grid(network: AdaSFFuse, tile: int, overlap: int) -> tuple[int, int, int]:
    """Tile and overlap as multiples of the network's grid, and that grid."""
    grid = math.lcm(GRID, network.multiple)  # GRID but for patches of more than 2x2 pixels
    return tile // grid * grid, -(-overlap // grid) * grid, grid


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
    tiles = Tiles(*sources.shape[-2:], tile, overlap, grid)
    return tiles.joined(weight_maps(sources[..., rows, columns]) for rows, columns in tiles.places)
