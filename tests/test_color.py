"""Colour of the fused image: luminance exact, hue of the right source."""

import cv2
import numpy as np
import pytest

from adasffuse.images.color import (
    COLOR_RULES,
    ChromaMean,
    activity_chroma,
    fit_gamut,
    in_one_cold_hue,
    keep_hot_spots,
    luminance,
    make_room,
    rebuild_color,
    rgb_to_ycbcr,
    ycbcr_to_rgb,
)
from adasffuse.images.levels import joined_rows
from adasffuse.images.write import quantise

RNG = np.random.default_rng(0)
RGB = RNG.random((40, 30, 3), dtype=np.float32)
OTHER = RNG.random((40, 30, 3), dtype=np.float32)
LUMA = RNG.random((40, 30), dtype=np.float32)


def constant(y: float, cb: float, cr: float) -> np.ndarray:
    """(5, 4, 3) RGB of one colour."""
    return np.tile(ycbcr_to_rgb(*(np.float32([[x]]) for x in (y, cb, cr))), (5, 4, 1))


def test_luminance_weights_and_range():
    primaries = np.eye(3, dtype=np.float32)[None]
    assert luminance(primaries)[0] == pytest.approx([0.299, 0.587, 0.114], abs=1e-6)
    assert luminance(np.ones((2, 2, 3), np.float32)).max() <= 1
    assert luminance(LUMA) is LUMA


def test_ycbcr_of_the_primaries():
    _, cb, cr = rgb_to_ycbcr(np.eye(3, dtype=np.float32)[None])
    assert cb[0] == pytest.approx([-0.168736, -0.331264, 0.5], abs=1e-6)  # JFIF 1.02
    assert cr[0] == pytest.approx([0.5, -0.418688, -0.081312], abs=1e-6)


def test_ycbcr_agrees_with_opencv_and_inverts():
    y, cb, cr = rgb_to_ycbcr(RGB)
    assert np.allclose(ycbcr_to_rgb(y, cb, cr), RGB, atol=2e-6)
    reference = cv2.cvtColor(RGB, cv2.COLOR_RGB2YCrCb)  # Y, Cr, Cb around 0.5; its factors have three digits
    assert np.allclose(np.dstack([y, cr + 0.5, cb + 0.5]), reference, atol=1e-3)


def test_own_luminance_gives_the_image_back():
    levels = np.rint(20 + RGB * 215).astype(np.uint8)  # away from the border of the gamut
    image = levels.astype(np.float32) / 255
    back = rebuild_color(luminance(image), (image, LUMA), "a")
    assert np.abs(quantise(back, "8").astype(int) - levels).max() <= 1  # luminance was rounded on the way


@pytest.mark.parametrize("rule", COLOR_RULES)
@pytest.mark.parametrize(("depth", "white"), [("8", 255), ("16", 65535)])
def test_rounded_luminance_survives(rule, depth, white):
    fused = rebuild_color(LUMA, (RGB, OTHER), rule, depth)
    assert fused.shape == (40, 30, 3) and fused.dtype == np.float32
    saved = quantise(fused, depth).astype(np.float64) / white
    levels = np.rint(saved @ [0.299, 0.587, 0.114] * white)
    expected = LUMA
    if rule == "exposed":
        chroma = ChromaMean(rule)
        chroma.add(RGB, LUMA)
        chroma.add(OTHER, LUMA)
        expected = make_room(LUMA, *chroma.result())
    assert np.abs(levels - np.rint(expected * white)).max() == 0


def test_luminance_of_floating_point_results_is_not_rounded():
    fused = rebuild_color(LUMA, (RGB, OTHER), "nearest", "float")
    assert luminance(fused) == pytest.approx(LUMA, abs=1e-6)


@pytest.mark.parametrize("rule", COLOR_RULES)
@pytest.mark.parametrize("levels", [range(0, 256, 15), range(16), range(240, 256)], ids=["all", "dark", "bright"])
def test_a_coloured_image_and_its_own_luminance_give_that_image(levels, rule):
    """Within a level, also where a channel lies at the border of the gamut; the rounded Y of the file is kept."""
    pixels = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(len(levels), -1, 3)
    image = (pixels / 255).astype(np.float32)
    fused = quantise(rebuild_color(luminance(image), (image, image), rule), "8")
    assert abs(fused.astype(int) - pixels).max() <= 1
    y, expected = (np.rint(luminance((x / 255).astype(np.float32)) * 255) for x in (fused, pixels))
    assert (y == expected).mean() > 0.999 and abs(y - expected).max() <= 1


