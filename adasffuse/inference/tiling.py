"""Fusing pictures of any size in overlapping tiles that blend smoothly.  Shapes: (1, 1, H, W) float.

Tiles are bands as wide as the picture wherever memory allows: the scan reads the picture row by row, so a band sees
what the whole picture shows it, while a cut across the rows changes the context of every pixel.
"""

import math
from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

_EVENED = 16  # reduced pixels over which a tile's brightness is compared with the whole picture's
GRID = 16  # tiles start at multiples of this, so that wavelet and pooling cells fall as in the whole picture


def fuse_tiled(
    fuse: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, tile: int, overlap: int, even: bool = False
) -> Tensor:
    """`fuse(a, b)` of a picture, tile by tile; neighbours cross-fade over `overlap` pixels.

    Args:
        fuse: maps two (1, 1, h, w) to one.
        a, b: the sources, (1, 1, H, W).
        tile: a tile has at most tile x tile pixels; a multiple of 16, larger than `overlap`.
        overlap: pixels that neighbouring tiles share, a multiple of 16.
        even: give the tiles the brightness of the whole picture, see `even_out`.
    Raises:
        ValueError: tile or overlap is impossible.
    """
    if overlap < 0 or overlap % GRID or tile % GRID or tile <= overlap:
        raise ValueError(
            f"tile and overlap must be multiples of {GRID} with tile > overlap >= 0, got tile {tile}, overlap {overlap}"
        )
    height, width = a.shape[-2:]
    rows, columns = tile_shape(height, width, tile, overlap)
    result, weight = torch.zeros_like(a), torch.zeros_like(a)
    for (top, bottom), (left, right) in product(spans(height, rows, overlap), spans(width, columns, overlap)):
        window = (..., slice(top, bottom), slice(left, right))
        ramp = _ramp(top, bottom, height, overlap, a)[:, None] * _ramp(left, right, width, overlap, a)
        result[window] += ramp * fuse(a[window], b[window])
        weight[window] += ramp
    tiled = result / weight
    return even_out(tiled, fuse, a, b, tile**2) if even else tiled


def even_out(tiled: Tensor, fuse: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, pixels: int) -> Tensor:
    """A result of `fuse_tiled` with the brightness, over distances of several tens of pixels, of the whole picture.

    A network whose weights reach over a whole picture makes each tile as bright as fits the tile.  What the picture as
    a whole should look like is seen where it is reduced by a whole number of times to at most `pixels` pixels.
    """
    height, width = a.shape[-2:]
    factor = math.ceil((height * width / pixels) ** 0.5)
    small = fuse(_means(a, factor), _means(b, factor)).float()
    drift = _means(small - _means(tiled, factor), _EVENED)
    return tiled + F.interpolate(drift, (height, width), mode="bilinear")


def _means(x: Tensor, size: int) -> Tensor:
    """Means over size x size pixels, at the lower and right border over what there is."""
    return F.avg_pool2d(x, size, ceil_mode=True, count_include_pad=False)


def tile_shape(height: int, width: int, tile: int, overlap: int) -> tuple[int, int]:
    """Rows and columns of tiles: the whole picture, bands of its full width, or squares where bands are too thin."""
    if height * width <= tile * tile:
        return height, width
    rows = tile * tile // width // GRID * GRID
    least = max(overlap + GRID, 1.5 * overlap)  # thinner bands would mostly overlap
    return (rows, width) if rows >= least else (tile, tile)


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Start and end of the tiles along one side; the last is moved back so that it is not a sliver."""
    if length <= tile:
        return [(0, length)]
    last = -(-(length - tile) // GRID) * GRID  # the last tile may be up to GRID - 1 pixels shorter
    count = -(-last // (tile - overlap))
    starts = [min(k * (tile - overlap), last) for k in range(count + 1)]
    return [(start, min(start + tile, length)) for start in starts]


def _ramp(start: int, end: int, length: int, overlap: int, like: Tensor) -> Tensor:
    """Weights along a tile's side: raised cosine over the overlap, except at the picture's border."""
    position = torch.arange(end - start, dtype=like.dtype, device=like.device) + 0.5
    weight = torch.ones_like(position)
    fade = max(overlap, 1)
    for distance, inner in ((position, start > 0), (end - start - position, end < length)):
        if inner:
            weight = weight * torch.sin(0.5 * torch.pi * (distance / fade).clamp(max=1)).square()
    return weight
