"""Hard cases and their scores: what glare clips, what a night scene holds, and what each source scores."""

import numpy as np
import pytest
import score_hard_cases
from tiny import texture, write_ivf, write_weights

from adasffuse.images.color import luminance
from adasffuse.metrics.hard_cases import (
    fog,
    hard_case_total,
    score_hard_case,
    structure_kept,
    target_contrast,
)
from adasffuse.scenes.glare import add_glare, glare_pair
from adasffuse.scenes.street import night_scene

IMAGE = texture(96, 128, seed=0) / np.float32(255)
EVERYWHERE = np.ones(IMAGE.shape, bool)


@pytest.fixture(scope="module")
def night():
    return [night_scene(np.random.default_rng(seed), (160, 208)) for seed in range(4)]


def levels(image):
    return np.rint(luminance(image) * 255.0)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_the_mask_is_the_clipped_area_and_glare_only_brightens(channels):
    visible = np.broadcast_to(0.9 * IMAGE.reshape(*IMAGE.shape, *(1 for _ in channels)), (*IMAGE.shape, *channels))
    for seed in range(10):
        glared, mask = add_glare(visible, np.random.default_rng(seed))
        assert glared.dtype == np.float32 and glared.shape == visible.shape and mask.shape == IMAGE.shape
        assert np.array_equal(mask, (glared == 1).reshape(*mask.shape, -1).all(axis=-1))
        assert (glared >= visible - 1e-6).all() and glared.max() <= 1
        assert 0.001 < mask.mean() < 0.4


def test_a_light_lies_where_it_is_put_and_is_as_large_as_asked():
    for seed in range(5):
        glared, mask = add_glare(np.zeros((96, 128)), np.random.default_rng(seed), [(40.0, 60.0)], radius=(0.1, 0.1))
        rows, columns = np.nonzero(mask)
        assert abs(rows.mean() - 60) < 1.5 and abs(columns.mean() - 40) < 1.5
        assert mask.sum() == pytest.approx(np.pi * 9.6**2, rel=0.15)
        assert glared[60, 52] > glared[60, 70] > glared[60, 120] > 0  # the veil falls off


