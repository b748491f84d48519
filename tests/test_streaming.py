"""Sources shown to a network one after the other give what all of them at once give."""

import numpy as np
import pytest
import torch
from tiny import network

from adasffuse.models.streaming import StreamedFusion
from adasffuse.models.tiles import Tiles
from adasffuse.tasks import KINDS

ALL = {"patch": 4, "exposure": True, "contrast": True, "kinds": KINDS, "dark": True, "hot": True}


def streamed(model, kind, sources, **tiles):
    fusion = StreamedFusion(model, kind, tuple(sources[0].shape[-2:]), **tiles)
    for source in sources:
        fusion.add(source)
    fusion.settle()
    for source in sources:
        fusion.blend(source)
    return fusion.result()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, ""),
        (ALL, "exposure"),
        (ALL, "focus"),
        ({"patch": 2}, ""),
        ({"output": "direct"}, ""),
        ({"patch": 4, "residual": False, "contrast": True}, ""),
        ({"exposure": True}, ""),
    ],
)
@pytest.mark.parametrize(("count", "size"), [(2, (64, 96)), (3, (37, 53)), (7, (70, 41))])
def test_one_after_the_other_is_all_at_once(options, kind, count, size):
    model, sources = network(**options).eval(), 0.7 * torch.rand(count, 1, 1, *size)  # between day and night
    with torch.inference_mode():
        expected = model(list(sources), kinds=(kind,) * count if kind else ())
        assert torch.allclose(streamed(model, kind, sources), expected, atol=2e-6)
        assert torch.allclose(streamed(model, kind, sources, band=1), expected, atol=2e-6)  # a few rows at a time


def test_any_order():
    model, sources = network(**ALL).eval(), torch.rand(5, 1, 1, 48, 64)
    with torch.inference_mode():
        assert torch.allclose(streamed(model, "focus", sources), streamed(model, "focus", sources.flip(0)), atol=2e-6)


def test_tiles_are_nearly_the_whole():
    model = network(far_sighted=False, **ALL).eval()
    sources = torch.rand(3, 1, 1, 512, 64)
    with torch.inference_mode():
        whole = streamed(model, "focus", sources)
        tiled = streamed(model, "focus", sources, tile=128, overlap=64)
    assert 0 < (whole - tiled).square().mean().sqrt() < 3e-3  # 50 dB


def test_another_size_is_refused():
    fusion = StreamedFusion(network(), "", (16, 16))
    with pytest.raises(ValueError, match=r"\(1, 1, 16, 16\), got \(1, 1, 16, 17\)"):
        fusion.add(torch.zeros(1, 1, 16, 17))


def test_shares_of_tiles_add_up_to_one():
    tiles = Tiles(300, 200, 128, 32)
    (whole,) = tiles.joined([torch.ones(1, 1, r.stop - r.start, c.stop - c.start)] for r, c in tiles.places)
    np.testing.assert_allclose(whole, 1, atol=1e-6)
    assert len(tiles.places) > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_networks_of_other_precision(dtype):
    model, sources = network(**ALL), 0.7 * torch.rand(3, 1, 1, 37, 53)
    with torch.inference_mode():
        expected = streamed(model, "exposure", sources)
        result = streamed(model.to(dtype), "exposure", sources.to(dtype))
    assert result.dtype == torch.promote_types(dtype, torch.float32) and (result - expected).abs().max() < 0.02
