"""Fusing images of any size: the network looks at overlapping tiles, the image is composed band by band.

Of a large image only what is small is kept as a whole: the sources, the coarse octaves and their weight maps, and, at
half precision where there are very many pixels, the weight maps of the finest band.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.classical.exposure import exposure_weights
from adasffuse.models.bands import halvings
from adasffuse.models.heads import FAINT, Parts
from adasffuse.models.kinds import Kinds
from adasffuse.models.lights import Lacking, LightLift
from adasffuse.models.network import AdaSFFuse, check_sources, pad_to_multiple
from adasffuse.models.precision import wide
from adasffuse.models.targets import Found, TargetLift
from adasffuse.models.tiles import BAND, GRID, Tiles, divided, inside, row_bands, rows_of, with_rim
from adasffuse.process import release_freed_memory

_MANY = 1 << 25  # pixels from which on the finest weight maps are kept as float16


def fuse_tiled(
    network: AdaSFFuse, sources: Sequence[Tensor], tile: int, overlap: int, kinds: Kinds = (), band: int = BAND
) -> Tensor:
    """The network's image (1, 1, H, W) of S sources (1, 1, H, W), its weight maps made tile by tile.

    The image is composed as a whole: exposures and coarse octaves depend on the brightness of all of it, not of a tile.

    Args:
        sources: a sequence, or one tensor (S, 1, 1, H, W).
        tile: a tile has at most tile x tile pixels; rounded to the network's grid, then larger than the overlap.
        overlap: pixels over which neighbouring tiles cross-fade.
        kinds: of the sources, see `AdaSFFuse.forward`.
        band: pixels that are composed at a time.
    Raises:
        ValueError: tile or overlap is impossible, or the sources are not two or more of one shape.
    """
    sources = list(sources)
    check_sources(sources)
    whole = _Extended(sources, network.multiple)
    tile, overlap, grid = on_grid(network, tile, overlap)
    if not 0 <= overlap < tile:
        raise ValueError(
            f"tile must be larger than overlap, in multiples of {grid}, got tile {tile}, overlap {overlap}"
        )
    tiles = Tiles(whole.height, whole.width, tile, overlap, grid)
    compact = torch.float16 if whole.height * whole.width >= _MANY else None
    maps = tiles.joined((network.weight_maps(whole.part(*place), kinds) for place in tiles.places), compact)
    release_freed_memory()  # of tiles: bands ask for blocks of other sizes
    fused = _composed(network, whole, maps, kinds, band)
    pair = network.infrared_and_visible(whole.sources, kinds)
    if pair is not None:
        infrared, visible, _ = pair
        if network.lights is not None:
            _raise(network.lights, fused, visible, network.lights.find(fused, infrared, visible), band)
        if network.targets is not None:
            _raise(network.targets, fused, infrared, network.targets.find(fused, infrared, visible), band)
    return fused


def _raise(lift: LightLift | TargetLift, fused: Tensor, guide: Tensor, found: Lacking | Found, pixels: int) -> None:
    """Replace the fused image by `lift.raised(fused, guide, found)`, some rows at a time, in the memory that it has."""
    height, width = fused.shape[-2:]
    step = max(1, pixels // width)
    for first in range(0, height, step):
        rows = slice(first, first + step)
        fused[..., rows, :] = lift.raised(fused[..., rows, :], guide[..., rows, :], found, first, height)


class _Extended:
    """Sources as if they were extended to multiples of the network's grid, without a copy of the whole."""

    def __init__(self, sources: Sequence[Tensor], multiple: int) -> None:
        self.sources, self._multiple = sources, multiple
        self.size = tuple(sources[0].shape[-2:])
        self.height, self.width = (n + -n % multiple for n in self.size)

    def part(self, rows: slice, columns: slice = slice(None)) -> Tensor:
        """Some rows and columns of the extended sources, (S, 1, 1, h, w); they begin and end at multiples."""
        columns = slice(0, self.width) if columns == slice(None) else columns
        top, left = (max(0, one.start - self._multiple) for one in (rows, columns))  # enough pixels to reflect
        parts = [source[..., top : rows.stop, left : columns.stop] for source in self.sources]  # end with the image
        cut = torch.stack(parts)
        extended = pad_to_multiple(cut.flatten(0, 1), self._multiple).unflatten(0, cut.shape[:2])
        return extended[..., rows.start - top :, columns.start - left :]

    def bands(self, pixels: int) -> list[slice]:
        """Rows of the extended sources, in bands of about so many pixels."""
        return row_bands(self.height, self.width, self._multiple, pixels)

    def with_rim(self, rows: slice) -> slice:
        """The rows and a multiple beside them, inside the image."""
        return with_rim(rows, self._multiple, self.height)