@pytest.mark.parametrize("rule", ["exposed", "nearest"])
def test_many_sources(rule):
    """Any number in any order; one that is gray adds nothing, one that is given twice counts twice."""
    sources = [RGB, OTHER, LUMA, RGB[::-1].copy(), OTHER[:, ::-1].copy()]
    fused = rebuild_color(LUMA, sources, rule, "float")
    assert fused == pytest.approx(rebuild_color(LUMA, sources[::-1], rule, "float"), abs=1e-5)
    assert np.array_equal(fused, rebuild_color(LUMA, [s for s in sources if s.ndim == 3], rule, "float"))
    assert fused == pytest.approx(rebuild_color(LUMA, sources * 2, rule, "float"), abs=1e-5)


@pytest.mark.parametrize(("rule", "number"), [("a", 0), ("b", 1)])
def test_colour_of_one_source(rule, number):
    sources = [0.4 + 0.6 * RGB, 0.4 + 0.6 * OTHER]
    _, cb, cr = rgb_to_ycbcr(sources[number])
    expected = ycbcr_to_rgb(LUMA, *fit_gamut(LUMA, cb, cr))
    assert rebuild_color(LUMA, sources, rule, "float") == pytest.approx(expected, abs=1e-5)


def test_gamut_keeps_luminance_and_hue():
    y, cb, cr = np.float32([[0.95]]), np.float32([[0.1]]), np.float32([[-0.2]])
    cb2, cr2 = fit_gamut(y, cb, cr)
    rgb = ycbcr_to_rgb(y, cb2, cr2)
    assert rgb.min() >= 0 and rgb.max() == pytest.approx(1)  # just fits
    assert luminance(rgb)[0, 0] == pytest.approx(0.95, abs=1e-6)
    assert cb2 / cr2 == pytest.approx(cb / cr) and np.hypot(cb2, cr2) < np.hypot(cb, cr)


def test_colour_inside_the_gamut_is_left_alone():
    y, cb, cr = rgb_to_ycbcr(0.3 + 0.4 * RGB)
    assert all(np.array_equal(old, new) for old, new in zip((cb, cr), fit_gamut(y, cb, cr)))


def test_black_and_white_hold_no_colour():
    fused = rebuild_color(np.float32([[0, 1]]), [RGB[:1, :2]] * 2, "a")
    assert fused.tolist() == [[[0, 0, 0], [1, 1, 1]]]


def test_nearest_chroma_weighs_by_the_distance_to_the_fused_luminance():
    """By hand: constant images whose luminance is 1 and 3 levels off count 1 / (1 + 1)^2 and 1 / (9 + 1)^2."""
    points = np.array([[0.1, 0.0], [0.0, 0.05]], np.float32)
    sources = [constant(0.5 + off / 255, *point) for off, point in zip((1, 3), points)]
    fused = rebuild_color(np.full((5, 4), 0.5, np.float32), sources, "nearest", "float")
    weights = np.array([1 / 4, 1 / 100])
    for k, plane in enumerate(rgb_to_ycbcr(fused)[1:]):
        assert plane == pytest.approx((weights * points[:, k]).sum() / weights.sum(), abs=1e-4)


def test_nearest_chroma_looks_at_a_pixel_and_those_beside_it():
    far = np.concatenate([RGB[:20], OTHER[20:]])  # the upper half is equal, so there the weights do not matter
    luma = luminance(RGB)
    expected = rebuild_color(luma, (RGB, RGB), "a", "float")
    fused = rebuild_color(luma, (RGB, far), "nearest", "float")
    assert fused[:20] == pytest.approx(expected[:20], abs=1e-5)
    assert 0 < np.abs(fused - expected)[20:].mean() < 0.02 * np.abs(far - RGB)[20:].mean()


