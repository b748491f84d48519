"""Noise of a camera: how strong it is, and what is left of it and of the image."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import score_noise

from adasffuse import load_fuser
from adasffuse.images import levels
from adasffuse.images.color import luminance
from adasffuse.images.image import Image
from adasffuse.images.noise import denoised, noise_levels
from adasffuse.images.notices import infrared_notices
from adasffuse.images.write import write_image
from adasffuse.scenes.street import night_scene

# Of white noise of standard deviation 1, by the inner products 1 / (2 pi (s^2 + t^2)) of two Gaussians.
BAND_LEVELS = np.sqrt(
    [1 - 2 / (2 * np.pi) + 1 / (4 * np.pi), *((1 / 1 + 1 / 4 - 4 / 5) / (4 * np.pi * s) for s in (1, 4))]
)


def with_noise(image, level, grain=0.0, seed=0):
    """An image in [0, 1] with noise of so many gray levels, and a grain in pixels."""
    noise = np.random.default_rng(seed).standard_normal(image.shape)
    noise = cv2.GaussianBlur(noise, (0, 0), grain) if grain else noise
    return np.clip(image + level / 255 * noise / noise.std(), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def ramp():
    """A smooth image, (240, 320)."""
    y, x = np.mgrid[:240, :320]
    return (0.2 + 0.5 * x / 320 + 0.1 * np.sin(y / 60)).astype(np.float32)


@pytest.mark.parametrize("level", [1, 3, 8])
def test_levels_of_white_noise(ramp, level):
    """A little below those of the noise, since the calmest cells tell them; the coarse band of the weakest noise is
    raised by the image."""
    ratio = noise_levels(with_noise(ramp, level)) * 255 / level / BAND_LEVELS
    assert np.all((ratio > 0.9) & (ratio < [1, 1, 1.25]))


@pytest.mark.parametrize(("grain", "left"), [(0, 0.12), (1.5, 0.62)])
def test_noise_goes_from_a_smooth_image(ramp, grain, left):
    noisy = with_noise(ramp, 4, grain)
    errors = [np.sqrt(np.mean((image - ramp) ** 2)) for image in (noisy, denoised(noisy, 0.5), denoised(noisy, 1))]
    assert errors[2] < left * errors[0] and errors[1] < (1 + left) / 2 * errors[0]


def test_edges_and_lines_stay(ramp):
    """Ten times as high as the noise: they keep 90 % of their height within three pixels."""
    drawn = ramp.copy()
    drawn[:, 160:] += 40 / 255
    drawn[100:102, :100] += 40 / 255
    calm, plain = denoised(with_noise(drawn, 4), 1), denoised(with_noise(ramp, 4), 1)
    height = 255 * (calm - plain)
    assert height[10:90, 160:163].mean() - height[10:90, 157:160].mean() > 0.9 * 40
    assert height[100:102, 10:90].mean() > 0.9 * 40


def test_an_image_without_noise_stays_as_it_is(ramp):
    step = np.where(np.arange(64) < 32, np.float32(0.2), np.float32(0.7))[None].repeat(64, axis=0)
    for image in (ramp, step, np.full((40, 40), 0.5, np.float32), np.zeros((5, 7), np.float32)):
        np.testing.assert_allclose(denoised(image, 1), image, atol=1e-5)


def test_clipped_regions_tell_no_noise(ramp):
    """A black half, as of a sky below the range, does not make the noise of the other half look weak."""
    half = ramp.copy()
    half[120:] = 0
    noisy = with_noise(half, 4)
    whole = noise_levels(with_noise(ramp, 4))
    np.testing.assert_allclose(noise_levels(noisy), whole, rtol=0.1)


@pytest.mark.parametrize(("level", "denoise", "told"), [(4.5, 0.0, True), (4.5, 0.5, False), (0.5, 0.0, False)])
def test_strong_infrared_noise_is_a_notice(ramp, level, denoise, told):
    fuser = load_fuser("ivf", "tiny", device="cpu", denoise=denoise)
    look = fuser.look_at(Path("ir.png"), [Image(with_noise(ramp, level)), Image(ramp)])
    assert look.noise == pytest.approx(level * np.linalg.norm(BAND_LEVELS), rel=0.15)
    said = "infrared noise of about 4 gray levels shows in flat regions; --denoise 1 takes it away"
    assert infrared_notices([None, look], fuser.denoise) == ([said] if told else [])
    assert load_fuser("mff", "tiny", device="cpu").look_at(None, [Image(ramp), Image(ramp)]) is None


def test_bands_of_rows_make_no_difference(ramp, monkeypatch):
    noisy = with_noise(ramp, 4)
    whole = denoised(noisy, 1)
    monkeypatch.setattr(levels, "_STEP", 40 * 320)
    np.testing.assert_allclose(denoised(noisy, 1), whole, atol=1e-6)


def test_fused_noisy_sources_come_near_to_fused_clean_ones():
    """A rendered night, PSNR to what is made without noise: 3 dB nearer; strength 0 gives the calm visible image."""
    night = night_scene(np.random.default_rng(5))
    clean = [cv2.GaussianBlur(image, (0, 0), 1.5) for image in (night.infrared, luminance(night.visible))]
    noisy = [with_noise(image, level, 0.7, seed) for seed, (image, level) in enumerate(zip(clean, (6, 2)))]
    plain, calm = (load_fuser("ivf", "tiny", denoise=d, people=False, precision="float32") for d in (0, 1))
    truth = plain.fuse(*clean, depth="float")
    errors = [np.mean((fuser.fuse(*noisy, depth="float") - truth) ** 2) for fuser in (plain, calm)]
    assert errors[1] < errors[0] / 2
    visible = load_fuser("ivf", "tiny", denoise=1, strength=0).fuse(*noisy, depth="float")
    np.testing.assert_array_equal(visible, denoised(noisy[1], 1))


def test_the_script_prints_how_near_results_come(tmp_path, capsys):
    """Without noise and --denoise the result is the truth; a folder that is missing is named."""
    for kind, seed in (("infrared", 1), ("visible", 2)):
        write_image(tmp_path / kind / "1.png", np.random.default_rng(seed).integers(0, 256, (64, 96)).astype(np.uint8))
    folders = ["--infrared", str(tmp_path / "infrared"), "--visible", str(tmp_path / "visible"), "--size", "tiny"]
    assert score_noise.main([*folders, "--noise", "0", "0", "--json", str(tmp_path / "s.json")]) == 0
    assert "denoise 0.5" in capsys.readouterr().out
    scores = {row["method"]: row["scores"] for row in json.loads((tmp_path / "s.json").read_text())["images"]}
    assert scores["denoise 0"]["SSIM_GT"] == pytest.approx(1)
    assert score_noise.main([*folders[:2], "--visible", str(tmp_path / "missing")]) == 1
    assert "missing" in capsys.readouterr().err
    write_image(tmp_path / "infrared/2.png", np.zeros((1, 40), np.uint8))
    write_image(tmp_path / "visible/2.png", np.zeros((1, 40), np.uint8))
    assert score_noise.main([*folders, "--count", "2"]) == 1
    assert "infrared/2.png: 32 pixels per side are needed" in capsys.readouterr().err
