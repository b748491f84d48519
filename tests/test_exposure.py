"""Exposure fusion by hand; against OpenCV it stands in `test_losses`."""

import math

import pytest
import torch

from adasffuse.classical.exposure import exposure_weights


def test_flat_pixels_are_weighed_by_their_exposure():
    sources = torch.stack([torch.full((1, 1, 5, 5), 0.5), torch.full((1, 1, 5, 5), 0.9)])
    weights = exposure_weights(sources, faint=1e-3)
    odds = math.exp(0.4**2 / (2 * 0.2**2))
    assert weights[0].unique().item() == pytest.approx(odds / (1 + odds), rel=1e-5)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(1, 1, 5, 5))


def test_an_equally_exposed_pixel_is_weighed_by_its_contrast():
    sources = torch.full((2, 1, 1, 5, 5), 0.4)
    sources[0, ..., 2, 2] = 0.6  # as far from 0.5 as 0.4 is; the Laplacian is -0.8 there and 0 in the other source
    assert exposure_weights(sources)[0, 0, 0, 2, 2] == pytest.approx(1)
    assert exposure_weights(sources, faint=0.2)[0, 0, 0, 2, 2] == pytest.approx(1.0 / 1.2)


def test_half_precision_does_not_touch_the_weights():
    sources = torch.rand(2, 1, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        weights = exposure_weights(sources)
    assert weights.dtype == torch.float32 and torch.equal(weights, exposure_weights(sources))