def test_cases_depend_on_the_generator_alone():
    for make in (
        lambda rng: add_glare(IMAGE, rng),
        lambda rng: list(vars(glare_pair(IMAGE, IMAGE, rng)).values()),
        lambda rng: list(vars(night_scene(rng, (64, 80))).values()),
    ):
        first, again, other = (make(np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert all(np.array_equal(x, y) for x, y in zip(first, again))
        assert not np.array_equal(first[0], other[0]) or not np.array_equal(first[1], other[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 4), (33, 160, 3)])
def test_glare_of_any_size(shape):
    for seed in range(6):
        glared, mask = add_glare(np.full(shape, 0.5, np.float32), np.random.default_rng(seed))
        assert glared.shape == shape and mask.shape == shape[:2] and np.isfinite(glared).all()


@pytest.mark.parametrize("turned", [False, True])
def test_glare_of_a_single_row_or_column_is_that_of_a_wider_image(turned):
    narrow, wide, center = (9, 1), (9, 3), (-1.5, 4.0)
    if turned:
        narrow, wide, center = narrow[::-1], wide[::-1], center[::-1]
    images = [
        add_glare(np.full(shape, 0.2, np.float32), np.random.default_rng(3), [center])[0] for shape in (narrow, wide)
    ]
    np.testing.assert_allclose(images[0], images[1][: narrow[0], : narrow[1]], rtol=1e-5)


def test_a_night_scene_is_what_it_says(night):
    for case in night:
        assert case.infrared.shape == case.dark.shape == (160, 208) and case.visible.shape == (160, 208, 3)
        visible, hot = luminance(case.visible), case.infrared[case.targets]
        for mask in (case.saturated, case.targets, case.dark, case.detail):
            assert mask.dtype == bool and mask.sum() > 40
        assert visible[case.dark].mean() < 0.18 and case.infrared[case.dark].mean() > 0.3
        assert hot.mean() > case.infrared[case.dark].mean() + 0.15
        assert not (case.dark & case.targets).any() and not (case.detail & case.targets).any()
        assert visible[case.detail].mean() > 2 * visible[case.dark].mean()


def test_sources_and_blends_score_as_documented(night):
    for case in night:
        infrared, visible = levels(case.infrared), levels(case.visible)
        alone = score_hard_case(case, infrared)
        assert (alone["recovery"], alone["fog"], alone["targets"]) == pytest.approx((1, 1, 1)) and alone["detail"] < 0.3
        alone = score_hard_case(case, visible)
        assert (alone["recovery"], alone["fog"], alone["detail"]) == pytest.approx((0, 0, 1)) and alone["targets"] < 0.3
        blends = [score_hard_case(case, w * infrared + (1 - w) * visible) for w in (0.0, 0.25, 0.5, 0.75, 1.0)]
        assert [blend["recovery"] for blend in blends] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
        assert [blend["fog"] for blend in blends] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
        assert np.all(np.diff([blend["targets"] for blend in blends]) >= 0)
        assert np.all(np.diff([blend["detail"] for blend in blends]) <= 0)
        brighter = score_hard_case(case, np.maximum(infrared, visible))
        assert brighter["fog"] > 0.95 and brighter["recovery"] < 1e-9


def test_pasting_the_sources_where_each_speaks_scores_1(night):
    for case in night:
        take = case.targets | case.saturated
        scores = score_hard_case(case, np.where(take, levels(case.infrared), levels(case.visible)))
        assert (scores["recovery"], scores["fog"], scores["detail"]) == pytest.approx((1, 0, 1))
        assert hard_case_total(scores) > 0.9


def test_structure_kept_by_hand():
    source = texture(40, 40, seed=1).astype(float)
    mask = np.ones(source.shape, bool)
    assert structure_kept(source, 0.3 * source + 90, mask) == pytest.approx(0.3)
    assert structure_kept(source, 255 - source, mask) == 0
    assert structure_kept(source, np.full(source.shape, 255.0), mask) == pytest.approx(0, abs=1e-9)
    assert structure_kept(source, 2 * source, mask) == 1
    half = np.where(np.arange(40) < 20, source, 255.0)
    left = np.broadcast_to(np.arange(40) < 20, source.shape)
    assert structure_kept(source, half, left) == pytest.approx(1)  # no window reaches beyond the mask
    assert structure_kept(source, half, ~left) == pytest.approx(0, abs=1e-9)
    assert np.isnan(structure_kept(source, source, mask & False))
    assert np.isnan(structure_kept(np.full((40, 40), 9.0), source, mask))  # a flat source has nothing to keep


def test_fog_by_hand():
    infrared, visible, dark = np.full((4, 4), 110.0), np.full((4, 4), 10.0), np.eye(4, dtype=bool)
    for level, expected in ((10, 0), (30, 0.2), (110, 1), (0, 0), (200, 1)):
        assert fog(infrared, visible, np.full((4, 4), float(level)), dark) == pytest.approx(expected)
    assert np.isnan(fog(visible, visible, visible, dark)) and np.isnan(
        fog(infrared, visible, visible, ~EVERYWHERE[:4, :4])
    )


def test_target_contrast_by_hand():
    infrared, targets = np.full((60, 90), 50.0), np.zeros((60, 90), bool)
    targets[20:36, 10:26] = targets[20:24, 60:64] = True  # areas of 16 x 16 and 4 x 4: weights 16 and 4
    infrared[targets] = 150
    fused = np.full(infrared.shape, 20.0)
    fused[20:36, 10:26] = 70  # half of the contrast
    assert target_contrast(infrared, fused, targets) == pytest.approx(0.5 * 16 / 20)
    assert target_contrast(infrared, infrared, targets) == 1
    assert target_contrast(infrared, 2 * infrared, targets) == 1
    assert target_contrast(infrared, 255 - infrared, targets) == 0
    assert np.isnan(target_contrast(255 - infrared, fused, targets)) and np.isnan(
        target_contrast(infrared, fused, ~targets & targets)
    )


def test_the_total_by_hand():
    assert hard_case_total({"recovery": 1.0, "fog": 0.25, "targets": 0.5, "detail": 0.0}) == pytest.approx(2.25 / 4)
    assert np.isnan(hard_case_total(score_hard_case(glare_pair(IMAGE, IMAGE, np.random.default_rng(0)), 255 * IMAGE)))


def test_what_is_refused(night):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"add_glare needs \(H, W\) or \(H, W, 3\) pixels, got \(4, 4, 2\)"):
        add_glare(np.zeros((4, 4, 2)), rng)
    with pytest.raises(ValueError, match=r"one height and width, got \(4, 4\) and \(4, 5\)"):
        glare_pair(np.zeros((4, 4)), np.zeros((4, 5)), rng)
    with pytest.raises(ValueError, match="at least 64 x 64 pixels, got 32 x 80"):
        night_scene(rng, (32, 80))
    with pytest.raises(ValueError, match=r"must be \(160, 208\) as the case is, got \(4, 4\)"):
        score_hard_case(night[0], np.zeros((4, 4)))


def test_the_script_scores_night_scenes_and_pairs(tmp_path, capsys):
    root = write_ivf(tmp_path / "data", stems=("1", "2"), size=(64, 80))
    weights = write_weights(tmp_path / "mine.safetensors", "ivf")
    arguments = ["--weights", weights, "--infrared", root / "IVF/infrared", "--visible", root / "IVF/visible"]
    arguments += ["--count", 1, "--baselines", "max", "--out", tmp_path / "out"]
    assert score_hard_cases.main([str(argument) for argument in arguments]) == 0
    out = capsys.readouterr().out
    assert "n = 1 night scenes, 1 pairs with glare" in out and "\n| mine | " in out and "\n| max | " in out
    assert "\n| infrared alone | 1.000 | 1.000 |" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["glare_1.png", "night_00.png"]
    assert score_hard_cases.main(["--weights", str(tmp_path / "absent.safetensors")]) == 1
    assert "absent.safetensors" in capsys.readouterr().err


def test_fewer_pairs_are_spread_over_all(tmp_path, monkeypatch):
    monkeypatch.setattr(score_hard_cases, "night_scene", lambda rng: None)  # they are not looked at here
    root = write_ivf(tmp_path, stems=tuple("12345"), size=(16, 16))
    pairs = ["--infrared", str(root / "IVF/infrared"), "--visible", str(root / "IVF/visible")]
    names = [name for name, _ in score_hard_cases.cases(score_hard_cases.parse_args([*pairs, "--count", "3"]))]
    assert names[3:] == ["glare_1", "glare_2", "glare_4"]
