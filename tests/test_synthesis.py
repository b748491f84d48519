"""Pairs made from one photograph: what is blurred where, and what exposure does."""

import numpy as np
import pytest
from skimage.data import camera

from adasffuse.data.synthesis import blur, defocus_pair, expose, exposure_pair, focus_far, focus_near, jitter

NOISE = np.random.default_rng(0).random((96, 96), dtype=np.float32)


@pytest.mark.parametrize("gaussian", [False, True])
def test_blur_keeps_the_mean_and_has_the_variance_of_a_disc(gaussian):
    point = np.zeros((61, 61), np.float32)
    point[30, 30] = 1
    spread = blur(point, 6.0, gaussian)
    x = np.arange(61) - 30
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert (spread.sum(axis=0) * x**2).sum() == pytest.approx(6.0**2 / 4, rel=0.08)  # r^2 / 4 of a disc


def test_focus_near_and_far_complement_each_other():
    near = np.zeros((96, 96), np.float32)
    near[:, :48] = 1
    a, b = focus_near(NOISE, near, 4), focus_far(NOISE, near, 4)
    assert np.allclose(a[:, :48], NOISE[:, :48]) and np.allclose(b[:, 53:], NOISE[:, 53:], atol=1e-5)
    assert a[:, 53:].std() < 0.3 * NOISE.std() and b[:, :43].std() < 0.3 * NOISE.std()
    assert np.abs(b[:, 48:51] - NOISE[:, 48:51]).mean() > 0.02  # the near layer's blur spreads over the border


def test_colour_is_blurred_like_gray():
    near = (NOISE > 0.5).astype(np.float32)
    color = np.dstack([NOISE] * 3)
    assert np.allclose(focus_far(color, near, 3)[..., 1], focus_far(NOISE, near, 3), atol=1e-6)
    assert np.allclose(focus_near(color, near, 3)[..., 2], focus_near(NOISE, near, 3), atol=1e-6)


def test_defocus_pair_is_sharp_nearly_everywhere_in_one_of_the_two():
    photo = camera()[100:260, 200:360].astype(np.float32) / 255
    shares = []
    for seed in range(40):
        a, b, truth = defocus_pair(photo, np.random.default_rng(seed))
        assert np.array_equal(truth, photo)
        assert a.dtype == b.dtype == np.float32 and a.shape == b.shape == photo.shape
        assert min(a.min(), b.min()) >= -1e-5 and max(a.max(), b.max()) <= 1 + 1e-5
        shares.append((np.minimum(np.abs(a - truth), np.abs(b - truth)) < 0.02).mean())
        assert np.abs(a - truth).max() > 0.1 and np.abs(b - truth).max() > 0.1
    assert np.mean(shares) > 0.9 and min(shares) > 0.7


def test_synthesis_depends_on_the_generator_alone():
    for make in (defocus_pair, exposure_pair):
        first, again, other = (make(NOISE, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert all(np.array_equal(x, y) for x, y in zip(first, again))
        assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (160, 33)])
def test_any_size(shape):
    flat = np.full(shape, 0.5, np.float32)
    for seed in range(8):
        a, b, _ = defocus_pair(flat, np.random.default_rng(seed))
        assert a.shape == b.shape == shape and np.allclose(a, 0.5, atol=1e-5) and np.allclose(b, 0.5, atol=1e-5)
        assert exposure_pair(flat, np.random.default_rng(seed))[0].shape == shape


def test_exposure_by_hand():
    image = np.float32([[0.0, 0.25, 1.0]])
    assert expose(image, 0).tolist() == pytest.approx(np.float32([[0, 64 / 255, 1]]))
    assert expose(image, 2, response=2.0)[0] == pytest.approx(
        [0, 128 / 255, 1]
    )  # four times the light, twice the value
    assert expose(image, -2, response=2.0)[0] == pytest.approx([0, 32 / 255, 128 / 255])


def test_exposure_pair_is_darker_and_brighter():
    for seed in range(10):
        low, over, truth = exposure_pair(NOISE, np.random.default_rng(seed))
        assert low.mean() < truth.mean() < over.mean()
        assert min(low.min(), over.min()) >= 0 and max(low.max(), over.max()) <= 1


@pytest.mark.parametrize("make", [defocus_pair, exposure_pair])
def test_colour_is_refused(make):
    with pytest.raises(ValueError, match=rf"{make.__name__} needs \(H, W\) luminance, got \(4, 4, 3\)"):
        make(np.zeros((4, 4, 3), np.float32), np.random.default_rng(0))


def test_jitter_by_hand():
    class Draws:
        values = iter((0.5, 1.0, -0.2))

        def uniform(self, low, high):
            assert (low, high) == (-1, 1)
            return next(self.values)

    image = np.float32([[0, 0.5, 1, np.nan]])
    (result,) = jitter([image], 1, ("gain", "gamma", "offset"), Draws())
    assert result.dtype == np.float32
    assert result[0].tolist() == pytest.approx([0, 1.5 * 0.25 - 0.1, 1, np.nan], nan_ok=True)  # clipped at both ends


def test_jitter_leaves_what_is_not_allowed():
    black_and_white = np.float32([[0, 1]])
    for seed in range(20):
        (result,) = jitter([black_and_white], 0.5, ("gamma",), np.random.default_rng(seed))
        assert result.tolist() == [[0, 1]]
        assert jitter([NOISE], 0.5, (), np.random.default_rng(seed))[0] == pytest.approx(NOISE)
