"""Tiles that cover an image and are cross-faded where they overlap.

Where memory allows, tiles are bands as wide as the image: the scan reads row by row, so cutting across the rows would
change the context of every pixel.
"""

from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor

from adasffuse.models.precision import wide

GRID = 16  # tiles start at multiples of this, so that wavelet and pooling cells fall as in the whole image
BAND = 1 << 19  # pixels that are composed at a time


class Tiles:
    """Positions of the tiles of an image (`places`), and their joining.

    Args:
        height, width: size of the image in pixels.
        tile: a tile has at most tile x tile pixels; a multiple of `grid`, larger than `overlap`; 0: one tile.
        overlap: pixels that neighbouring tiles share, a multiple of `grid`.
        grid: tiles start at multiples of this.
    """

    def __init__(self, height: int, width: int, tile: int, overlap: int, grid: int = GRID) -> None:
        self._size = height, width
        high, wide = tile_shape(height, width, tile, overlap, grid) if tile else (height, width)
        rows, columns = _fading(height, high, overlap, grid), _fading(width, wide, overlap, grid)
        self._shares = [(row_share, column_share) for (_, row_share), (_, column_share) in product(rows, columns)]
        self.places = [(row, column) for (row, _), (column, _) in product(rows, columns)]

    def joined(self, tiles: Iterable[Sequence[Tensor]], compact: torch.dtype | None = None) -> tuple[Tensor, ...]:
        """Maps of the whole image from the maps of its tiles.

        Args:
            tiles: maps (N, C, h, w) of each tile in the order of `places`, reduced by divisors of the grid; consumed
                one by one.
            compact: type of the finest maps in the result; None: unchanged.
        """
        height, width = self._size
        whole: list[Tensor] = []
        for maps, (rows, columns), (row_shares, column_shares) in zip(tiles, self.places, self._shares):
            scales = [(rows.stop - rows.start) // m.shape[-2] for m in maps]
            if len(self.places) == 1:
                return tuple(maps)
            if not whole:
                whole = [
                    m.new_zeros(*m.shape[:2], height // k, width // k, dtype=compact if k == min(scales) else None)
                    for m, k in zip(maps, scales)
                ]
            for total, m, k in zip(whole, maps, scales):
                shares = _means(row_shares.to(m), k)[:, None] * _means(column_shares.to(m), k)
                total[..., divided(rows, k), divided(columns, k)] += shares * m
            del maps, m  # they are large, and the next tile is made before they would be replaced
        return tuple(whole)


def row_bands(height: int, width: int, multiple: int, pixels: int = BAND) -> list[slice]:
    """The rows of an image in bands of about so many pixels, each of a multiple of rows but for the last."""
    step = max(1, pixels // (width * multiple)) * multiple
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


def with_rim(rows: slice, rim: int, height: int) -> slice:
    """Some rows and up to `rim` more on both sides, inside the image."""
    return slice(max(0, rows.start - rim), min(height, rows.stop + rim))


def inside(rows: slice, around: slice) -> slice:
    """Where some rows lie among others, such as those of `with_rim`."""
    return slice(rows.start - around.start, rows.stop - around.start)


def rows_of(maps: Sequence[Tensor], rows: slice, height: int) -> list[Tensor]:
    """Weight maps, the finest of them, which are `height` patches high, cut to some rows and at least float32."""
    return [wide(one[..., rows, :]) if one.shape[-2] == height else one for one in maps]


def _fading(length: int, tile: int, overlap: int, grid: int) -> list[tuple[slice, Tensor]]:
    """Tiles along one side, each with the weights of its pixels; overlapping weights add up to 1."""
    tiles = [slice(start, end) for start, end in spans(length, tile, overlap, grid)]
    ramps = [_ramp(t.start, t.stop, length, overlap) for t in tiles]
    total = torch.zeros(length)
    for t, ramp in zip(tiles, ramps):
        total[t] += ramp
    return [(t, ramp / total[t]) for t, ramp in zip(tiles, ramps)]


def _means(x: Tensor, size: int) -> Tensor:
    """Means over groups of `size` successive values, (n * size,) to (n,)."""
    return x.unflatten(0, (-1, size)).mean(dim=1)


def divided(pixels: slice, size: int) -> slice:
    """The rows or columns, size times as coarse, that some rows or columns of pixels fall into."""
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


def _ramp(start: int, end: int, length: int, overlap: int) -> Tensor:
    """Weights along a tile's side: raised cosine over the overlap, except at the image's border."""
    position = torch.arange(end - start, dtype=torch.float32) + 0.5
    weight = torch.ones_like(position)
    fade = max(overlap, 1)
    for distance, inner in ((position, start > 0), (end - start - position, end < length)):
        if inner:
            weight = weight * torch.sin(0.5 * torch.pi * (distance / fade).clamp(max=1)).square()
    return weight
