"""Stacks: many images to one, by the library and by the command."""

import json
import os
import re
import shutil
import threading
from contextlib import nullcontext
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
import torch.distributed as dist
from PIL import ExifTags
from PIL import Image as pillow
from skimage import data as photographs
from tiny import network, texture, write_weights

from adasffuse import inference
from adasffuse.cli import stack as command
from adasffuse.cli.stacks import stacks_of
from adasffuse.data.synthesis import expose
from adasffuse.images import levels
from adasffuse.images.image import Image, ImageError, ImageNotice
from adasffuse.images.levels import luma_of
from adasffuse.images.pages import stacks_in
from adasffuse.images.ranges import parse_range
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference.fuser import Fuser, load_fuser
from adasffuse.inference.ghosts import GhostRemover, as_bright_as, moved
from adasffuse.inference.misalignment import misaligned_frames_notice, misaligned_pairs_notice, seen_misalignment
from adasffuse.inference.ranks import Ranks
from adasffuse.inference.stack import StackOptions, fuse_stack, plan_stack
from adasffuse.inference.stack_images import StackImages, _cut_by
from adasffuse.registration.aligner import Aligner, measure_of
from adasffuse.registration.estimate import Glance
from adasffuse.registration.stacks import _comparable, _correlation, register_to
from adasffuse.registration.transform import AlignmentError, corner_shifts, warp_image
from adasffuse.tasks import KINDS, TASKS

ALL = {"patch": 4, "exposure": True, "contrast": True, "kinds": KINDS}


def fuser(task="mef"):
    return Fuser(network(**ALL), TASKS[task], precision="float32")


def scene(height=160, width=200):
    return cv2.resize(photographs.coffee()[60:340, 100:450], (width, height), interpolation=cv2.INTER_AREA)


def bracket(folder, stops=(-2, 0, 2), image=None):
    """Exposures of a photograph, darkest first."""
    image = (scene() if image is None else image).astype(np.float32) / 255
    paths = []
    for number, stop in enumerate(stops):
        channels = [expose(image[..., k], stop, 2.2, 0.0, np.random.default_rng(0)) for k in range(3)]
        paths.append(folder / f"{number}.png")
        write_image(paths[-1], np.stack(channels, axis=2).astype(np.float32))
    return paths


@pytest.mark.parametrize("task", ["mef", "mff"])
def test_a_stack_is_what_the_fuser_makes_of_all_at_once(tmp_path, task):
    paths, one = bracket(tmp_path), fuser(task)
    fused = fuse_stack(one, paths)
    expected = one.fuse(paths)
    assert fused.used == 3 and np.abs(fused.pixels.astype(int) - expected).max() <= 1


def test_deep_files_and_a_range(tmp_path):
    for number, image in enumerate((texture(48, 64, 1), texture(48, 64, 2))):
        write_image(tmp_path / f"{number}.png", (1000 + 4 * image.astype(np.uint16)).astype(np.uint16))
    from adasffuse.images.ranges import RangeSpec

    paths = sorted(tmp_path.glob("*.png"))
    fused = fuse_stack(fuser(), paths, StackOptions(RangeSpec("fixed", 1000, 2020)))
    assert fused.depth == "16" and fused.pixels.dtype == np.uint16 and fused.pixels.max() > 50000


@pytest.mark.parametrize("words, told", [("folder", True), ("0% 100%", True), ("1000 2020", False)])
def test_a_window_that_was_measured_is_told(tmp_path, words, told):
    for number in (1, 2):
        write_image(tmp_path / f"{number}.png", (1000 + 4 * texture(48, 64, number).astype(np.uint16)))
    notices = fuse_stack(fuser(), sorted(tmp_path.glob("*.png")), StackOptions(parse_range(words))).notices
    assert (
        any(f"{tmp_path}: the values 10" in notice and "become black to white" in notice for notice in notices) == told
    )


def test_where_a_single_image_holds_data_it_is_shown(tmp_path):
    images = [read_image(path).pixels for path in bracket(tmp_path)]
    for image in images[:2]:  # the middle one among them
        image[40:100, 60:120] = np.nan
    for image in images:
        image[140:, 160:] = np.nan
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"{number}.tif")
        tifffile.imwrite(paths[-1], image, photometric="rgb")
    fused = fuse_stack(fuser("mff"), paths, StackOptions(range=parse_range("0 1"))).pixels
    np.testing.assert_allclose(fused[45:95, 65:115], images[2][45:95, 65:115], atol=2e-3)
    assert not fused[140:, 160:].any() and fused[:30].any()


def test_an_exposure_is_made_as_bright_as_another():
    image = scene().astype(np.float32) / 255 * 0.9
    valid = np.ones(image.shape[:2], bool)
    valid[:, :40] = False
    bright = Image(np.where(valid[..., None], image, 0), valid=valid)
    for wanted in (image, luma_of(image)):  # a gray one beside one in colour
        assert np.abs(as_bright_as(Image(0.5 * wanted), bright).pixels - wanted).mean() < 0.02
    gray = np.full((40, 40), 0.3, np.float32)
    gray[:, 20:] = 1  # white in both
    white = as_bright_as(Image(gray), Image(np.where(gray < 1, gray / 3, gray))).pixels
    assert white[:, 22:] == pytest.approx(1) and white[:, :18] == pytest.approx(0.1)
    nowhere = Image(image, valid=np.zeros(image.shape[:2], bool))
    assert np.array_equal(as_bright_as(Image(image), nowhere).pixels, image)


def test_where_exposures_hold_no_data_the_result_keeps_its_brightness(tmp_path):
    images = [read_image(path).pixels for path in bracket(tmp_path)]
    means = []
    for lost in (False, True):
        for number, image in enumerate(images):
            image[:, :30] = np.nan if lost and number != 1 else image[:, :30]
            tifffile.imwrite(tmp_path / f"{number}.tif", image, photometric="rgb")
        fused = fuse_stack(fuser(), sorted(tmp_path.glob("*.tif")), StackOptions(range=parse_range("0 1")))
        means.append(fused.pixels[:, :28].mean())
    assert means[0] == pytest.approx(means[1], abs=0.02)  # the middle exposure as it is: 0.1 off


def test_where_no_exposure_holds_data_the_result_is_black_and_no_edge_is_fused(tmp_path):
    paths = bracket(tmp_path)
    for path in paths:
        pixels = np.maximum(read_image(path).pixels, np.float32(1 / 255))
        pixels[:60, :80] = 0
        write_image(path, pixels)
    options = StackOptions(no_data=0.0)
    assert not fuse_stack(fuser(), paths, options).pixels[:60, :80].any()
    stack = StackImages(paths, options, exposures=True, evens=False)
    for number, _ in list(stack.first_reads()):
        pixels = stack.read(number).pixels
        assert np.array_equal(pixels[20, 70:80], np.repeat(pixels[20, 80:81], 10, axis=0))