def test_exposed_chroma_grows_with_luminance():
    """By hand: Y 0.25 and 0.5, fused 0.4; chroma times (0.4 / Y)^0.75, weights 1 / ((0.4 - Y)^2 + (20 / 255)^2)."""
    sources = [constant(0.25, 0.04, 0.0), constant(0.5, 0.06, 0.0)]
    fused = rebuild_color(np.full((5, 4), 0.4, np.float32), sources, "exposed", "float")
    weights = [1 / (0.15**2 + (20 / 255) ** 2), 1 / (0.1**2 + (20 / 255) ** 2)]
    chroma = [0.04 * 1.6**0.75, 0.06 * 0.8**0.75]
    expected = (weights[0] * chroma[0] + weights[1] * chroma[1]) / sum(weights)
    assert rgb_to_ycbcr(fused)[1] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ([255, 255, 252], 0.04 + (1 - 252 / 255) / 0.9),  # white
        ([255, 240, 120], 0.04 + ((1 - 240 / 255) / 0.3 + 1) / 3),  # red clipped, green nearly, blue not
        ([2, 1, 3], 0.04),  # nearly black
    ],
)
def test_exposures_that_do_not_tell_the_colour_hardly_count(levels, told):
    """Of 1.04, which all good channels tell, over the squared distance to the fused luminance."""
    bad = np.full((5, 4, 3), levels, np.float32) / 255
    fused = np.full((5, 4), 0.5, np.float32)
    good = constant(0.3, -0.05, 0.0)
    distances = [(0.5 - float(luminance(image)[0, 0])) ** 2 + (20 / 255) ** 2 for image in (good, bad)]
    weights = [1.04 / distances[0], told / distances[1]]
    grown = [(0.5 / max(float(luminance(image)[0, 0]), 0.02)) ** 0.75 for image in (good, bad)]
    for k, plane in enumerate(rgb_to_ycbcr(rebuild_color(fused, [good, bad], "exposed", "float"))[1:]):
        own = [rgb_to_ycbcr(image)[1 + k][0, 0] for image in (good, bad)]
        expected = sum(w * g * c for w, g, c in zip(weights, grown, own)) / sum(weights)
        assert plane == pytest.approx(expected, abs=1e-4)


def test_a_colour_near_white_shares_the_change_between_luminance_and_chroma():
    """By hand: a highest channel 0.15 above Y 1 leaves Y 1 - 0.3 * 0.15 / 0.45 = 0.9, and 2/3 of the chroma."""
    cb, cr = -0.4, 0.15 / 1.402
    y = make_room(*(np.float32([[x]]) for x in (1.0, cb, cr)))
    assert y == pytest.approx(0.9, abs=1e-6)
    assert fit_gamut(y, np.float32([[cb]]), np.float32([[cr]]))[1] == pytest.approx(cr * 2 / 3, abs=1e-6)


def test_luminance_makes_room_for_colours_beyond_the_gamut_only_and_keeps_its_order():
    luma = np.linspace(0, 1, 256, dtype=np.float32)[None]
    for cb, cr in ((0.0, 0.0), (-0.4, 0.1), (0.4, -0.1), (-0.1, 0.4)):
        chroma = np.full_like(luma, cb), np.full_like(luma, cr)
        made = make_room(luma, *chroma)
        inside = (ycbcr_to_rgb(luma, *chroma).max(axis=2) <= 1) | (luma <= 0.7)
        assert np.array_equal(made[inside], luma[inside])
        assert (made <= luma).all() and made.min() >= 0 and (np.diff(made) > 0).all()


def test_a_bright_yellow_stays_yellow_beside_a_white_exposure():
    """A patch of (254, 232, 58) that the other exposure shows white, at a fused luminance near white: it was white."""
    dark, bright = (np.full((5, 4, 3), levels, np.float32) / 255 for levels in ((254, 232, 58), (255, 255, 254)))
    fused = quantise(rebuild_color(np.full((5, 4), 0.99, np.float32), [dark, bright], "exposed"), "8")[0, 0].astype(int)
    assert fused[0] >= 254 and fused[1] >= 225 and fused[2] < 140
    _, cb, cr = rgb_to_ycbcr(dark)
    told = rgb_to_ycbcr(fused[None, None].astype(np.float32) / 255)[1:]
    assert told[1][0, 0] / told[0][0, 0] == pytest.approx(cr[0, 0] / cb[0, 0], abs=0.02)  # the hue


@pytest.mark.parametrize("rule", ["exposed", "nearest"])
def test_mixed_chroma_does_not_depend_on_order(rule):
    assert np.array_equal(rebuild_color(LUMA, (RGB, OTHER), rule), rebuild_color(LUMA, (OTHER, RGB), rule))


