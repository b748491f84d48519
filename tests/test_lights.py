"""Lights of a night, and the ground around hot things, that are kept in the fused image."""

import pytest
import torch

from adasffuse.inference.tiling import fuse_tiled
from adasffuse.models import AdaSFFuse
from adasffuse.models.lights import LightLift
from adasffuse.models.options import INFRARED_VISIBLE, ModelOptions

LAMP = (slice(100, 106), slice(200, 206))
PERSON = (slice(90, 150), slice(150, 170))
AROUND = (slice(70, 170), slice(130, 190))


def night(height: int = 240, width: int = 320, level: float = 0.1) -> torch.Tensor:
    return torch.full((1, 1, height, width), level)


def with_lamp(visible: torch.Tensor, level: float = 1.0, lamp: tuple[slice, slice] = LAMP) -> torch.Tensor:
    visible = visible.clone()
    visible[..., lamp[0], lamp[1]] = level
    return visible


def lit(fused: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    return LightLift()(fused, torch.full_like(fused, 0.2), visible)  # nothing is hot


def test_a_lamp_has_the_contrast_of_the_visible_image():
    visible, fused = with_lamp(night()), night(level=0.3)
    result = lit(fused, visible)
    assert result[..., LAMP[0], LAMP[1]].min() > 0.98  # 0.3 and the contrast of 0.9, but not above the visible image
    outside = result == fused
    outside[..., LAMP[0], LAMP[1]] = True
    assert outside.all()


def test_infrared_detail_on_a_lamp_stays():
    visible, fused = with_lamp(night()), night()
    fused[..., LAMP[0], 200:203] = 0.2
    fused[..., LAMP[0], 203:206] = 0.3
    visible[..., LAMP[0], LAMP[1]] = 0.95
    result = lit(fused, visible)[..., 102, 200:206]
    assert (result[..., :3] > 0.9).all() and (result[..., 3:] - result[..., :3] > 0.015).all()


@pytest.mark.parametrize(
    ("name", "visible", "fused"),
    [
        ("equal", with_lamp(night()), with_lamp(night())),
        ("brighter in the fused image", with_lamp(night(), level=0.8), with_lamp(night(), level=0.95)),
        ("day", with_lamp(night(level=0.92)), night(level=0.3)),
        ("not bright", with_lamp(night(), level=0.7), night()),
        ("glare", with_lamp(night(), lamp=(slice(60, 180), slice(100, 220))), night(level=0.3)),
    ],
)
def test_what_is_no_light_or_already_shown_stays(name, visible, fused):
    assert torch.allclose(lit(fused, visible), fused, atol=1e-4), name


def test_ground_around_a_hot_thing_is_as_bright_as_farther_away():
    infrared = with_lamp(night(level=0.02), 0.9, PERSON)
    for level in (0.3, 0.2):  # of the ground farther away in the fused image; 0.3 in the visible image
        fused = with_lamp(with_lamp(night(level=level), 0.02, AROUND), 0.9, PERSON)
        result = LightLift()(fused, infrared, with_lamp(night(level=0.3), 0.05, PERSON))
        assert (result[..., PERSON[0], PERSON[1]] == fused[..., PERSON[0], PERSON[1]]).all()
        assert result.amin() > level - 0.1  # beside the outline, a pixel wide
        assert (result < level - 0.02).sum() < 200 and with_lamp(result, 0, PERSON).amax() < level + 0.01


@pytest.mark.parametrize(
    ("name", "ground", "cold"), [("day", 0.55, 0.02), ("warm ground", 0.3, 0.3), ("nothing hot", 0.3, 0.85)]
)
def test_ground_stays_where_it_is_no_halo(name, ground, cold):
    infrared = with_lamp(night(level=cold), 0.9, PERSON)
    fused = with_lamp(with_lamp(night(level=ground), 0.02, AROUND), 0.9, PERSON)
    assert torch.equal(LightLift()(fused, infrared, night(level=ground)), fused), name


def test_the_result_lies_between_the_fused_and_the_visible_image():
    draws = torch.Generator().manual_seed(0)
    for size in ((1, 1), (1, 50), (37, 5), (200, 300), (900, 500)):
        fused, visible = torch.rand(2, 1, 1, *size, generator=draws).unbind(0)
        visible = visible**8  # few bright pixels
        result = lit(fused, visible)
        assert result.shape == fused.shape and (result >= fused).all()
        assert (result <= torch.maximum(fused, visible)).all()


def test_pairs_in_any_order_batches_and_bands_of_rows_give_the_same():
    torch.manual_seed(0)
    options = ModelOptions(patch=4, channels=8, band_blocks=0, full_blocks=0, kinds=INFRARED_VISIBLE, lights=True)
    model = AdaSFFuse(options).eval()
    infrared, visible = torch.rand(1, 1, 240, 320) * 0.5, with_lamp(night())
    with torch.inference_mode():
        whole = model(infrared, visible, kinds=INFRARED_VISIBLE)
        bare = model.blend(torch.stack([infrared, visible]), model.weight_maps(torch.stack([infrared, visible])))
        assert (whole - bare).max() > 0.2
        assert torch.allclose(model(visible, infrared, kinds=INFRARED_VISIBLE[::-1]), whole, atol=1e-6)
        mixed = [["infrared", "visible"], ["visible", "infrared"]]
        both = model(torch.cat([infrared, visible]), torch.cat([visible, infrared]), kinds=mixed)
        assert torch.allclose(both, torch.cat([whole, whole]), atol=1e-6)
        tiled = fuse_tiled(model, [infrared, visible], 512, 64, INFRARED_VISIBLE, band=320 * 32)  # bands of rows
        assert torch.allclose(tiled, whole, atol=1e-5)
        assert torch.equal(model(infrared, visible), model(infrared, visible, kinds=()))