def _composed(network: AdaSFFuse, whole: _Extended, maps: Sequence[Tensor], kinds: Kinds, pixels: int) -> Tensor:
    """What `AdaSFFuse.compose` makes of the sources and their weight maps, a band of rows at a time."""
    (height, width), count = whole.size, len(whole.sources)
    head, patch = network.head, network.options.patch
    if head is None:
        return network.from_patches(wide(maps[0]), height, width)
    _, own = network.parted(maps, kinds, count)
    weighs_exposure, infrared = head.has_exposure(own), network.infrared_in(kinds)
    levels, exposed = _coarse(whole, patch, whole.bands(pixels), weighs_exposure)
    coarse = head.coarse_blend(Parts(levels, own, exposed, infrared), network.base_logit(kinds))

    def patches_of(images: Tensor) -> Tensor:
        return network.as_patches(images).unflatten(0, (count, 1))  # (S, 1, P, h, w)

    fused = whole.sources[0].new_empty(1, 1, height, width)
    for rows in whole.bands(pixels):  # the finest band, with the rows around it that its weights depend on
        around = whole.with_rim(rows)
        cells = divided(around, 2 * patch)
        patches = patches_of(whole.part(around))
        shown = [patches_of(_exposure_of(whole, around))] if weighs_exposure else []
        residual, local = network.parted(rows_of(maps, divided(around, patch), whole.height // patch), kinds, count)
        parts = Parts([patches, levels[1][..., cells, :]], local, shown, infrared)
        band = head.finest_blend(coarse[..., cells, :], parts, residual)
        end = min(rows.stop, height)
        image = network.from_patches(band, around.stop - around.start, width)
        fused[..., rows.start : end, :] = image[..., inside(slice(rows.start, end), around), :]
    return fused


def _coarse(
    whole: _Extended, patch: int, bands: Sequence[slice], weighs_exposure: bool
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Levels 1 .. LEVELS of the pyramids of the sources, and of their exposure weights ([] where these do not count).

    Level 0, in place of which None stands, is not kept: it is large.
    """
    cell = 2 * patch

    def pyramid(images_of: Callable[[slice], Tensor]) -> list[Tensor | None]:
        # made first: small blocks between those of the bands would keep malloc from using their memory again
        size = len(whole.sources), 1, 1, whole.height // cell, whole.width // cell
        means = whole.sources[0].new_empty(size)
        for rows in bands:
            images = images_of(rows)
            part = F.avg_pool2d(images.flatten(0, 1), cell).unflatten(0, images.shape[:2])
            means[..., rows.start // cell : rows.stop // cell, :] = part
        return [None, *halvings(means)]

    exposed = pyramid(lambda rows: _exposure_of(whole, rows)) if weighs_exposure else []
    return pyramid(whole.part), exposed


def _exposure_of(whole: _Extended, rows: slice) -> Tensor:
    """Weights of exposure fusion in some rows, (S, 1, 1, h, W)."""
    around = whole.with_rim(rows)
    weights = exposure_weights(whole.part(around), FAINT)
    return weights[..., inside(rows, around), :]


def on_grid(network: AdaSFFuse, tile: int, overlap: int) -> tuple[int, int, int]:
    """Tile and overlap as multiples of the network's grid, and that grid."""
    grid = math.lcm(GRID, network.multiple)  # GRID but for patches of more than 2x2 pixels
    return tile // grid * grid, -(-overlap // grid) * grid, grid