def test_gray_where_the_rule_finds_no_chroma():
    assert rebuild_color(LUMA, (LUMA, RGB), "a").shape == (40, 30)
    assert rebuild_color(LUMA, (LUMA, np.dstack([LUMA] * 3)), "nearest").shape == (40, 30)
    assert rebuild_color(LUMA, (LUMA, RGB), "exposed").shape == (40, 30, 3)


def test_luminance_is_clamped_and_rounded():
    fused = rebuild_color(np.float32([[-1, 0.5, 2]]), np.zeros((2, 1, 3), np.float32), "a")
    assert fused.tolist() == [[0, np.float32(128 / 255), 1]]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="one of a, b, exposed, nearest, got 'c'"):
        rebuild_color(LUMA, (RGB, RGB), "c")
    with pytest.raises(ValueError, match=r"one height and width, got \(40, 30\), \(40, 30\), \(39, 30\)"):
        rebuild_color(LUMA, (RGB, RGB[1:]), "a")
    with pytest.raises(ValueError, match="two or more sources, got 1"):
        rebuild_color(LUMA, [RGB], "a")
    with pytest.raises(ValueError, match="depth must be '8', '16' or 'float', got '12'"):
        rebuild_color(LUMA, (RGB, RGB), "a", "12")


def rgb(*levels: int) -> np.ndarray:
    """One pixel, (1, 1, 3) in [0, 1]."""
    return np.array(levels, np.float32).reshape(1, 1, 3) / 255


@pytest.mark.parametrize(
    "levels", [(0, 0, 255), (0, 110, 230), (120, 25, 130), (102, 0, 102), (120, 0, 200), (0, 190, 120)]
)
def test_cold_colours_take_any_luminance(levels):
    luma = np.linspace(0, 1, 11, dtype=np.float32)[None]
    assert np.array_equal(keep_hot_spots(luma, rgb(*levels).repeat(11, axis=1)), luma)


@pytest.mark.parametrize("levels", [(240, 50, 0), (255, 0, 255)])
def test_red_and_magenta_keep_their_colour_whatever_the_tissue(levels):
    luma = np.array([[0, 0.4, 1]], np.float32)
    hot = rgb(*levels).repeat(3, axis=1)
    own = luminance(hot)[0, 0]
    limited = keep_hot_spots(luma, hot)
    cb, cr = rgb_to_ycbcr(hot)[1:]
    kept = np.hypot(*fit_gamut(limited, cb, cr)) / np.hypot(cb, cr)
    assert kept.min() > 0.4 and np.hypot(*fit_gamut(luma, cb, cr))[0, 2] == 0  # nothing would have been left
    assert np.all(np.diff(limited) > 0.05)  # the tissue's structure stays
    assert keep_hot_spots(np.full((1, 3), own), hot) == pytest.approx(own)  # its own luminance stays


def test_white_keeps_its_brightness_whatever_the_tissue():
    luma = np.array([[0, 0.4, 1]], np.float32)
    assert keep_hot_spots(luma, np.ones((1, 3, 3), np.float32)).min() == pytest.approx(0.95 * 0.85)


PALETTES = {  # from no activity to the most
    "SPECT": "000000 1c3132 274246 46008c 963282 c85d65 f06c1e ff7300 ff9c64 ffb5a0 ffccd6 ffffff",
    "PET": "000000 000080 2864dc 66908b ffff00 ff8c00 ff0000",
    "hot": "0a0000 ff0000 ffff00 ffffff",
    "inferno": "000004 1f0c48 550f6d 88226a ba3655 e35933 f98c0a f9c932 fcffa4",
}


def phantom(palette: str) -> np.ndarray:
    """A ramp of activity in a palette, (1, 400, 3) in [0, 1]."""
    colors = np.array([[int(color[k : k + 2], 16) for k in (0, 2, 4)] for color in PALETTES[palette].split()])
    steps = np.linspace(0, len(colors) - 1, 400)
    ramp = np.stack([np.interp(steps, range(len(colors)), colors[:, k]) for k in range(3)], axis=1)
    return ramp[None].astype(np.float32) / 255


