"""Exposure that drifted between focus settings: found, told and evened out."""

import cv2
import numpy as np
import pytest
from skimage import data as photographs
from tiny import network, texture, write_weights

from adasffuse.cli import fuse, stack, task_script
from adasffuse.images.arrays import as_image
from adasffuse.images.image import Image, ImageNotice
from adasffuse.images.write import write_image
from adasffuse.inference.drift import drift_notices, equally_bright, evening_factors, measure_exposure, scale_brightness
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.stack import StackOptions, fuse_stack, plan_stack
from adasffuse.tasks import KINDS, TASKS

SCENE = photographs.coffee()[:320, :400].astype(np.float32) * np.float32(0.8 / 255)


def near_and_far(near=1.0, far=1.0):
    """Two focus settings of a photograph, (320, 400, 3) in [0, 1], each times a factor."""
    blurred = cv2.GaussianBlur(SCENE, (0, 0), 4)
    left = (np.arange(400) < 200)[:, None]
    return [np.where(left, SCENE, blurred) * np.float32(near), np.where(left, blurred, SCENE) * np.float32(far)]


def factors_of(*images):
    return evening_factors([measure_exposure(Image(image)) for image in images])


@pytest.mark.parametrize("ratio", [0.6, 0.8, 0.95])
def test_the_factor_is_found_in_spite_of_blur(ratio):
    one, other = factors_of(*near_and_far(far=ratio))
    assert other / one == pytest.approx(1 / ratio, rel=0.01)
    assert one * other == pytest.approx(1)  # both go half of the way


def test_the_order_of_the_images_does_not_matter():
    images = [image for far in (0.7, 0.9) for image in near_and_far(far=far)]
    assert factors_of(*images) == pytest.approx(factors_of(*images[::-1])[::-1], rel=1e-6)


def test_no_highlight_that_an_image_holds_is_clipped():
    dark, bright = near_and_far(0.7 / 0.8, 1)
    dark[100:120, 100:120] = bright[100:120, 100:120] = 1  # 0.3 % of the pixels are white in both
    one, other = factors_of(dark, bright)
    assert one == pytest.approx(1) and other == pytest.approx(0.7 / 0.8, rel=0.01)


@pytest.mark.parametrize(
    "other",
    [SCENE, SCENE[:, ::-1] * 0.8, np.full_like(SCENE, 0.2), np.zeros_like(SCENE), 1 - SCENE, SCENE[:1, :1]],
    ids=["equal", "another scene", "flat", "black", "negative", "a pixel"],
)
def test_other_differences_are_left_alone(other):
    assert factors_of(SCENE[: len(other), : other.shape[1]], other) == [1, 1]


def test_a_bracket_is_left_alone():
    assert factors_of(SCENE, *near_and_far(0.7, 0.45)) == [1, 1, 1]


def test_what_holds_no_data_does_not_count():
    image = near_and_far(far=0.8)[1]
    valid = np.ones(image.shape[:2], bool)
    valid[:, :150] = False
    image[:, :150] = 0
    one, other = evening_factors(
        [measure_exposure(Image(near_and_far()[0])), measure_exposure(Image(image, valid=valid))]
    )
    assert other / one == pytest.approx(1 / 0.8, rel=0.01)


def test_flat_frames_decide_on_nothing():
    """A white frame between them has no highlights to keep, nor a share in the mean."""
    near, far = (Image(image) for image in near_and_far(far=0.8))
    flat = Image(np.ones_like(near.pixels))
    for images, contents in (([near, far, flat], [1, 1, 0]), ([flat, near, far], [0, 1, 1])):
        evened, notices = equally_bright(images, contents)
        expected, said = equally_bright([near, far], [1, 1])
        pairs = zip(expected, [image for image, amount in zip(evened, contents) if amount])
        assert all(np.array_equal(one.pixels, other.pixels) for one, other in pairs) and notices == said
    assert equally_bright([flat, flat], [0, 0]) == ([flat, flat], [])


def test_levels_are_multiplied_as_numbers():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.minimum(np.rint(np.arange(256) * 1.5), 255).reshape(16, 16)
    assert np.array_equal(scale_brightness(Image(levels), 1.5).pixels, expected)
    values = scale_brightness(Image(levels / np.float32(255)), 1.5).pixels
    assert (
        values.dtype == np.float32
        and np.abs(values * 255 - np.minimum(np.arange(256) * 1.5, 255).reshape(16, 16)).max() < 1e-3
    )
    image = Image(levels)
    assert scale_brightness(image, 1.0) is image