def test_an_image_without_content_is_left_out(tmp_path):
    paths = bracket(tmp_path)
    write_image(tmp_path / "white.png", np.full((160, 200, 3), 255, np.uint8))
    flat = np.full((160, 200), 0.9, np.float32)
    flat[:60] = np.nan
    tifffile.imwrite(tmp_path / "flat.tif", flat)
    of_floats = [tmp_path / f"{number}.tif" for number in (1, 2)]
    for number, path in enumerate(of_floats):
        tifffile.imwrite(path, texture(160, 200, number).astype(np.float32) / 255)
    fused = fuse_stack(fuser(), [*of_floats, tmp_path / "flat.tif"], StackOptions(range=parse_range("0 1")))
    assert fused.used == 2
    fused = fuse_stack(fuser(), [*paths, tmp_path / "white.png"])
    assert fused.used == 3 and any("no content" in notice for notice in fused.notices)
    assert np.array_equal(fused.pixels, fuse_stack(fuser(), paths).pixels)
    with pytest.warns(ImageNotice, match="source B: has no content"):
        of_fuser = fuser().fuse([paths[0], tmp_path / "white.png", *paths[1:]])
    assert np.array_equal(of_fuser, fuser().fuse(paths))


@pytest.mark.parametrize("task", ["mef", "mff"])
def test_flat_images_leave_the_only_one_that_shows_something(tmp_path, task):
    image, flat = texture(40, 50, 1), np.full((40, 50), 200, np.uint8)
    with pytest.warns(ImageNotice, match="source C: has no content"):
        assert np.abs(fuser(task).fuse([flat, image, flat // 2]).astype(int) - image).max() <= 1
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, pixels in zip(paths, (flat, image, flat // 2)):
        write_image(path, pixels)
    for align in ("none", "similarity"):
        fused = fuse_stack(fuser(task), paths, StackOptions(align=align))
        assert np.abs(fused.pixels.astype(int) - image).max() <= 1 and fused.used == 1
        assert fused.notices[-1] == f"{paths[1]}: is the only image with content, so the result shows it alone"
        assert plan_stack(fuser(task), paths, StackOptions(align=align)) == ("8", fused.notices)


def test_what_is_refused(tmp_path):
    paths = bracket(tmp_path)
    write_image(tmp_path / "small.png", texture(20, 20, 1))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    flat = [tmp_path / f"flat{level}.png" for level in (0, 9)]
    for level, path in enumerate(flat):
        write_image(path, np.full((20, 20), 9 * level, np.uint8))
    copied = tmp_path / "copied.png"
    copied.write_bytes(paths[0].read_bytes())
    for files, words in (
        (paths[:1], "two or more images, got 1"),
        ([*paths, tmp_path / "small.png"], "is 200x160, small.png is 20x20.* into a folder of its own"),
        ([*paths, tmp_path / "broken.png"], "broken.png: damaged"),
        ([paths[0], paths[1], paths[0]], "0.png is given twice"),
        ([paths[0], copied], "all 2 images are equal"),
        (flat, "none of 2 images has content; nothing to fuse"),
    ):
        with pytest.raises(ImageError, match=words):
            fuse_stack(fuser(), files)
    with pytest.raises(ValueError, match="not infrared"):
        fuse_stack(fuser("ivf"), paths)


def test_equal_images_are_named(tmp_path):
    paths = bracket(tmp_path)
    write_image(tmp_path / "again.png", read_image(paths[0]).pixels)
    fused = fuse_stack(fuser(), [*paths, tmp_path / "again.png"])
    assert any("shows the same as 0.png" in notice for notice in fused.notices)


def test_movement_between_exposures_is_told(tmp_path):
    still = bracket(tmp_path / "still")
    assert not any("ghosts" in notice for notice in fuse_stack(fuser(), still).notices)
    image = scene().copy()
    image[40:90, 20:70] = 255 - image[40:90, 20:70]
    moving = [*still[:2], bracket(tmp_path / "moving", image=image)[2]]
    notices = fuse_stack(fuser(), moving).notices
    assert any("if the camera moved, --align similarity" in notice and "ghosts" in notice for notice in notices)
    assert plan_stack(fuser(), moving, StackOptions())[1] == notices
    registered = fuse_stack(fuser(), moving, StackOptions(align="translation")).notices
    assert any("ghosts" in notice for notice in registered) and not any("--align" in notice for notice in registered)


def test_ghosts_are_removed(tmp_path):
    """Something moves from exposure to exposure; the result is that of a bracket in which it stays where it was."""
    weights = load_fuser("mef", "tiny", device="cpu")
    thing = cv2.resize(photographs.camera()[60:260, 150:350], (44, 44), interpolation=cv2.INTER_AREA)[..., None]
    brackets = {}
    for name, step in (("still", 0), ("moving", 36)):
        images = [scene(240, 320).copy() for _ in range(3)]
        for number, image in enumerate(images):
            left = 120 + step * (number - 1)
            image[100:144, left : left + 44] = thing
        exposed = [bracket(tmp_path / f"{name}{k}", image=image)[k] for k, image in enumerate(images)]
        brackets[name] = exposed
    fused = {
        (name, ghosts): fuse_stack(weights, brackets[name], StackOptions(ghosts=ghosts))
        for name in brackets
        for ghosts in ("keep", "remove")
    }
    truth = fused["still", "keep"].pixels.astype(float)

    def decibels(*key):
        return 10 * np.log10(255**2 / max(np.square(fused[key].pixels - truth).mean(), 1e-9))

    assert decibels("moving", "keep") < 27 < 40 < decibels("moving", "remove")
    assert decibels("still", "remove") > 50
    notices = fused["moving", "remove"].notices
    assert any("what moves, " in text and text.endswith("1.png") for text in notices)
    assert not any("(ghosts)" in text for text in notices)
    assert plan_stack(fuser(), brackets["moving"], StackOptions(ghosts="remove"))[1] == notices


def test_ghosts_of_gray_exposures_without_data_somewhere_are_removed():
    """What moved is what the reference shows, made as bright; beside it, and without data, nothing changes."""
    reference = (0.2 + 0.5 * texture(96, 128, 3).astype(np.float32) / 255).astype(np.float32)
    darker = reference**2
    exposure = darker.copy()
    exposure[40:60, 50:80] = 0.9
    valid = np.ones(reference.shape, bool)
    valid[:10] = False
    image, share = GhostRemover(Image(reference)).removed(Image(np.where(valid, exposure, 0), valid=valid))
    assert share == pytest.approx(600 / reference.size, rel=0.5)
    assert (
        np.abs(image.pixels - darker)[42:58, 52:78].mean() < 0.01 < 0.5 < np.abs(exposure - darker)[42:58, 52:78].mean()
    )
    assert np.array_equal(image.pixels[:10], np.zeros((10, 128))) and image.valid is valid
    assert np.array_equal(image.pixels[80:], exposure[80:])
    same, share = GhostRemover(Image(reference)).removed(Image(darker))
    assert share == 0 and same.pixels is darker


def test_ghosts_are_removed_where_nearly_everything_moves():
    """So much moves that its surroundings cover the image, and no still pixel is left to compare the exposures by."""
    reference = np.tile(np.linspace(0, 1, 24, endpoint=False, dtype=np.float32), (24, 1))
    exposure = reference * np.float32(0.7)
    exposure[:11, :11] = reference[:11, :12:-1]
    image, share = GhostRemover(Image(reference)).removed(Image(exposure))
    assert share > 0 and np.isfinite(image.pixels).all()


def test_ghosts_of_focus_stacks_are_refused(tmp_path, capsys):
    paths = bracket(tmp_path)
    with pytest.raises(ValueError, match="movement cannot be told from blur"):
        fuse_stack(fuser("mff"), paths, StackOptions(ghosts="remove"))
    with pytest.raises(ValueError, match="ghosts must be keep or remove, got 'off'"):
        fuse_stack(fuser(), paths, StackOptions(ghosts="off"))
    with pytest.raises(SystemExit):
        command.run([str(tmp_path), "-o", str(tmp_path / "out"), "--task", "mff", "--ghosts", "remove"])
    assert "--ghosts remove is for exposures" in capsys.readouterr().err


def test_where_there_is_no_data_nothing_moves():
    bright = texture(64, 64, 1).astype(np.float32) / 255
    dark = bright**2
    dark[:, :20] = np.nan
    assert not moved(dark, bright).any() and not moved(np.full_like(dark, np.nan), bright).any()


def test_a_change_of_exposure_is_no_movement():
    dark = texture(64, 64, 1).astype(np.float32) / 255
    assert not moved(dark**2, dark).any()
    bright = dark.copy()
    bright[20:40, 20:40] = bright[20:40, 20:40].max() - bright[20:40, 20:40]
    assert moved(dark**2, bright)[20:40, 20:40].mean() > 0.2


@pytest.mark.parametrize(("method", "zoom"), [("translation", 1.0), ("similarity", 1.03)])
def test_a_known_movement_is_found(method, zoom):
    reference = scene(240, 320).astype(np.float32).mean(axis=2) / 255
    matrix = np.array([[zoom, 0, 4.5], [0, zoom, -3.25]])
    moving = cv2.warpAffine(reference, matrix, (320, 240), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    darker = (0.4 * moving.clip(0, 1) ** 1.5).astype(np.float32)  # another exposure
    found = register_to(reference, darker, method)
    corners = np.array([[0, 0, 1], [319, 0, 1], [319, 239, 1], [0, 239, 1.0]]).T
    assert np.abs(found.matrix[:2] @ corners - matrix @ corners).max() < 0.5
    back = warp_image(Image(moving.clip(0, 1)), found)
    inside = (slice(20, -20), slice(20, -20))
    assert np.abs(back.pixels[inside] - reference[inside]).mean() < 0.02


def breathing(folder, zooms):
    """Focus settings of 300x240 pixels, each blurred elsewhere and enlarged around the middle; their files."""
    image, paths = scene(240, 300), []
    for number, zoom in enumerate(zooms):
        matrix = np.array([[zoom, 0, 149.5 * (1 - zoom)], [0, zoom, 119.5 * (1 - zoom)]])
        moved_image = cv2.warpAffine(image, matrix, (300, 240), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        columns = slice(100 * number, 100 * number + 100)
        blurred = cv2.GaussianBlur(moved_image, (0, 0), 2)
        blurred[:, columns] = moved_image[:, columns]
        paths.append(folder / f"{number}.png")
        write_image(paths[-1], blurred)
    return paths


def test_focus_breathing_is_told_and_measured_in_the_corners(tmp_path):
    """A scale of 1.03 moves the middle nowhere and the corners by 0.03 * hypot(149.5, 119.5) = 5.74 pixels."""
    paths = breathing(tmp_path, (1.0, 1.0, 1.03))
    fused = fuse_stack(fuser("mff"), paths)
    (notice,) = [text for text in fused.notices if "moved against the middle one" in text]
    told = float(re.search(r"up to ([\d.]+) pixels \(focus breathing", notice)[1])
    assert notice.startswith(str(tmp_path)) and told == pytest.approx(5.74, abs=0.6) and "--align similarity" in notice
    assert plan_stack(fuser("mff"), paths, StackOptions())[1] == fused.notices
    shifted = fuse_stack(fuser("mff"), paths, StackOptions(align="translation"))
    assert any("beyond their shift" in text for text in shifted.notices)
    aligned = fuse_stack(fuser("mff"), paths, StackOptions(align="similarity"))
    assert aligned.notices == [] and aligned.shifts == pytest.approx([0, 0, 5.74], abs=0.6)


def test_focus_settings_that_do_not_move_are_told_nothing(tmp_path):
    assert fuse_stack(fuser("mff"), breathing(tmp_path, (1.0, 1.0, 1.0))).notices == []


@pytest.mark.parametrize(("zoom", "told"), [(1.0, None), (1.03, 5.74)])
def test_a_pair_of_one_camera_that_is_moved_is_told(tmp_path, zoom, told):
    pair = [read_image(path) for path in breathing(tmp_path, (1.0, zoom))]
    for task in ("mff", "mef"):
        seen = seen_misalignment(TASKS[task], pair, None)
        assert (seen and seen.shift) == (told and pytest.approx(told, abs=0.6))
        assert seen_misalignment(TASKS[task], pair, Aligner("affine")) is None  # registered


def test_two_focus_settings_are_registered(tmp_path):
    """A scale of 1.03 around (149.5, 119.5); 'affine' is a similarity, and other methods compare edges."""
    sharp, zoomed = (read_image(path) for path in breathing(tmp_path, (1.0, 1.03)))
    align = Aligner("affine", measure=measure_of("mff"))
    expected = np.array([[1.03, 0, 149.5 * -0.03], [0, 1.03, 119.5 * -0.03], [0, 0, 1]])
    matrix = align.transform(zoomed, sharp).matrix
    assert corner_shifts(matrix, expected, (240, 300)).max() < 0.5
    assert matrix[0, 0] == matrix[1, 1] and matrix[0, 1] == -matrix[1, 0]
    homography = Aligner("homography", measure="focus").transform(zoomed, sharp).matrix
    assert np.array_equal(homography, Aligner("homography").transform(zoomed, sharp).matrix)
    moved = Aligner("affine", "a", "focus").transform(zoomed, sharp).matrix
    assert corner_shifts(moved, np.linalg.inv(expected), (240, 300)).max() < 0.5
    deep = [Image(one.pixels * np.float32(0.015), depth="16") for one in (zoomed, sharp)]  # 10 of 16 bits
    assert corner_shifts(align.transform(*deep).matrix, expected, (240, 300)).max() < 0.5
    with pytest.raises(AlignmentError, match="source B is 40x40 pixels, 48 a side are needed"):
        align.transform(*[Image(one.pixels[:40, :40]) for one in (zoomed, sharp)])
    with pytest.raises(AlignmentError, match="source A is flat"):
        align.transform(Image(np.zeros_like(sharp.pixels)), sharp)


@pytest.mark.parametrize("column", [300, 350])
def test_exposures_that_have_little_in_common_are_not_moved_to_where_they_agree_less(column):
    image = cv2.cvtColor(photographs.coffee(), cv2.COLOR_RGB2GRAY)[80:230, column : column + 200]
    dark, bright = (expose(image / 255, stop, 2.2, 0.003, np.random.default_rng(0)) for stop in (-2, 6))
    found = register_to(dark.astype(np.float32), bright.astype(np.float32), "similarity").matrix
    images = [_comparable(image.astype(np.float32)) for image in (dark, bright)]
    moved_by, agreement = (_correlation(*images, matrix[:2].astype(np.float32)) for matrix in (found, np.eye(3)))
    assert moved_by >= agreement > 0.3


def test_a_shift_of_a_twelfth_of_the_width_is_found():
    image = scene(240, 320).astype(np.float32).mean(axis=2) / 255
    moving = np.roll(image, (-14, 26), axis=(0, 1))
    found = register_to(image, (0.3 * moving**1.5).astype(np.float32), "similarity").matrix
    assert np.abs(found[:2] - [[1, 0, 26], [0, 1, -14]]).max() < 0.5


def test_what_cannot_be_registered():
    image = scene().astype(np.float32).mean(axis=2) / 255
    with pytest.raises(AlignmentError, match="too little content"):
        register_to(image, np.full_like(image, 0.5), "translation")
    other = texture(160, 200, 5).astype(np.float32) / 255
    with pytest.raises(AlignmentError, match="cannot be registered"):
        register_to(image, other, "similarity")
    with pytest.raises(ValueError, match="translation or similarity"):
        register_to(image, image, "affine")


def test_registered_stack_is_sharper(tmp_path):
    image = scene(240, 320)
    shifted = [np.roll(image, (2 * k, 3 * k), axis=(0, 1)) for k in range(3)]
    paths = []
    for number, (shift, stop) in enumerate(zip(shifted, (-1.5, 0, 1.5))):
        (tmp_path / str(number)).mkdir()
        paths += bracket(tmp_path / str(number), (stop,), shift)
    aligned = fuse_stack(fuser(), paths, StackOptions(align="translation"))
    assert max(aligned.shifts) == pytest.approx(np.hypot(2, 3), abs=0.5)
    truth = fuse_stack(fuser(), bracket(tmp_path, (-1.5, 0, 1.5), shifted[1])).pixels.astype(float)
    inside = (slice(20, -20), slice(20, -20))
    error = [np.abs(f.pixels.astype(float) - truth)[inside].mean() for f in (aligned, fuse_stack(fuser(), paths))]
    assert error[0] < 0.35 * error[1]


def test_a_registered_bracket_does_not_depend_on_the_order_of_its_files(tmp_path):
    image = scene(240, 320)
    paths = []
    for number, stop in enumerate((0, -2, 2)):  # as cameras take them
        (tmp_path / str(number)).mkdir()
        paths += bracket(tmp_path / str(number), (stop,), np.roll(image, 3 * number, axis=1))
    fused = [fuse_stack(fuser(), some, StackOptions(align="translation")) for some in (paths, paths[::-1])]
    assert np.abs(fused[0].pixels.astype(int) - fused[1].pixels).max() <= 1
    assert fused[0].shifts == pytest.approx([0, 3, 6], abs=0.5) and fused[1].shifts == fused[0].shifts[::-1]


def test_what_was_moved_is_no_ghost_at_its_border(tmp_path):
    image = scene(240, 320)
    paths = []
    for number, stop in enumerate((-2, 0, 2)):
        (tmp_path / str(number)).mkdir()
        paths += bracket(tmp_path / str(number), (stop,), image[8 * number : 200 + 8 * number, 8 * number :][:, :290])
    assert not any("ghosts" in one for one in fuse_stack(fuser(), paths, StackOptions(align="translation")).notices)
    assert any("ghosts" in one for one in fuse_stack(fuser(), paths).notices)


@pytest.mark.parametrize("align", ["none", "similarity"])
def test_large_images_are_fused_as_small_ones(tmp_path, monkeypatch, align):
    paths, options = bracket(tmp_path), StackOptions(align=align)
    for number, path in enumerate(paths):
        write_image(path, np.roll(read_image(path).pixels, 2 * number, axis=1))
    small = fuse_stack(fuser(), paths, options)
    monkeypatch.setattr(levels, "LARGE", 0)  # whole numbers of the file, a few rows at a time
    monkeypatch.setattr(levels, "_STEP", 1000)
    assert np.array_equal(fuse_stack(fuser(), paths, options).pixels, small.pixels)
    assert small.pixels.ndim == 3 and (max(small.shifts, default=0) > 1) == (align != "none")


def test_a_flat_frame_is_not_registered(tmp_path):
    paths = bracket(tmp_path)
    write_image(tmp_path / "9.png", np.full((160, 200, 3), 255, np.uint8))
    fused = fuse_stack(fuser(), [*paths, tmp_path / "9.png"], StackOptions(align="translation"))
    assert fused.used == 3 and any("no content" in notice for notice in fused.notices)


@pytest.mark.parametrize(
    "names, pattern",
    [
        ([f"img_z{z:03}_c{c}.tif" for z in range(1, 6) for c in (1, 2)], "'img_z*_c1.tif'"),
        ([f"{dye}-{z}.tif" for z in range(9, 12) for dye in ("DAPI", "GFP")], "'DAPI-*.tif'"),
        ([f"img_z{z:03}_c1.tif" for z in range(5)], ""),
        ([f"a{n}_{9 - n}.tif" for n in range(4)], ""),  # both change together
        (["dark.tif", "middle1.tif", "white.tif", "white2.tif"], ""),
    ],
)
def test_channels_and_slices_are_told_apart_by_names(names, pattern):
    assert _cut_by(names) == (f"--pattern {pattern}" if pattern else "")


def test_two_channels_in_one_folder_are_told(tmp_path):
    paths = [
        path.rename(tmp_path / f"z{k // 2}_c{k % 2}.png") for k, path in enumerate(bracket(tmp_path, (-2, 0, 1, 2)))
    ]
    notices = fuse_stack(fuser(), paths).notices
    assert any("if these are several stacks" in notice and "--pattern 'z*_c0.png'" in notice for notice in notices)


def test_images_of_several_scenes_are_refused(tmp_path):
    other = cv2.resize(photographs.chelsea(), (200, 160), interpolation=cv2.INTER_AREA)
    (tmp_path / "other").mkdir()
    paths, others = bracket(tmp_path), bracket(tmp_path / "other", image=other)
    with pytest.raises(ImageError, match=r"holds 2 scenes .* .*0.png to .*2.png \(3\), .* a folder of its own"):
        fuse_stack(fuser(), [*paths, *others])
    with pytest.raises(ImageError, match="holds 2 scenes"):
        plan_stack(fuser("mff"), [*paths, *others], StackOptions())
    notices = fuse_stack(fuser(), [*paths, others[1]]).notices
    assert any(f"{others[1]}: seems to have nothing in common" in notice for notice in notices)
    assert not any("nothing in common" in notice for notice in fuse_stack(fuser(), [paths[0], others[1]]).notices)
    third = others[2]
    write_image(third, read_image(third).pixels[::-1])
    alone = fuse_stack(fuser("mff"), [paths[0], others[1], third]).notices
    assert any("no image has anything in common with another" in notice for notice in alone)


def test_a_pair_of_two_scenes_of_one_camera_is_told(tmp_path):
    other = cv2.resize(photographs.chelsea(), (200, 160), interpolation=cv2.INTER_AREA)
    (tmp_path / "other").mkdir()
    one, two = (read_image(paths[1]) for paths in (bracket(tmp_path), bracket(tmp_path / "other", image=other)))
    for task in ("mff", "mef"):
        assert seen_misalignment(TASKS[task], [one, two], None) == Glance(None, unlike=True)
        assert seen_misalignment(TASKS[task], [one, replace(one, pixels=0 * one.pixels)], None) is None  # flat
    (said,) = misaligned_pairs_notice([("x", Glance(None, unlike=True)), ("y", None)], None)
    assert said.startswith("1 of 2 pairs, such as x, seem to have nothing in common")
    (said,) = misaligned_frames_notice([Glance(None, unlike=True)] * 2, None)
    assert said.startswith("2 of 2 pairs of frames looked at seem to have nothing in common")


@pytest.mark.parametrize(
    "how",
    [
        {"photometric": "minisblack"},
        {"photometric": "minisblack", "compression": "zlib"},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
    ],
)
def test_pages_of_a_file_are_what_they_are_as_files(tmp_path, how):
    pages = np.stack([texture(48, 64, seed).astype(np.uint16) * 16 for seed in range(3)])
    tifffile.imwrite(tmp_path / "z.tif", pages, **how)
    (found,) = stacks_in(tmp_path / "z.tif").values()
    assert [path.name for path in found] == ["z.tif[0]", "z.tif[1]", "z.tif[2]"]
    for path, page in zip(found, pages):
        image = read_image(path, (0, 4095))
        assert image.depth == "16" and not image.notices
        np.testing.assert_allclose(image.pixels, page / 4095, atol=1e-6)
    with pytest.raises(ImageError, match=r"z.tif\[3\]: there is no page 3, its first stack has 3, counted from 0"):
        read_image(tmp_path / "z.tif[3]")


def test_a_file_of_pages_that_was_cut_off(tmp_path):
    pages = np.stack([texture(48, 64, seed) for seed in range(4)])
    for name, how in (("ij.tif", {"imagej": True}), ("plain.tif", {"photometric": "minisblack"})):
        tifffile.imwrite(tmp_path / name, pages, **how)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"ij\.tif: damaged or truncated, it states 4 pages"):
        stacks_in(tmp_path / "ij.tif")
    with pytest.raises(ImageError, match=r"plain.tif\[\d\]: damaged or truncated"):
        fuse_stack(fuser("mff"), stacks_in(tmp_path / "plain.tif")[""])


def test_channels_are_stacks_of_their_own(tmp_path):
    values = np.arange(2 * 3 * 2).reshape(2, 3, 2)[..., None, None] * np.ones((1, 1, 1, 8, 8), int)
    for name, axes, shape in (("tzc", "TZCYX", (2, 3, 2)), ("zc", "ZCYX", (3, 4)), ("c", "CYX", (12,))):
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            values.reshape(*shape, 8, 8).astype(np.uint16),
            imagej=True,
            metadata={"axes": axes},
        )
    found = stacks_in(tmp_path / "tzc.tif")
    assert list(found) == ["_t1_c1", "_t1_c2", "_t2_c1", "_t2_c2"]
    assert [read_image(path, (0, 11)).pixels[0, 0] * 11 for path in found["_t2_c1"]] == pytest.approx([6, 8, 10])
    assert list(stacks_in(tmp_path / "zc.tif")) == ["_c1", "_c2", "_c3", "_c4"] and stacks_in(tmp_path / "c.tif") == {}
    assert stacks_in(bracket(tmp_path)[0]) == {}
    tifffile.imwrite(
        tmp_path / "qi.tif", values[0].astype(np.uint8), photometric="minisblack", metadata={"axes": "QIYX"}
    )
    with pytest.raises(ImageError, match=r"holds 3 \(Q\) x 2 \(I\) images"):
        stacks_in(tmp_path / "qi.tif")
    tifffile.imwrite(tmp_path / "qq.tif", values[0].astype(np.uint8), photometric="minisblack")  # axes without names
    with pytest.raises(ImageError, match=r"holds 3 \(Q\) x 2 \(Q\) images"):
        stacks_in(tmp_path / "qq.tif")


# ---- the command


@pytest.fixture
def stacks(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "in" / name).mkdir(parents=True)
        bracket(tmp_path / "in" / name, image=scene(80, 100))
    return tmp_path / "in"


def run(*arguments, weights=None):
    return command.run([*map(str, arguments), "--task", "mef", *(["--weights", str(weights)] if weights else [])])


@pytest.fixture
def weights(tmp_path):
    return write_weights(tmp_path / "w.safetensors", "mef")


def test_a_folder_of_stacks(stacks, weights, tmp_path, capsys):
    (stacks / "@eaDir").mkdir()  # as network storage makes them
    assert run(stacks, "-o", tmp_path / "out", weights=weights) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["one.png", "two.png"]
    assert "2 stacks fused" in capsys.readouterr().out
    assert run(stacks, "-o", tmp_path / "out", "--resume", weights=weights) == 0


def test_resume_skips_what_is_finished(stacks, weights, tmp_path, capsys):
    assert run(stacks, "-o", tmp_path / "out", "--resume", weights=weights) == 0
    (tmp_path / "out" / "two.png").unlink()
    capsys.readouterr()
    assert run(stacks, "-o", tmp_path / "out", "--resume", "--json", weights=weights) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row.get("skipped", False) for row in report["stacks"]] == [True, False]
    assert report["task"] == "mef"


def test_results_are_named_as_the_folder_was_given(stacks, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # fused, then finished before
        assert run(stacks, "-o", "out", "--resume", "--json", weights=weights) == 0
        report = json.loads(capsys.readouterr().out)
        assert [row["result"] for row in report["stacks"]] == ["out/one.png", "out/two.png"]


def test_one_bad_stack_does_not_stop_the_rest(stacks, weights, tmp_path, capsys):
    (stacks / "two" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (stacks / "three").mkdir()
    write_image(stacks / "three" / "alone.png", texture(20, 20, 1))
    assert run(stacks, "-o", tmp_path / "out", weights=weights) == 1
    said = capsys.readouterr().out
    assert "1.png: damaged" in said and "alone.png is one image" in said and (tmp_path / "out/one.png").is_file()
    assert not (tmp_path / "out/two.png").exists()


def test_one_file_for_one_stack(stacks, weights, tmp_path, capsys):
    assert run(stacks / "one", "-o", tmp_path / "fused.png", weights=weights) == 0
    files = sorted((stacks / "one").iterdir())
    assert run(*files, "-o", tmp_path / "again.png", weights=weights) == 0
    assert (tmp_path / "fused.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert run(stacks, "-o", tmp_path / "fused.png", weights=weights) == 2
    assert "is one file, but there are 2 stacks" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(stacks, tmp_path, capsys):
    assert run(stacks, "-o", tmp_path / "out", "--dry_run") == 0
    assert "one: 3 images" in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_a_dry_run_names_every_failure_that_the_run_then_has(stacks, weights, tmp_path, capsys):
    (stacks / "two" / "0.png").write_bytes((stacks / "two" / "0.png").read_bytes()[:200])
    for number in (1, 2):
        image = np.full((32, 32), 3.0 * number, np.float32)
        image[8:, 8:] += 1
        (stacks / "real").mkdir(exist_ok=True)
        cv2.imwrite(str(stacks / "real" / f"{number}.tif"), image)
    reports = []
    for extra in (["--dry_run"], []):
        assert run(stacks, "-o", tmp_path / "out", "--json", *extra, weights=weights) == 1
        reports.append(json.loads(capsys.readouterr().out))
    assert reports[0]["failed"] == reports[1]["failed"] and len(reports[0]["failed"]) == 2
    assert [one["result"] for one in reports[0]["planned"]] == [one["result"] for one in reports[1]["stacks"]]


def test_a_dry_run_knows_the_depth_of_results_and_what_is_finished(stacks, weights, tmp_path, capsys):
    (stacks / "real").mkdir()
    for number in (1, 2):
        write_image(stacks / "real" / f"{number}.tif", texture(32, 32, number) / np.float32(255), "float")
    assert run(stacks / "real", "-o", tmp_path / "out", "--dry_run", weights=weights) == 0
    assert f"{tmp_path}/out/real.tif" in capsys.readouterr().out
    assert run(stacks / "real", "-o", tmp_path / "f.png", "--dry_run", weights=weights) == 1
    assert "float32 pixels are written to files ending in .tif" in capsys.readouterr().out
    assert run(stacks / "real", "-o", stacks / "real", "--dry_run", weights=weights) == 1
    assert "choose another folder" in capsys.readouterr().err
    assert run(stacks / "real", "-o", tmp_path / "out", weights=weights) == 0
    assert run(stacks / "real", "-o", tmp_path / "out", "--dry_run", "--resume", weights=weights) == 0
    assert "0 would be fused, 1 finished before" in capsys.readouterr().out


def test_a_folder_of_results_is_not_called_like_a_file(stacks, tmp_path, capsys):
    for name in ("fused.jpg", "fused.JPEG", "fused.txt", "fused.nii.gz"):
        assert run(stacks / "one", "-o", tmp_path / name) == 2
        error = capsys.readouterr().err
        assert "one stack is written to a file ending in .png, .tif, .tiff, several to a folder" in error
        assert not (tmp_path / name).exists()


def test_results_do_not_lie_among_the_images(stacks, weights, capsys):
    assert run(stacks / "one", "-o", stacks / "one", weights=weights) == 1
    assert "choose another folder" in capsys.readouterr().err


def test_results_do_not_lie_among_the_stacks(stacks, weights, capsys):
    """A folder or an image there would be a stack, or belong to one, the next time."""
    for out in (stacks, stacks / "fused", stacks / "fused" / "f.png", stacks / "f.png"):
        assert run(stacks, "-o", out, weights=weights) == 1
        assert f"would lie among the sources in {stacks} " in capsys.readouterr().err
    assert run(stacks / "one", "-o", stacks / "one" / "f.png", weights=weights) == 1
    assert sorted(path.name for path in stacks.iterdir()) == ["one", "two"] and len(list(stacks.rglob("*.png"))) == 6


def test_a_folder_without_images_is_named(stacks, weights, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(stacks / "one", tmp_path / "empty", "-o", tmp_path / "out", weights=weights) == 1
    said = capsys.readouterr().out
    assert "1 stack fused" in said and f"failed: empty: no images in {tmp_path / 'empty'}" in said


def test_processes_share_the_stacks_and_one_reports(stacks, weights, tmp_path, capsys, monkeypatch):
    """Two threads in place of processes, over the store that processes have."""
    (stacks / "more").mkdir()
    bracket(stacks / "more", stops=(-1, 1), image=scene(80, 100))
    (stacks / "two" / "0.png").write_bytes(b"no image")
    store, own, statuses = dist.HashStore(), threading.local(), {}
    monkeypatch.setattr(inference, "join_ranks", lambda: nullcontext(own.ranks))

    def process(rank: int) -> None:
        own.ranks = Ranks(rank, 2, store)
        statuses[rank] = run(stacks, "-o", tmp_path / "out", "--json", weights=weights)
        own.ranks.leave()

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["stacks"]] == ["more", "one"] and statuses == {0: 1, 1: 1}
    assert [lost["name"] for lost in report["failed"]] == ["two"]
    assert sorted(path.name for path in (tmp_path / "out" / ".adasffuse").iterdir()) == ["rank0.jsonl", "rank1.jsonl"]


@pytest.mark.slow
def test_the_stacks_of_a_process_that_died_are_finished_by_resuming(stacks, weights, tmp_path, capsys, torchrun, dying):
    options = ["-o", tmp_path / "out", "--task", "mef", "--weights", weights]
    done = torchrun(dying("adasffuse.cli.stack", "save_result"), "stack", stacks, *options)
    assert done.returncode != 0 and "fused" not in done.stdout and not (tmp_path / "out/two.png").exists()
    done = torchrun("-m", "adasffuse", "stack", stacks, *options, "--resume", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and [row["name"] for row in report["stacks"]] == ["one", "two"]
    assert run(stacks, "-o", tmp_path / "single", weights=weights) == 0
    for name in ("one.png", "two.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "single" / name).read_bytes()


def test_stacks_beside_images_are_told(stacks, weights, tmp_path, capsys):
    write_image(stacks / "sheet.png", texture(32, 32, 1))
    assert run(stacks, "-o", tmp_path / "out", weights=weights) == 1
    said = capsys.readouterr().err
    assert "sheet.png is one image" in said and "its folders one, two are left out" in said
    write_image(stacks / "sheet2.png", texture(32, 32, 2))
    for option in ([], ["--dry_run"]):
        assert run(stacks, "-o", tmp_path / "out", *option, weights=weights) == 0
        assert "its folders one, two are left out" in capsys.readouterr().out
    assert run(stacks, "-o", tmp_path / "out", "--json", weights=weights) == 0
    assert "left out" in json.loads(capsys.readouterr().out)["notices"][0]


def test_files_of_several_pages_are_a_stack_each(weights, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in ("w1", "w2"):
        pages = np.stack([texture(48, 64, seed) for seed in range(3)])
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", pages, photometric="minisblack")
    assert run(tmp_path / "in", "-o", tmp_path / "out", weights=weights) == 0
    assert "w1: 3 of 3 images" in capsys.readouterr().out and (tmp_path / "out" / "w2.png").is_file()
    os.utime(tmp_path / "in" / "w2.tif", (1, 1))
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--resume", weights=weights) == 0
    out = capsys.readouterr().out
    assert "w2: 3 of 3 images" in out and "1 finished before" in out
    assert run(tmp_path / "in" / "w1.tif", "-o", tmp_path / "in" / "w1.tif", weights=weights) == 1
    assert "would overwrite a source" in capsys.readouterr().err
    write_image(tmp_path / "in" / "single.tif", texture(48, 64, 1))
    assert run(tmp_path / "in", "-o", tmp_path / "out", weights=weights) == 1
    assert "w1.tif is a stack of 3 pages, and other files beside it have one" in capsys.readouterr().err


def test_a_folder_is_cut_into_stacks_of_so_many_images(weights, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    other = cv2.resize(photographs.chelsea(), (100, 80), interpolation=cv2.INTER_AREA)
    for number, path in zip((8, 9, 10), bracket(tmp_path, image=scene(80, 100))):
        path.rename(tmp_path / "in" / f"p{number}.png")
    for number, path in zip((11, 12, 13), bracket(tmp_path, image=other)):
        path.rename(tmp_path / "in" / f"p{number}.png")
    assert run(tmp_path / "in", "-o", tmp_path / "whole", weights=weights) == 1
    assert "cut them apart by --images_per_stack" in capsys.readouterr().out
    assert run(tmp_path / "in", "-o", tmp_path / "cut", "--images_per_stack", 3, weights=weights) == 0
    assert run(tmp_path / "in", "-o", tmp_path / "cut", "--images_per_stack", 3, "--resume", weights=weights) == 0
    assert "2 finished before" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "cut").glob("*.png")) == ["p11.png", "p8.png"]
    alone = [tmp_path / "in" / f"p{number}.png" for number in (11, 12, 13)]
    assert run(*alone, "-o", tmp_path / "one.png", weights=weights) == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "cut" / "p11.png").read_bytes()
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--images_per_stack", 4, weights=weights) == 1
    assert "6 images of" in (error := capsys.readouterr().err) and "stacks of 4 (--images_per_stack)" in error
    with pytest.raises(SystemExit):
        run(tmp_path / "in", "-o", tmp_path / "out", "--images_per_stack", 1, weights=weights)
    assert "--images_per_stack: a stack has two or more images, got 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "biases, lost",
    [
        ((0, -2, 2, 0.3, -1.7, 2.3), None),  # the second scene is exposed by 0.3 EV more as a whole
        ((0, -2, 2, -2, 2, 0, -2, 2, 0), (3, "-2.0, +2.0, +0.0 EV, the first 3 images by +0.0, -2.0, +2.0")),
        ((0, -2, 2, 0, -2, 0, -2, 2), (3, "+0.0, -2.0, +0.0 EV, the first")),
        (
            (0, -2, 0, -2, 2, 0),
            (3, "-2.0, +2.0, +0.0 EV, the first 3 images by +0.0, -2.0, +0.0"),
        ),  # of the first bracket the last shot
        ((0, 0, 0, 0, 0, 0), None),
        ((0, None, 2, -2, 2, 0), None),  # one file says nothing
    ],
)
def test_brackets_in_which_shots_were_lost_are_not_cut(tmp_path, biases, lost):
    """The first stack is named whose exposures, as EXIF states them, are not those of the first one."""
    images = []
    for number, bias in enumerate(biases):
        exif = pillow.Exif()
        if bias is not None:
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureBiasValue] = bias
        images.append(tmp_path / f"{number}.jpg")
        pillow.new("L", (8, 8)).save(images[-1], exif=exif)
    failed = []
    scenes = stacks_of("shots", images, 3, failed)
    if lost is None:
        assert [scene.stem for scene in scenes] == ["0", "3"] and failed == []
    else:
        (name, reason), (place, said) = *failed, lost
        assert scenes == [] and name == "shots" and f"{place}.jpg and what follows it were exposed by {said}" in reason


@pytest.mark.parametrize(
    ("shots", "lost"),
    [
        (((1 / 60, 100), (1 / 250, 100), (1 / 15, 100), (1 / 8, 100), (1 / 30, 100), (0.5, 100)), ""),
        (
            ((1 / 60, 100), (1 / 250, 100), (1 / 15, 100), (1 / 60, 100), (1 / 60, 25), (1 / 60, 400)),
            "",
        ),  # by ISO speed
        (((1 / 60, 100), (1 / 250, 100), (1 / 15, 100), (1 / 250, 100), (1 / 15, 100), (1 / 60, 100)), "3.jpg"),
        (((1 / 60, 100), (1 / 60, 100), (1 / 35, 100), (1 / 15, 100), (1 / 60, 100), (1 / 50, 100)), ""),  # no bracket
        (((1 / 60, 100), (1 / 250, 100), (1 / 15, 100), (None, 100), (1 / 30, 100), (0.5, 100)), ""),
    ],
)
def test_brackets_of_cameras_set_by_hand_are_told_by_time_and_speed(tmp_path, shots, lost):
    """Such cameras state a bias of 0 for every shot."""
    images, tags = [], ExifTags.Base
    for number, (seconds, speed) in enumerate(shots):
        exif = pillow.Exif()
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        inner.update({tags.ExposureBiasValue: 0.0, tags.ISOSpeedRatings: speed, tags.FNumber: 8.0})
        if seconds is not None:
            inner[tags.ExposureTime] = seconds
        images.append(tmp_path / f"{number}.jpg")
        pillow.new("L", (8, 8)).save(images[-1], exif=exif)
    failed = []
    scenes = stacks_of("shots", images, 3, failed)
    assert [scene.stem for scene in scenes] == ([] if lost else ["0", "3"])
    if lost:
        ((_, reason),) = failed
        first = "the first 3 images by +0.0, -2.1, +2.0 (--images_per_stack)"
        assert f"{lost} and what follows it were exposed by +0.0, +4.1, +2.1 EV, {first}" in reason


def test_one_image_in_two_formats_is_refused_and_a_command_given_that_works(stacks, weights, tmp_path, capsys):
    photos = stacks / "one photo"
    (stacks / "one").rename(photos)
    write_image(photos / "1.tif", texture(80, 100, 1))
    assert run(stacks, "-o", tmp_path / "out", weights=weights) == 1
    out = capsys.readouterr().out
    assert "1.png and 1.tif are called alike, as one image in two formats" in out and "two: 3 of 3" in out
    assert "by --pattern '*.png' or --pattern '*.tif'" in out
    assert run(stacks, "-o", tmp_path / "new", "--pattern", "*.PNG", weights=weights) == 0
    assert {"one photo: 3 of 3 images", "two: 3 of 3 images"} == {
        line.split(" -> ")[0].strip() for line in capsys.readouterr().out.splitlines() if " of 3 images" in line
    }
    assert run(*photos.iterdir(), "-o", tmp_path / "a.png", "--pattern", "*.png", "--dry_run", weights=weights) == 0
    assert "  a: 3 images -> " in capsys.readouterr().out


def test_a_pattern_that_nothing_fits_or_that_is_no_name(stacks, weights, tmp_path, capsys):
    assert run(stacks, "-o", tmp_path / "out", "--pattern", "*.CR2", weights=weights) == 1
    error = capsys.readouterr().err
    assert f"{stacks / 'one'} holds no images called like '*.CR2'; a stack has" in error and "and 1 more are" in error
    assert run(stacks / "one" / "0.png", "-o", tmp_path / "out", "--pattern", "*.CR2", weights=weights) == 1
    assert "none of 1 file is called like '*.CR2' (--pattern)" in capsys.readouterr().err
    assert run(stacks / "*" / "*.png", "-o", tmp_path / "out", weights=weights) == 2
    assert "give the folder that holds them, and --pattern '*.png'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(stacks, "-o", tmp_path / "out", "--pattern", "one/*.png", weights=weights)
    assert "--pattern is for names of files" in capsys.readouterr().err


def test_stacks_of_one_name_are_called_by_their_folders_as_well(weights, tmp_path, capsys):
    for day in ("d1", "d2"):
        bracket(tmp_path / day / "hdr")
    write_image(tmp_path / "d1/hdr/3.png", read_image(tmp_path / "d1/hdr/1.png").pixels // 2)
    write_image(tmp_path / "d2/hdr/3.png", read_image(tmp_path / "d2/hdr/1.png").pixels // 3)
    folders = [tmp_path / day / "hdr" for day in ("d1", "d2")]
    assert run(*folders, "-o", tmp_path / "out", "--dry_run", weights=weights) == 0
    said = capsys.readouterr().out
    assert "  d1_hdr: 4 images" in said and "  d2_hdr: 4 images" in said
    assert run(*folders, "-o", tmp_path / "out", "--dry_run", "--images_per_stack", 2, weights=weights) == 0
    said = capsys.readouterr().out
    assert [line.split(":")[0].strip() for line in said.splitlines() if "2 images" in line] == [
        f"{day}_hdr_{number}" for day in ("d1", "d2") for number in (0, 2)
    ]
    listed = sorted(path for folder in folders for path in folder.iterdir())  # of each folder one after the other
    run(*listed, "-o", tmp_path / "out", "--dry_run", "--images_per_stack", 4, "--json", weights=weights)
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["planned"]] == ["d1_hdr_0", "d2_hdr_0"]
    assert run(folders[0], folders[0], "-o", tmp_path / "out", weights=weights) == 1
    assert "several stacks are called hdr; fuse them" in capsys.readouterr().err


def test_notices_of_many_stacks_are_told_a_few_times(weights, tmp_path, capsys):
    for name in "abcdef":
        write_image(tmp_path / name / "0.png", scene(60, 80))
        write_image(tmp_path / name / "1.png", np.full((60, 80), 250, np.uint8))
    assert run(tmp_path, "-o", tmp_path.parent / "out", "--dry_run", weights=weights) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "has no content" in line or "but for" in line]
    assert lines[0] == f"  notice: a: {tmp_path}/a/1.png: has no content, it is left out"
    assert lines[3] == "  notice: d, e, f: the same, but for names and numbers" and len(lines) == 5


def test_images_of_several_folders_are_told_apart(tmp_path):
    paths = [bracket(tmp_path / "a")[0], tmp_path / "b" / "0.png"]
    write_image(paths[1], texture(20, 20, 1))
    with pytest.raises(ImageError, match=f"^{tmp_path}: sizes differ: {paths[0]} is 200x160, {paths[1]} is 20x20"):
        fuse_stack(fuser(), paths)


def test_files_that_are_not_read_are_named(stacks, weights, tmp_path, capsys):
    (stacks / "three").mkdir()
    (stacks / "three" / "a.JXL").write_bytes(b"x")
    (stacks / "one" / "a.xmp").write_bytes(b"x")
    assert run(stacks, "-o", tmp_path / "out", weights=weights) == 1
    out = capsys.readouterr().out
    assert "holds no images; a stack has two or more; its files, ending in .jxl, are not read" in out
    assert f"left out: .xmp; {stacks / 'one' / 'a.xmp'} for one" in out
    assert run(stacks / "three", "-o", tmp_path / "out", weights=weights) == 1
    assert "ending in .jxl, are not read: export them as TIFF, PNG or JPEG" in capsys.readouterr().err


def test_what_differs_in_numbers_is_said_once(weights, tmp_path, capsys):
    for number in range(3):
        pixels = (1000 + (number + 3) * texture(48, 64, number).astype(np.uint16)).astype(np.uint16)
        write_image(tmp_path / "z" / f"{number}.png", pixels)
    assert run(tmp_path / "z", "-o", tmp_path / "out.png", "--dry_run", weights=weights) == 0
    out = capsys.readouterr().out
    assert (
        out.count("uses only") == 1 and "give --range, e.g. " in out and "(and 2 more files, with other numbers)" in out
    )


def test_metadata_of_the_middle_image_are_kept(weights, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for number, path in enumerate(bracket(tmp_path, image=scene(80, 100))):
        exif = pillow.Exif()
        exif[272] = f"camera {number}"
        exif.get_ifd(0x8825)[1] = "N"
        pillow.open(path).save(tmp_path / "in" / f"{number}.jpg", exif=exif)
    for name, told in (("f.png", False), ("f.tif", True)):
        assert run(tmp_path / "in", "-o", tmp_path / name, "--keep_metadata", "gps", weights=weights) == 0
        assert pillow.open(tmp_path / name).getexif()[272] == "camera 1"
        assert ("its place is not kept" in capsys.readouterr().out) == told
    assert run(tmp_path / "in", "-o", tmp_path / "g.png", weights=weights) == 0
    assert not pillow.open(tmp_path / "g.png").getexif()


def test_a_pattern_that_the_shell_leaves_alone(stacks, weights, tmp_path, capsys):
    assert run(stacks / "one" / "*.png", "-o", tmp_path / "a.png", "--dry_run", weights=weights) == 0
    of_pattern = capsys.readouterr().out
    assert run(stacks / "one", "-o", tmp_path / "a.png", "--dry_run", weights=weights) == 0
    listed, of_folder = (out.split(":")[1] for out in (of_pattern, capsys.readouterr().out))
    assert listed == of_folder


def test_nothing_is_given_twice(stacks, tmp_path, capsys):
    files = sorted((stacks / "one").iterdir())
    for option in ([], ["--dry_run"]):
        assert run(*files, files[0], "-o", tmp_path / "out.png", *option) == 1
        assert f"{files[0]} is given twice" in capsys.readouterr().out
    assert run(stacks / "one", stacks / "one", "-o", tmp_path / "out") == 1
    assert "several stacks are called one" in capsys.readouterr().err


def test_links_are_called_as_they_are_named(stacks, weights, tmp_path):
    (tmp_path / "links").mkdir()
    for name in ("first", "second"):
        (tmp_path / "store" / name / "images").parent.mkdir(parents=True)
        shutil.copytree(stacks / "one", tmp_path / "store" / name / "images")
        (tmp_path / "links" / name).symlink_to(tmp_path / "store" / name / "images")
    assert run(tmp_path / "links", "-o", tmp_path / "out", weights=weights) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["first.png", "second.png"]


def test_missing_and_mixed(stacks, tmp_path, capsys):
    assert run(tmp_path / "nowhere", "-o", tmp_path / "out") == 1
    assert "no such file or folder" in capsys.readouterr().err
    assert run(stacks / "one" / "*.jpg", "-o", tmp_path / "out") == 1
    assert "*.jpg: no such file or folder" in capsys.readouterr().err
    assert run(stacks / "one" / "0.png", stacks / "two", "-o", tmp_path / "out") == 1
    assert "is a file and others are folders" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.run([str(stacks), "-o", str(tmp_path / "out"), "--task", "ivf"])