@pytest.mark.parametrize("tissue", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("palette", PALETTES)
def test_brighter_warm_colours_stay_the_brighter_ones(palette, tissue):
    """Over tissue that is no brighter than they are: pale orange was darker than the orange around it."""
    functional = phantom(palette)
    luma = np.full((1, 400), tissue, np.float32)
    fused = luminance(rebuild_color(keep_hot_spots(luma, functional), (functional, luma), "a", "float"))[0]
    own, cb, cr = (plane[0] for plane in rgb_to_ycbcr(functional))
    rises = (np.diff(own) > 0) & ((cr - cb.clip(0, 0.2))[1:] > 0.08)
    assert rises.any() and np.diff(fused)[rises].min() > -1e-3


def test_pale_orange_keeps_its_brightness_over_dark_tissue():
    """By hand: 0.95 of Y = 0.299 + (0.587 * 172 + 0.114 * 137) / 255, less 0.15 of what lies below."""
    least = 0.95 * (0.299 + (0.587 * 172 + 0.114 * 137) / 255)
    kept = keep_hot_spots(np.array([[0.4]], np.float32), rgb(255, 172, 137))
    assert kept == pytest.approx(least + 0.15 * (0.4 - least), abs=1e-5)


def test_nearly_black_activity_does_not_tint_bright_tissue():
    """By hand: Y of 15 levels of blue is 0.0067, so on tissue of 0.8 the factor is 0.0267 / 0.8; from 0.35 on, 1."""
    for level, tissue, factor in ((15, 0.8, 0.0267 / 0.8), (15, 0.0067, 1), (15, 0, 1), (90, 0.8, 1), (90, 0, 1)):
        blue = rgb(0, 0, level)
        chroma = activity_chroma(np.array([[tissue]], np.float32), blue)
        for told, own in zip(chroma, rgb_to_ycbcr(blue)[1:]):
            assert told == pytest.approx(own * factor, rel=1e-2)
    fused = rebuild_color(np.full((1, 2), 0.8, np.float32), (rgb(0, 0, 15).repeat(2, axis=1),) * 2, "a")
    assert np.ptp(fused, axis=2).max() <= 1 / 255  # gray tissue; 15 levels were on it


@pytest.mark.parametrize("tissue", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("hottest", [(0, 0, 255), (255, 0, 0), (140, 150, 160), (128, 0, 128)])
def test_more_activity_gives_more_colour(hottest, tissue):
    functional = np.linspace(0, 1, 256, dtype=np.float32)[None, :, None] * rgb(*hottest)
    chroma = np.hypot(*activity_chroma(np.full((1, 256), tissue, np.float32), functional))
    assert np.diff(chroma).min() > 0


@pytest.mark.parametrize(
    ("hottest", "cold"),
    [((0, 0, 255), True), ((128, 0, 128), True), ((0, 255, 0), True), ((255, 0, 0), False), ((255, 0, 255), False)],
)
def test_shades_of_one_colour_that_is_never_hot(hottest, cold):
    activity = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(16, axis=0)
    image = activity[..., None] * rgb(*hottest)
    assert in_one_cold_hue(image) == in_one_cold_hue(np.rint(image * 255).astype(np.uint8)) == cold
    assert not in_one_cold_hue(activity) and not in_one_cold_hue(activity[..., None].repeat(3, axis=2))
    for other in ((0, 120, 120), (255, 255, 255)):  # two colours, or a white end
        image[:, 48:] = rgb(*other)
        assert not in_one_cold_hue(image)


def test_bright_spots_of_gray_images_keep_their_brightness():
    """White at least 0.95 less what of the tissue stays, gray below 0.6 anything, and its own luminance what it is."""
    luma = np.linspace(0, 1, 11, dtype=np.float32)[None]
    kept = keep_hot_spots(luma, np.ones((1, 11), np.float32))
    np.testing.assert_allclose(kept, np.maximum(luma, 0.95 + 0.15 * (luma - 0.95)), atol=1e-6)
    assert np.array_equal(keep_hot_spots(luma, np.full((1, 11), 0.59, np.float32)), luma)
    np.testing.assert_allclose(keep_hot_spots(luma, luma), luma, atol=1e-7)
    three = np.ones((1, 11, 3), np.float32)
    np.testing.assert_allclose(keep_hot_spots(luma, three), kept, atol=1e-6)


def test_rows_are_joined_as_rgb_where_some_of_them_are():
    gray, colour = np.full((2, 3), 7, np.uint8), np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    joined = joined_rows(iter([gray, colour, gray[:1]]), 4)
    assert joined.shape == (4, 3, 3) and (joined[[0, 1, 3]] == 7).all() and np.array_equal(joined[2], colour[0])
    assert joined_rows(iter([gray, gray[:1]]), 3).shape == (3, 3)
