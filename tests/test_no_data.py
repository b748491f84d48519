"""Regions without data and sources without content: the other sources are shown, without ring or seam."""

import cv2
import numpy as np
import pytest

from adasffuse.images.color import luminance
from adasffuse.images.content import choose_sources, measure_content
from adasffuse.images.masks import dilate
from adasffuse.images.missing import _convex_hull, fill_holes, thermal_border_mask
from adasffuse.images.no_data import blend_empty, complete, fill_missing
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image

RNG = np.random.default_rng(0)


def scene(height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    """Smooth, (H, W) float32 in 0.2..0.8."""
    noise = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 12)
    return (0.2 + 0.6 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def warped(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image turned by 8 degrees about its centre, black outside, and where it really shows something."""
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 8, 0.95)
    return tuple(cv2.warpAffine(x, turn, (width, height)) for x in (image, np.ones_like(image)))


# ---- Border of a thermal image


def test_a_mask_grows_to_a_square_or_a_disc():
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    square, disc = dilate(mask, 2), dilate(mask, 2, disc=True)
    assert np.array_equal(np.argwhere(square).min(axis=0), [2, 2]) and square.sum() == 5 * 5
    assert disc[4, 2:7].all() and not disc[2, 2] and not (disc & ~square).any()
    assert np.array_equal(dilate(mask, 0), mask)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_black_border_of_a_warp_is_found(dtype):
    image, inside = warped(scene())
    values = (image * (1 if dtype == np.float32 else np.iinfo(dtype).max)).astype(dtype)
    assert np.array_equal(thermal_border_mask(values), values == 0)
    assert np.array_equal(thermal_border_mask(values)[inside == 0], np.ones((inside == 0).sum(), bool))


@pytest.mark.parametrize("seed", range(5))
def test_the_convex_hull_is_that_of_all_points_by_opencv(seed):
    inside = (scene(60, 80, seed) > 0.5).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
    points = cv2.findNonZero((labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8))
    expected = cv2.fillConvexPoly(np.zeros_like(inside), cv2.convexHull(points), 1)
    assert np.array_equal(_convex_hull(inside == 1), expected == 1)


def test_a_clipped_sky_is_data():
    rows = np.arange(120, dtype=np.float32)[:, None]
    sky = (rows - 50).clip(0) * 2 + RNG.normal(0, 0.7, (120, 160))  # rises slowly from zero
    assert not thermal_border_mask(sky.clip(0, 255).astype(np.uint8)).any()


def test_a_sky_between_buildings_is_data():
    values = np.full((100, 120), 90, np.uint8)
    values[:60, 30:80] = 0  # ends abruptly, but other things surround it
    assert not thermal_border_mask(values).any()


def test_dark_objects_and_dead_pixels_are_data():
    values = np.full((100, 100), 90, np.uint8)
    values[40:70, 40:70] = 0  # not joined to the border
    values[0:5, 0:5] = 0  # joined, but small
    assert not thermal_border_mask(values).any()


def test_a_border_of_a_jpeg_file_is_no_data():
    values, inside = warped(scene(240, 320, seed=2) * 255)
    _, file = cv2.imencode(".jpg", values.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 75])
    decoded = cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)
    black = cv2.erode((inside == 0).astype(np.uint8), np.ones((5, 5))) > 0
    noise = black & (decoded > 0) & (decoded <= 3)
    mask = thermal_border_mask(decoded)
    assert noise.sum() > 200 and mask[noise].mean() > 0.7
    assert not mask[inside == 1].any()


def test_a_dark_scene_with_noise_is_data():
    noise = np.random.default_rng(3).integers(0, 4, (120, 160)).astype(np.uint8)  # 0 to 3 everywhere
    noise[60:, 40:] += 90
    assert not thermal_border_mask(noise).any()


def test_a_clipped_sky_is_data_in_colour_files_too(tmp_path):
    rows = np.arange(120, dtype=np.float32)[:, None]
    sky = ((rows - 50).clip(0) * 2 + RNG.normal(0, 0.7, (120, 160))).clip(0, 255).astype(np.uint8)
    write_image(tmp_path / "gray.png", sky)
    cv2.imwrite(str(tmp_path / "three.png"), cv2.merge([sky] * 3))
    for name in ("gray.png", "three.png"):
        assert read_image(tmp_path / name, thermal=True).valid is None


def test_images_without_border():
    assert not thermal_border_mask(np.zeros((20, 30), np.uint8)).any()
    assert not thermal_border_mask(np.full((20, 30), 7, np.uint8)).any()
    values = np.full((20, 30), np.nan, np.float32)
    values[:5] = 0
    assert thermal_border_mask(values)[:5].all()


# ---- Filling


def test_a_warped_source_shows_the_other_without_ring_or_seam():
    other = scene(seed=1)
    thermal, inside = warped(scene(seed=2))
    (filled, same), anywhere = fill_missing([thermal, other], [inside > 0, None])
    assert same is other and anywhere is None and filled.dtype == np.float32
    assert np.array_equal(filled[inside == 0], other[inside == 0])
    bounds = np.minimum(scene(seed=2).min(), other), np.maximum(scene(seed=2).max(), other)
    assert (filled >= bounds[0] - 1e-5).all()  # no dark ring: the warp's half-dark rim is gone
    steps = [np.abs(np.diff(x, axis=axis)).max() for x in (filled, other) for axis in (0, 1)]
    assert max(steps[:2]) < max(steps[2:]) + 1.5 * 0.6 / 16 + 0.01  # no seam: the slope of the fade, not a step
    far = cv2.erode((inside > 0).astype(np.uint8), np.ones((41, 41)), borderValue=1).astype(bool)
    assert np.array_equal(filled[far], thermal[far])


def test_where_no_source_holds_data():
    a, b = np.full((40, 60), 0.3, np.float32), np.full((40, 60), 0.7, np.float32)
    valid_a, valid_b = np.ones((2, 40, 60), bool)
    valid_a[:, 30:], valid_b[:10] = False, False
    (filled_a, filled_b), anywhere = fill_missing([a, b], [valid_a, valid_b])
    assert np.array_equal(anywhere, valid_a | valid_b)
    assert not filled_a[~anywhere].any() and not filled_b[~anywhere].any()
    assert filled_a[~valid_a & valid_b] == pytest.approx(0.7) and filled_b[valid_a & ~valid_b] == pytest.approx(0.3)
    assert filled_a[:9, :29] == pytest.approx(0.3)  # kept up to its border: the other has nothing there


def test_an_outline_that_sources_share_is_no_edge():
    a, b = scene(seed=1), scene(seed=2)
    valid = np.ones((120, 160), bool)
    valid[:50, :40] = valid[90:] = False
    cut = [np.where(valid, one, np.float32(0)) for one in (a, b)]
    sources, anywhere, gaps = complete(cut, [valid, valid.copy()])
    assert np.array_equal(anywhere, valid) and gaps == [None, None]  # neither fades into the other
    for source, whole in zip(sources, (a, b)):
        assert np.array_equal(source[valid], whole[valid])
        assert source[10, 1:40] == pytest.approx(whole[10, 40])
        assert source[110] == pytest.approx(whole[89], abs=0.02)
    filled, _ = fill_missing(cut, [valid, valid.copy()])
    assert np.array_equal(filled, cut)


def test_three_sources_share_the_gap():
    sources = [np.full((40, 60), level, np.float32) for level in (0.1, 0.4, 0.8)]
    valids = [np.ones((40, 60), bool), None, np.ones((40, 60), bool)]
    valids[0][:, 40:] = False
    filled, anywhere = fill_missing(sources, valids)
    assert anywhere is None and filled[0][:, 40:] == pytest.approx(0.6) and filled[0][:, :20] == pytest.approx(0.1)
    valids[2][:, 30:] = False
    filled, _ = fill_missing(sources, valids)
    assert filled[0][:, 50:] == pytest.approx(0.4) and np.abs(np.diff(filled[0], axis=1)).max() < 0.05


def test_a_dead_pixel_leaves_its_surroundings_alone():
    valid = np.ones((41, 41), bool)
    valid[20, 20] = False
    (filled, _), _ = fill_missing([np.full((41, 41), 0.2, np.float32), np.ones((41, 41), np.float32)], [valid, None])
    assert filled[20, 20] == 1 and (filled == np.float32(0.2)).sum() > 41 * 41 - 40


def test_colour_and_gray_sources_fill_each_other():
    color = np.tile(np.float32([0.9, 0.3, 0.1]), (20, 20, 1))
    gray = np.full((20, 20), 0.5, np.float32)
    half = np.ones((20, 20), bool)
    half[:, 10:] = False
    (filled, _), _ = fill_missing([gray, color], [half, None], feather=4)
    assert filled.shape == (20, 20) and filled[:, 10:] == pytest.approx(luminance(color)[0, 0])
    (filled, _), _ = fill_missing([color, gray], [half, None], feather=4)
    assert filled.shape == (20, 20, 3) and filled[:, 10:] == pytest.approx(0.5)


def test_nothing_is_done_where_nothing_is_missing():
    sources = [scene(), scene(seed=1)]
    filled, anywhere = fill_missing(sources, [None, np.ones((120, 160), bool)])
    assert all(new is old for new, old in zip(filled, sources)) and anywhere is None


def test_wrong_arguments():
    image = np.zeros((4, 5), np.float32)
    with pytest.raises(ValueError, match=r"one mask \(or None\) per source, got 1 for 2"):
        fill_missing([image, image], [None])
    with pytest.raises(ValueError, match="one height and width"):
        fill_missing([image, image], [None, np.ones((5, 4), bool)])


# ---- Gaps


def test_a_source_is_continued_beside_the_others_without_an_edge():
    other = scene(seed=1)
    valid = np.ones(other.shape, bool)
    valid[:, 100:] = False
    gap, none = complete([np.where(valid, other - np.float32(0.15), 0), other], [valid, None])[2]
    assert none is None and gap.known is None and gap.others is None  # both are what the other source says
    assert gap.extended == pytest.approx(other - 0.15, abs=1e-6)  # its own values, and those of the others less 0.15
    assert gap.share[:, 98:].max() < 1e-5 and not gap.share[:, 100:].any() and (gap.share[:, :80] == 1).all()
    assert (np.diff(gap.share, axis=1) <= 0).all()


def test_a_source_equal_to_the_other_is_continued_as_that():
    image = scene()
    valid = np.ones(image.shape, bool)
    valid[30:70, 50:] = valid[5, 5] = False
    gap = complete([np.where(valid, image, 0), image], [valid, None])[2][0]
    assert np.array_equal(gap.extended, image)


def test_a_source_without_any_data_or_content_is_continued_as_the_others():
    image, nothing = scene(), np.zeros((120, 160), bool)
    gap = complete([np.zeros_like(image), image], [nothing, None])[2][0]
    assert np.array_equal(gap.extended, image) and not gap.share.any()
    half = ~nothing
    half[:60] = False
    gap = complete([np.where(half, np.float32(0.7), 0), image], [half, None])[2][0]
    assert gap.extended == pytest.approx(image)


def test_a_source_keeps_its_whole_share_where_the_others_have_nothing():
    image, valid = scene(), np.ones((2, 120, 160), bool)
    valid[0, :, 100:] = valid[1, :, :90] = False
    gap_a, gap_b = complete([image, image[::-1]], list(valid))[2]
    assert (gap_a.share[:, :90] == 1).all() and (gap_b.share[:, 100:] == 1).all()
    assert not gap_a.share[:, 100:].any() and not gap_b.share[:, :90].any()
    assert complete([image, image], [None, np.ones((120, 160), bool)])[2] == [None, None]


def half_known(height=96, width=320, edge=80):
    """The gap of a source that holds data from a column on, beside one that holds data everywhere."""
    valid = np.ones((height, width), bool)
    valid[:, :edge] = False
    other = np.full(valid.shape, 0.6, np.float32)
    return complete([np.where(valid, other - np.float32(0.1), 0), other], [valid, None])[2][0], other


def test_brightness_fades_in_over_a_sixteenth_of_the_width():
    gap, shown = half_known()
    faded = gap.fade(shown - np.float32(0.12), shown)
    assert faded[:, :80] == pytest.approx(0.6) and faded[:, 110:] == pytest.approx(0.48, abs=1e-6)
    assert np.diff(faded, axis=1).max() < 1e-6  # falls only
    assert np.abs(np.diff(faded, axis=1)).max() < 1.6 * 0.12 / 20  # by a smooth step of 20 pixels; it was 16


def test_a_hot_target_beside_a_gap_stays_and_makes_no_halo():
    gap, shown = half_known()
    fused = shown.copy()
    fused[40:60, 96:102] += 0.3
    faded = gap.fade(fused.copy(), shown)
    assert (faded >= shown - 1e-6).all() and (faded <= fused + 1e-6).all()  # between both: no dark surroundings
    assert faded[40:60, 98:102].min() > 0.6 + 0.2


def test_brightness_stays_where_the_others_hold_nothing():
    image, valid = scene(), np.ones((2, 120, 160), bool)
    valid[0, :, 100:] = valid[1, :, :90] = False
    gap = complete([image, image[::-1]], list(valid))[2][0]
    faded = gap.fade(image.copy(), image[::-1])
    assert faded[:, :90] == pytest.approx(image[:, :90], abs=1e-6)


# ---- Content


@pytest.mark.parametrize("level", [0, 0.5, 224 / 255, 1])
@pytest.mark.parametrize("sigma", [0, 2])
def test_flat_frames_have_no_content(level, sigma):
    frame = level + RNG.normal(0, sigma / 255, (1024, 1280)).astype(np.float32)
    assert measure_content(frame.clip(0, 1).astype(np.float32)) < 0.01


@pytest.mark.parametrize("place", [(40, 60), (43, 61), (0, 0), (95, 123)])
def test_a_small_hot_target_is_content(place):
    frame = 0.4 + RNG.normal(0, 1 / 255, (100, 128)).astype(np.float32)
    frame[place[0] : place[0] + 5, place[1] : place[1] + 5] += 60 / 255
    assert measure_content(frame.astype(np.float32)) == 1


def test_content_grows_smoothly_between_two_ranges():
    ramp = [
        measure_content(np.repeat(np.float32([[0.5] * 32, [0.5 + step / 255] * 32]), 16, axis=0)) for step in range(7)
    ]
    assert ramp[:3] == [0, 0, 0] and 0 < ramp[3] < ramp[4] < 1 and ramp[5:] == pytest.approx([1, 1], abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (7, 7, 3)])
def test_content_of_small_images(shape):
    assert measure_content(np.full(shape, 0.5, np.float32)) == 0
    assert shape == (1, 1) or measure_content(np.linspace(0, 1, np.prod(shape), dtype=np.float32).reshape(shape)) > 0


def test_content_is_judged_on_valid_pixels():
    frame = np.full((64, 64), 0.5, np.float32)
    frame[:, 40:] = 0
    valid = frame > 0
    assert measure_content(frame) == 1 and measure_content(frame, valid) == 0
    assert measure_content(frame, np.zeros_like(valid)) == 0


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8, 0.95])
def test_content_is_judged_on_what_holds_data_where_pixels_are_missing_everywhere(share):
    rng = np.random.default_rng(1)
    valid = rng.random((120, 160)) >= share
    noisy = (0.5 + rng.normal(0, 2 / 255, valid.shape)).astype(np.float32)
    assert measure_content(np.where(valid, scene(), np.float32(0)), valid) == 1
    assert measure_content(np.where(valid, noisy, np.float32(0)), valid) < 0.01


def test_empty_sources_become_the_others():
    image, flat = scene(), np.full((120, 160), 0.9, np.float32)
    assert np.array_equal(blend_empty([flat, image])[0], image)
    assert np.array_equal(blend_empty([image, flat])[1], image)
    assert blend_empty([image, flat])[0] is image
    both = [flat, flat * np.float32(0.5)]
    assert all(new is old for new, old in zip(blend_empty(both), both))  # all empty
    several = [flat, image, scene(seed=3)]
    assert all(new is old for new, old in zip(blend_empty(several), several))


def test_of_more_than_two_sources_those_with_content_are_fused():
    assert choose_sources([0, 1, 0.5, 0, 1]) == [1, 2, 4]
    assert choose_sources([0, 0, 0.1]) == [0, 2] and choose_sources([1, 0, 0]) == [
        0,
        1,
    ]  # a pair, whose flat one becomes the other
    assert choose_sources([0, 1]) == choose_sources([0, 0]) == choose_sources([1, 1]) == [0, 1]
    assert choose_sources([0, 0, 0]) == [0, 1, 2]


def test_a_weak_source_is_blended():
    weak = np.full((32, 32), 0.5, np.float32)
    weak[16:] += 3.75 / 255  # half way between no content and content
    blended = blend_empty([weak, scene(32, 32)])[0]
    assert blended == pytest.approx((weak + scene(32, 32)) / 2, abs=0.01)


def test_a_flat_frame_with_a_black_border_is_replaced_as_a_whole():
    flat, image = np.full((120, 160), 0.6, np.float32), scene()
    flat[:, :30] = 0
    sources, anywhere, _ = complete([flat, image], [flat > 0, None])
    assert sources[0] == pytest.approx(image, abs=1e-6) and anywhere is None


def test_dead_pixels_and_lines_take_the_values_of_their_neighbours():
    y, x = np.indices((40, 50), dtype=np.float32)
    image = (2 * x + 3 * y) / 300
    valid = np.ones(image.shape, bool)
    valid[10, 10] = valid[20, 5] = valid[:, 30] = False
    valid[25:28, 12:15] = valid[28, 15] = False  # a hole, and a pixel that touches it
    valid[:30, 0] = valid[:9, 1] = False  # along a border, as a warp leaves it
    broken = np.where(valid, image, np.float32(np.nan))
    mended, known = fill_holes(broken, valid, ~valid)
    hole = np.zeros(image.shape, bool)
    hole[25:28, 12:15] = hole[28, 15] = hole[:30, 0] = hole[:9, 1] = True
    assert np.array_equal(known, ~hole) and not mended[hole].any()
    assert np.array_equal(mended[valid], image[valid])
    assert np.array_equal(fill_holes(broken, valid, np.zeros_like(valid))[1], valid)  # none that may be filled
    assert mended[10, 10] == pytest.approx(image[10, 10], abs=1e-6)
    assert np.abs(mended - image)[3:-3, 30].max() < 1e-5
    color, _ = fill_holes(np.dstack([broken, 2 * broken, broken]), valid, ~valid)
    assert np.array_equal(color[..., 0], mended) and np.allclose(color[..., 1], 2 * mended)


def test_a_fifth_of_all_pixels_scattered_without_data_hardly_matters():
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.random((60, 80), dtype=np.float32), (0, 0), 3)
    image = (image - image.min()) / np.ptp(image)
    valid = rng.random(image.shape) > 0.2
    mended, known = fill_holes(image, valid, ~valid)
    assert known.mean() > 0.98 and np.abs(mended - image)[known].mean() < 0.01