def test_notice():
    assert drift_notices([1.0, 1.0]) == [] == drift_notices([])
    assert drift_notices([0.9, 1.125])[0].startswith("exposure differs by 25% from image to image; all were made")


@pytest.fixture
def fuser():
    return Fuser(network(patch=4, contrast=True, kinds=KINDS), TASKS["mff"], precision="float32")


def test_focus_settings_are_fused_equally_bright(fuser):
    """The result is that of images without drift, times a factor."""
    plain = fuser.fuse(near_and_far(), depth="float")
    with pytest.warns(ImageNotice, match="source A: exposure differs by 25% from image to image"):
        fused = fuser.fuse(near_and_far(1, 0.8), depth="float")
    factor = np.median(fused / np.maximum(plain, 0.05))
    assert factor == pytest.approx(np.sqrt(0.8), rel=0.01)
    assert np.abs(fused - factor * plain).mean() < 0.005


def test_exposures_keep_their_brightness():
    images = near_and_far(1, 0.8)
    prepared = Fuser(network(), TASKS["mef"]).prepare(images)
    assert all(np.array_equal(x, y) for x, y in zip(prepared.pixels, images)) and not prepared.notices


def test_stacks_are_fused_equally_bright(tmp_path, fuser):
    images = [*near_and_far(1, 0.8), cv2.GaussianBlur(SCENE, (0, 0), 2) * np.float32(0.9)]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, images):
        write_image(path, image)
    fused = fuse_stack(fuser, paths)
    assert any(f"{tmp_path}: exposure differs by 25% from image" in notice for notice in fused.notices)
    with pytest.warns(ImageNotice, match="exposure differs"):
        expected = fuser.fuse([str(path) for path in paths])
    assert np.abs(fused.pixels.astype(int) - expected).max() <= 1


def test_focus_settings_keep_their_brightness_on_request(tmp_path, fuser):
    """Also through the doors of stacks; the network, and so the result, gets what the files hold."""
    keeping = Fuser(fuser.model, TASKS["mff"], precision="float32", keep_brightness=True)
    images = near_and_far(1, 0.8)
    prepared = keeping.prepare(images)
    assert all(np.array_equal(x, y) for x, y in zip(prepared.pixels, images)) and not prepared.notices
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path, image in zip(paths, images):
        write_image(path, image)
    fused = fuse_stack(keeping, paths)
    assert np.abs(fused.pixels.astype(int) - keeping.fuse(paths)).max() <= 1 and not fused.notices
    assert plan_stack(keeping, paths, StackOptions())[1] == []
    assert "--keep_brightness" in plan_stack(fuser, paths, StackOptions())[1][0]
    with pytest.raises(ValueError, match="keep_brightness is for multi-focus; multi-exposure images stay as"):
        Fuser(fuser.model, TASKS["mef"], keep_brightness=True)


def test_the_commands_take_keep_brightness(tmp_path, capsys):
    """`fuse`, `stack` and `test_MFF_RGB.py`."""
    for folder, image in zip("AB", near_and_far(1, 0.8)):
        write_image(tmp_path / folder / "1.png", image[::4, ::4])
    a, b, out = (str(tmp_path / name) for name in ("A", "B", "out"))
    files = [f"{a}/1.png", f"{b}/1.png"]
    weights = ["--weights", str(write_weights(tmp_path / "mff.safetensors", "mff"))]
    for run in (
        lambda *options: fuse.run([a, b, "-o", out, "--task", "mff", *weights, *options]),
        lambda *options: stack.run([*files, "-o", f"{out}.png", "--task", "mff", *weights, *options]),
        lambda *options: task_script.run("mff", ["--A_dir", a, "--B_dir", b, "--save_dir", out, *weights, *options]),
    ):
        assert run() == 0 and "equally bright" in "".join(capsys.readouterr())
        assert run("--keep_brightness") == 0 and "equally bright" not in "".join(capsys.readouterr())


def test_textures_of_one_mean_are_not_taken_for_one_scene():
    assert factors_of(*(as_image(texture(160, 160, seed), "x").pixels for seed in (0, 1))) == [1, 1]
