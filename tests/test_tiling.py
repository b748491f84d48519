"""Tiles cover an image once, start on the network's grid and blend without a seam."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from tiny import network

from adasffuse.inference.tiling import fuse_tiled
from adasffuse.models.options import OUTPUTS
from adasffuse.models.tiles import GRID, Tiles, spans, tile_shape
from adasffuse.tasks import KINDS

LAYOUTS = [(32, 16), (48, 16), (64, 0), (128, 64), (16, 0), (80, 64)]
LENGTHS = [1, 15, 16, 31, 32, 33, 65, 127, 128, 129, 200, 400]


def tiled_maps(weight_maps, sources, tile, overlap):
    """Maps of sources (S, 1, 1, H, W) made tile by tile."""
    tiles = Tiles(*sources.shape[-2:], tile, overlap)
    return tiles.joined(weight_maps(sources[..., rows, columns]) for rows, columns in tiles.places)


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
    sources = torch.rand(3, 1, 1, height, width, dtype=torch.float64)

    def maps(sources):
        return sources.mean(dim=0), F.avg_pool2d(sources.flatten(0, 1), 2), F.pixel_unshuffle(sources[0], 16)

    for tiled, whole in zip(tiled_maps(maps, sources, tile, overlap), maps(sources)):
        torch.testing.assert_close(tiled, whole)


def test_tiles_never_exceed_their_size():
    seen = []

    def record(sources):
        seen.append(tuple(sources.shape[-2:]))
        return (sources[0],)

    tiled_maps(record, torch.rand(2, 1, 1, 64, 96), 32, 16)
    assert len(seen) > 1 and max(height * width for height, width in seen) <= 32 * 32


def test_tiles_are_bands_of_full_width_where_those_are_not_too_thin():
    """The scan reads rows: a cut across them changes the context of every pixel, a cut between them hardly."""
    assert tile_shape(600, 900, 1024, 128) == (600, 900)  # small enough as a whole
    assert tile_shape(3072, 4096, 1024, 128) == (256, 4096)
    assert tile_shape(3072, 8000, 1024, 128) == (1024, 1024)  # bands of 128 rows would be all overlap


def test_neighbours_cross_fade():
    """Tiles that differ by a constant meet in a monotone ramp over the overlap, without a step."""
    values = iter([0.0, 1.0])
    sources = torch.zeros(2, 1, 1, 48, 32)
    (tiled,) = tiled_maps(lambda x: (torch.full_like(x[0], next(values)),), sources, 32, 16)  # rows 0..32 and 16..48
    row = tiled[0, 0, :, 0]
    assert row[:16].eq(0).all() and row[32:].eq(1).all()
    steps = row[15:33].diff()
    assert (steps >= 0).all() and steps.max() < 0.15
    torch.testing.assert_close(row[16:32] + row[16:32].flip(0), torch.ones(16))


@pytest.mark.parametrize("tile, overlap", [(32, 32), (16, 32), (32, -16), (0, 0)])
def test_impossible_layouts(tile, overlap):
    with pytest.raises(ValueError, match=rf"larger than overlap, .* got tile {tile}, overlap {overlap}"):
        fuse_tiled(network(), torch.rand(2, 1, 1, 16, 16), tile, overlap)


@pytest.mark.parametrize("output", OUTPUTS)
def test_one_tile_is_the_whole_image(output):
    model, sources = network(output=output), torch.rand(2, 1, 1, 50, 75)
    with torch.no_grad():
        torch.testing.assert_close(fuse_tiled(model, sources, 80, 16), model(sources))


@pytest.mark.parametrize("height", [64, 65, 72, 79, 95])
@pytest.mark.parametrize("changes", [{}, {"patch": 2}, {"patch": 4}, {"patch": 2, "residual": False, "exposure": True}])
def test_an_image_composed_in_many_bands_is_that_of_one(changes, height):
    """Also where the last band has fewer rows of the image than the extension to the network's grid reflects."""
    model = network(far_sighted=False, **changes)
    sources = torch.rand(2, 1, 1, height, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, many = (fuse_tiled(model, sources, 96, 32, band=band) for band in (1 << 20, 1))
    torch.testing.assert_close(many, one, atol=1e-6, rtol=0)


def test_cold_detail_fades_in_bands_as_in_the_whole_image():
    """Left of the middle the infrared image is cold and the visible one bright."""
    model = network(far_sighted=False, patch=2, kinds=KINDS, unshaded=True)
    sources = torch.rand(2, 1, 1, 96, 64, generator=torch.Generator().manual_seed(0))
    sources[0, ..., :32] *= 0.2
    sources[1, ..., :32] = 0.8 + 0.2 * sources[1, ..., :32]
    for kinds in (("infrared", "visible"), ("visible", "infrared")):
        with torch.no_grad():
            whole = model(sources, kinds=kinds)
            torch.testing.assert_close(fuse_tiled(model, sources, 96, 32, kinds, band=1), whole, atol=1e-5, rtol=0)
            model.options = replace(model.options, unshaded=False)
            assert (model(sources, kinds=kinds) - whole).abs().max() > 0.01
            model.options = replace(model.options, unshaded=True)


@pytest.mark.parametrize("changes", [{}, {"patch": 2}, {"output": "direct"}])
def test_tiles_of_the_network_agree_with_the_whole_image(changes):
    """A pattern without any long-range structure: tiles see the same cells, away from their borders."""
    model = network(far_sighted=False, **changes)
    sources = torch.rand(3, 1, 1, 70, 72, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, tiled = model(sources), fuse_tiled(model, sources, 48, 32)
    error = (tiled - whole).square().mean()
    assert tiled.shape == whole.shape and 10 * torch.log10(1 / error) > 30


def test_whether_it_is_night_is_no_tile_s_guess():
    """The visible image is bright on the left and dark on the right, and at night it alone gives the base."""
    model = network(far_sighted=False, patch=2, residual=False, kinds=KINDS, dark=True)
    with torch.no_grad():
        model.kinds.dark.zero_()[KINDS.index("visible")] = 4
        sources = torch.rand(2, 1, 1, 64, 160, generator=torch.Generator().manual_seed(0))
        sources[1, ..., :80] *= 0.9
        sources[1, ..., 80:] *= 0.2
        kinds = ("infrared", "visible")
        whole, tiled = model(sources, kinds=kinds), fuse_tiled(model, sources, 64, 32, kinds)
    assert 10 * torch.log10(1 / (tiled - whole).square().mean()) > 40


@pytest.mark.parametrize("patch", [3, 4])
def test_tiles_of_larger_patches_start_on_the_network_s_own_grid(patch):
    """Cells of 8 x 8 patches have 24 or 32 pixels."""
    model, sizes = network(far_sighted=False, patch=patch), []
    weight_maps, sources = model.weight_maps, torch.rand(2, 1, 1, 200, 90, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model(sources)
        model.weight_maps = lambda x, kinds: sizes.append(tuple(x.shape[-2:])) or weight_maps(x)
        tiled = fuse_tiled(model, sources, 112, 32)
    assert len(sizes) > 1 and all(side % model.multiple == 0 for size in sizes for side in size)
    assert tiled.shape == whole.shape and 10 * torch.log10(1 / (tiled - whole).square().mean()) > 30


def test_exposure_fusion_in_tiles_sees_the_whole_image():
    """Its pyramid reaches over all octaves: tiles composed one by one were each as bright as fits the tile."""
    model = network(patch=2, residual=False, exposure=True, far_sighted=False)
    model.head.start_as_exposure_fusion()
    a = torch.linspace(0, 1, 128)[None, None, :, None].expand(1, 1, 128, 96).contiguous()
    b = 0.8 * a.flip(-1).flip(-2).roll(30, dims=-1) + 0.1 * torch.rand(1, 1, 128, 96)
    with torch.no_grad():
        whole, tiled = model(a, b), fuse_tiled(model, torch.stack([a, b]), 64, 32)
        alone = torch.cat([model(x, y) for x, y in zip(a.split(32, dim=2), b.split(32, dim=2))], dim=2)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    assert (alone - whole).abs().mean() > 1e-3
