"""Tiles cover a picture once, start on the network's grid and blend without a seam."""

from itertools import pairwise

import pytest
import torch
from tiny import network

from adasffuse.inference.tiling import GRID, even_out, fuse_tiled, spans, tile_shape

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
@pytest.mark.parametrize("height, width", [(1, 200), (128, 128), (75, 161), (16, 400)])
def test_a_local_operation_is_not_changed_by_tiles(height, width, tile, overlap):
    a, b = torch.rand(2, 1, 1, height, width, dtype=torch.float64)
    torch.testing.assert_close(fuse_tiled(mean, a, b, tile, overlap), mean(a, b))


def test_tiles_never_exceed_their_size():
    seen = []

    def record(a, b):
        seen.append(tuple(a.shape[-2:]))
        return a

    a = torch.rand(1, 1, 50, 90)
    fuse_tiled(record, a, a, 32, 16)
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
    row = fuse_tiled(lambda a, b: torch.full_like(a, next(values)), a, a, 32, 16)[0, 0, :, 0]  # rows 0..32 and 16..48
    assert row[:16].eq(0).all() and row[32:].eq(1).all()
    steps = row[15:33].diff()
    assert (steps >= 0).all() and steps.max() < 0.15
    torch.testing.assert_close(row[16:32] + row[16:32].flip(0), torch.ones(16))


@pytest.mark.parametrize("tile, overlap", [(32, 32), (16, 32), (40, 16), (32, 8), (32, -16), (0, 0)])
def test_impossible_layouts(tile, overlap):
    a = torch.rand(1, 1, 8, 8)
    with pytest.raises(ValueError, match=rf"multiples of 16 .* got tile {tile}, overlap {overlap}"):
        fuse_tiled(mean, a, a, tile, overlap)


def test_tiles_of_the_network_agree_with_the_whole_picture():
    """A pattern without any long-range structure: tiles see the same cells, away from their borders."""
    model = network(frequency=False)
    a, b = torch.rand(2, 1, 1, 64, 72, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, tiled = model(a, b), fuse_tiled(model, a, b, 48, 32)
    error = (tiled - whole).square().mean()
    assert 10 * torch.log10(1 / error) > 30


def test_tiles_of_another_brightness_are_evened_out():
    a = torch.rand(1, 1, 200, 150)

    def fuse(a, b):  # brightness depends on the whole of what it sees
        return 0.5 * a + 0.5 * b.mean()

    b = torch.linspace(0, 1, 200)[None, None, :, None].expand_as(a)
    whole, tiled = fuse(a, b), fuse_tiled(fuse, a, b, 64, 32)
    error, rest = ((x - whole).abs().mean() for x in (tiled, even_out(tiled, fuse, a, b, 64**2)))
    assert rest < 0.3 * error and error > 0.1
    torch.testing.assert_close(even_out(whole, fuse, a, b, 64**2), whole, atol=2e-3, rtol=0)
