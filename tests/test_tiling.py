"""Tiles cover an image once, start on the network's grid and blend without a seam."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from tiny import network

from adasffuse.inference.tiling import GRID, fuse_tiled, guide_tiled, spans, tile_shape
from adasffuse.models.network import HEADS

LAYOUTS = [(32, 16), (48, 16), (64, 0), (128, 64), (16, 0), (80, 64)]
LENGTHS = [1, 15, 16, 31, 32, 33, 65, 127, 128, 129, 200, 400]


def mean(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a + b) / 2


@pytest.mark.parametrize("tile, overlap", LAYOUTS)
@pytest.mark.parametrize("length", LENGTHS)
def test_spans_cover_a_side(length, tile, overlap):
    parts = spans(length, tile, overlap)
    assert parts[0][0] == 0 and parts[-1][1] == length
    assert all(start % GRID == 0 and 0 < end - start <= tile for start, end in parts)
    for (start, end), (next_start, next_end) in pairwise(parts):
        assert start < next_start and end < next_end
        assert end - next_start >= overlap


def test_spans_by_hand():
    assert spans(100, 128, 32) == [(0, 100)]
    assert spans(128, 64, 16) == [(0, 64), (48, 112), (64, 128)]
    assert spans(100, 64, 16) == [(0, 64), (48, 100)]


@pytest.mark.parametrize("tile, overlap", LAYOUTS)
@pytest.mark.parametrize("height, width", [(16, 208), (128, 128), (80, 176), (16, 400)])
def test_maps_of_local_operations_are_not_changed_by_tiles(height, width, tile, overlap):
    """At full resolution and reduced, whatever the numbers of images and channels."""
    a, b = torch.rand(2, 1, 1, height, width, dtype=torch.float64)

    def maps(a, b):
        return mean(a, b), F.avg_pool2d(torch.cat([a, b]), 2), F.pixel_unshuffle(a, 16)

    for tiled, whole in zip(guide_tiled(maps, a, b, tile, overlap), maps(a, b)):
        torch.testing.assert_close(tiled, whole)


def test_tiles_never_exceed_their_size():
    seen = []

    def record(a, b):
        seen.append(tuple(a.shape[-2:]))
        return (a,)

    a = torch.rand(1, 1, 64, 96)
    guide_tiled(record, a, a, 32, 16)
    assert len(seen) > 1 and max(height * width for height, width in seen) <= 32 * 32


def test_tiles_are_bands_of_full_width_where_those_are_not_too_thin():
    """The scan reads rows: a cut across them changes the context of every pixel, a cut between them hardly."""
    assert tile_shape(600, 900, 1024, 128) == (600, 900)  # small enough as a whole
    assert tile_shape(3072, 4096, 1024, 128) == (256, 4096)
    assert tile_shape(3072, 8000, 1024, 128) == (1024, 1024)  # bands of 128 rows would be all overlap


def test_neighbours_cross_fade():
    """Tiles that differ by a constant meet in a monotone ramp over the overlap, without a step."""
    values = iter([0.0, 1.0])
    a = torch.zeros(1, 1, 48, 32)
    (tiled,) = guide_tiled(lambda a, b: (torch.full_like(a, next(values)),), a, a, 32, 16)  # rows 0..32 and 16..48
    row = tiled[0, 0, :, 0]
    assert row[:16].eq(0).all() and row[32:].eq(1).all()
    steps = row[15:33].diff()
    assert (steps >= 0).all() and steps.max() < 0.15
    torch.testing.assert_close(row[16:32] + row[16:32].flip(0), torch.ones(16))


@pytest.mark.parametrize("tile, overlap", [(32, 32), (16, 32), (40, 16), (32, 8), (32, -16), (0, 0)])
def test_impossible_layouts(tile, overlap):
    a = torch.rand(1, 1, 16, 16)
    with pytest.raises(ValueError, match=rf"multiples of 16 .* got tile {tile}, overlap {overlap}"):
        guide_tiled(mean, a, a, tile, overlap)


@pytest.mark.parametrize("output", HEADS)
def test_one_tile_is_the_whole_image(output):
    model, (a, b) = network(output=output), torch.rand(2, 1, 1, 50, 75)
    with torch.no_grad():
        torch.testing.assert_close(fuse_tiled(model, a, b, 80, 16), model(a, b))


@pytest.mark.parametrize("changes", [{}, {"patch": 2, "output": "pyramid"}, {"output": "direct"}])
def test_tiles_of_the_network_agree_with_the_whole_image(changes):
    """A pattern without any long-range structure: tiles see the same cells, away from their borders."""
    model = network(frequency=False, **changes)
    a, b = torch.rand(2, 1, 1, 70, 72, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, tiled = model(a, b), fuse_tiled(model, a, b, 48, 32)
    error = (tiled - whole).square().mean()
    assert tiled.shape == whole.shape and 10 * torch.log10(1 / error) > 30


@pytest.mark.parametrize("patch", [3, 4])
def test_tiles_of_larger_patches_start_on_the_network_s_own_grid(patch):
    """Cells of 8 x 8 patches have 24 or 32 pixels."""
    model, sizes = network(frequency=False, patch=patch, output="pyramid"), []
    guide, (a, b) = model.guide, torch.rand(2, 1, 1, 200, 90, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(a, b)
        model.guide = lambda a, b: sizes.append(tuple(a.shape[-2:])) or guide(a, b)
        tiled = fuse_tiled(model, a, b, 112, 32)
    assert len(sizes) > 1 and all(side % model.multiple == 0 for size in sizes for side in size)
    assert tiled.shape == whole.shape and 10 * torch.log10(1 / (tiled - whole).square().mean()) > 30


def test_exposure_fusion_in_tiles_sees_the_whole_image():
    """Its pyramid reaches over all octaves: tiles composed one by one were each as bright as fits the tile."""
    model = network(patch=2, output="pyramid", residual=False, exposure=True, frequency=False)
    model.blend.start_as_exposure_fusion()
    a = torch.linspace(0, 1, 128)[None, None, :, None].expand(1, 1, 128, 96).contiguous()
    b = 0.8 * a.flip(-1).flip(-2).roll(30, dims=-1) + 0.1 * torch.rand(1, 1, 128, 96)
    with torch.no_grad():
        whole, tiled = model(a, b), fuse_tiled(model, a, b, 64, 32)
        alone = torch.cat([model(x, y) for x, y in zip(a.split(32, dim=2), b.split(32, dim=2))], dim=2)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    assert (alone - whole).abs().mean() > 1e-3
