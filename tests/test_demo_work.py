"""What the web page does with images, without a browser."""

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from skimage import data as photographs
from special_files import radiometric_jpeg
from tiny import texture

from adasffuse import load_fuser
from adasffuse.cli import fuse
from adasffuse.demo.work import Choices, fuse_files, share_of_first
from adasffuse.images.image import ImageError
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference.stack import fuse_stack


@pytest.fixture
def pair(tmp_path):
    files = [tmp_path / "in" / name for name in ("a b.png", "visible.png")]
    write_image(files[0], texture(48, 64, 1))
    write_image(files[1], np.stack([texture(48, 64, seed) for seed in (2, 3, 4)], axis=2))
    return files


def test_the_page_gives_what_the_library_gives(pair, tmp_path):
    result = fuse_files(Choices("ivf", "tiny"), pair, tmp_path)
    expected = load_fuser("ivf", "tiny").fuse(*pair)
    assert np.array_equal(result.fused, expected)
    assert np.array_equal(np.rint(read_image(result.file).pixels * 255), expected)
    assert result.command == "adasffuse fuse 'a b.png' visible.png -o fused.png --task ivf --size tiny"
    assert len(result.scores) == 8 and all(np.isfinite(list(result.scores.values())))


def test_deep_files_stay_deep(tmp_path):
    for name, seed in (("a.png", 1), ("b.png", 2)):
        write_image(tmp_path / name, texture(48, 64, seed).astype(np.uint16) * 257)
    result = fuse_files(Choices("mff", "tiny"), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path)
    assert read_image(result.file).depth == "16" and result.fused.dtype == np.uint8


def test_the_command_does_the_same_with_values_that_need_a_range(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("a.tif", 20 + texture(48, 64, 1).astype(np.float32) / 20, photometric="minisblack")
    write_image("b.png", texture(48, 64, 2))
    result = fuse_files(Choices("ivf", "tiny"), [tmp_path / "a.tif", tmp_path / "b.png"], tmp_path)
    words = shlex.split(result.command)
    assert words[:2] == ["adasffuse", "fuse"] and words[-6:-4] == ["--range_a", "folder"]
    assert fuse.run(words[2:]) == 0
    assert np.array_equal(read_image("fused.png").pixels, read_image(result.file).pixels)
    tifffile.imwrite("flat.tif", np.full((48, 64), 20, np.float32), photometric="minisblack")
    with pytest.raises(ImageError, match=r"flat\.tif: all its values are equal"):
        fuse_files(Choices("ivf", "tiny"), [tmp_path / "flat.tif", tmp_path / "b.png"], tmp_path)


def test_thermal_counts_are_shown_by_the_range_that_they_use(tmp_path):
    counts = 21500 + 8 * texture(48, 64, 1).astype(np.uint16)
    for folder, pixels in (("a", counts), ("b", texture(48, 64, 2))):
        write_image(tmp_path / folder / "1.png", pixels)
    result = fuse_files(Choices("ivf", "tiny"), [tmp_path / "a/1.png", tmp_path / "b/1.png"], tmp_path)
    assert np.ptp(result.sources[0]) > 240 and result.notices == ()
    assert result.command.startswith("adasffuse fuse infrared/1.png visible/1.png -o fused.png --range_a folder")


def test_images_that_do_not_lie_on_each_other_are_told(tmp_path):
    photograph = cv2.resize(photographs.coffee(), (320, 240), interpolation=cv2.INTER_AREA)
    write_image(tmp_path / "a.png", np.roll(255 - cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY), 12, axis=1))
    write_image(tmp_path / "b.png", photograph)
    notices = fuse_files(Choices("ivf", "tiny"), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path).notices
    assert any("seem not to lie on each other, by about 1" in notice for notice in notices)


@pytest.mark.parametrize(("name", "value"), [("strength", 0.25), ("denoise", 1.0)])
def test_what_infrared_and_visible_alone_have_is_in_their_command(pair, tmp_path, name, value):
    result = fuse_files(Choices("ivf", "tiny", **{name: value}), pair, tmp_path)
    assert result.command.endswith(f"--{name} {value:g}")
    assert np.array_equal(result.fused, load_fuser("ivf", "tiny", **{name: value}).fuse(*pair))
    assert "--" + name not in fuse_files(Choices("mef", "tiny", **{name: value}), pair, tmp_path).command


def test_false_colours_of_a_gray_scan(pair, tmp_path):
    files = [tmp_path / "pet.png", tmp_path / "mri.png"]
    for seed, file in enumerate(files):
        write_image(file, texture(48, 64, seed))
    result = fuse_files(Choices("mif", "tiny", palette="hot"), files, tmp_path)
    assert result.command.endswith("--task mif --size tiny --palette hot") and result.scores == {}
    assert np.array_equal(result.fused, load_fuser("mif", "tiny").fuse(*files, palette="hot"))
    assert result.sources[0].ndim == 3  # shown as it was fused
    assert "--palette" not in fuse_files(Choices("ivf", "tiny", palette="hot"), pair, tmp_path).command
    with pytest.raises(ImageError, match=r"pet\.png: has colour already"):
        write_image(files[0], np.dstack([texture(48, 64, seed) for seed in (1, 2, 3)]))
        fuse_files(Choices("mif", "tiny", palette="hot"), files, tmp_path)


def test_a_stack(tmp_path):
    files = [tmp_path / f"{seed}.png" for seed in (1, 2, 3)]
    for seed, file in enumerate(files):
        write_image(file, texture(48, 64, seed))
    result = fuse_files(Choices("mef", "tiny"), files, tmp_path)
    assert len(result.sources) == 3 and result.share is None and result.scores == {}
    assert result.command.startswith("adasffuse stack 1.png 2.png 3.png")


def test_a_radiometric_file_is_a_pair_by_itself(tmp_path, monkeypatch):
    pytest.importorskip("flyr")
    monkeypatch.chdir(tmp_path)
    counts, photograph = 18000 + 8 * texture(48, 64, 1).astype(np.uint16), photographs.astronaut()[:96, :128]
    Path("shot.jpg").write_bytes(radiometric_jpeg(counts, photograph, (1.0, 0, 0)))
    Path("alone.jpg").write_bytes(radiometric_jpeg(counts))
    result = fuse_files(Choices("ivf", "tiny"), [None, "shot.jpg"], tmp_path)
    assert len(result.sources) == 2 and result.share is not None and len(result.scores) == 8
    assert any("camera's own setting for parallax" in notice for notice in result.notices)
    words = shlex.split(result.command)
    assert words == ["adasffuse", "fuse", "shot.jpg", "-o", "fused.png", "--task", "ivf", "--size", "tiny"]
    assert fuse.run(words[2:]) == 0
    assert np.array_equal(read_image("fused.png").pixels, read_image(result.file).pixels)
    with pytest.raises(ImageError, match=r"alone\.jpg: holds temperatures, but no photograph"):
        fuse_files(Choices("ivf", "tiny"), ["alone.jpg"], tmp_path)
    with pytest.raises(ImageError, match=r"give at least two images of the scene, got 1$"):
        fuse_files(Choices("mef", "tiny"), ["shot.jpg"], tmp_path)
    with pytest.raises(ImageError, match=r"shot\.jpg has 0\.0 megapixels, this page takes up to 0\.004"):
        fuse_files(Choices("ivf", "tiny"), ["shot.jpg"], tmp_path, megapixels=0.004)  # the photograph


def test_a_stack_is_fused_and_told_of_as_by_the_command(tmp_path):
    still = cv2.resize(photographs.coffee()[60:340, 100:450], (200, 160), interpolation=cv2.INTER_AREA)
    files = [tmp_path / str(number) / f"{number}.png" for number in range(3)]  # each upload has a folder of its own
    for number, file in enumerate(files):
        image = still.copy()
        image[40:90, 20 + 60 * number : 70 + 60 * number] = 255 - image[40:90, 20 + 60 * number : 70 + 60 * number]
        write_image(file, image // np.uint8(3 - number))
    result = fuse_files(Choices("mef", "tiny"), files, tmp_path)
    expected = fuse_stack(load_fuser("mef", "tiny"), files)
    without_folder = tuple(notice.removeprefix(f"{tmp_path}: ") for notice in expected.notices)
    assert np.array_equal(result.fused, expected.pixels) and result.notices == without_folder
    assert any("(ghosts)" in notice for notice in result.notices)
    write_image(files[2], texture(20, 30, 1))
    with pytest.raises(ImageError, match=r"^sizes differ: 0\.png is 200x160, 2\.png is 30x20 pixels"):
        fuse_files(Choices("mef", "tiny"), files, tmp_path)


def test_images_of_two_sizes_are_registered(tmp_path):
    photograph = cv2.resize(photographs.coffee(), (320, 240), interpolation=cv2.INTER_AREA)
    gray = 255 - cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)
    write_image(tmp_path / "a.png", cv2.resize(gray, (240, 180), interpolation=cv2.INTER_AREA))
    write_image(tmp_path / "b.png", photograph)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(ImageError, match="choose a registration"):
        fuse_files(Choices("ivf", "tiny"), files, tmp_path)
    result = fuse_files(Choices("ivf", "tiny", align="affine"), files, tmp_path)
    assert result.fused.shape[:2] == (240, 320) and result.command.endswith("--align affine")
    inside = (slice(20, -20), slice(20, -20))
    assert np.abs(result.sources[0].astype(int) - gray)[inside].mean() < 6


def test_whose_brightness():
    first, second = np.full((2, 2), 200, np.uint8), np.full((2, 2), 100, np.uint8)
    assert share_of_first(first, second, first)[0, 0].tolist() == [230, 140, 30]
    assert share_of_first(first, second, second)[0, 0].tolist() == [30, 110, 220]
    assert (share_of_first(first, first, first) == 128).all()


def test_what_is_refused(pair, tmp_path):
    write_image(tmp_path / "other.png", texture(20, 20, 1))
    (tmp_path / "text.png").write_text("no image")
    for files, words in (
        ([pair[0]], "at least two images"),
        ([pair[0], None], "at least two images"),
        ([*pair, pair[0]], "takes two images, got 3"),
        ([pair[0], tmp_path / "other.png"], "sizes differ: a b.png 64x48, other.png 20x20"),
        ([pair[0], tmp_path / "text.png"], "text.png: not a readable image"),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            fuse_files(Choices("ivf", "tiny"), files, tmp_path)
        assert str(tmp_path) not in str(caught.value)  # the server's folders
    with pytest.raises(ImageError, match=r"0\.0 megapixels, this page takes up to 0\.001"):
        fuse_files(Choices("ivf", "tiny"), pair, tmp_path, megapixels=0.001)
    with pytest.raises(ImageError, match="registration is for two images, got 3"):
        fuse_files(Choices("mef", "tiny", align="affine"), [*pair, pair[0]], tmp_path)


def test_what_may_not_be_meant_is_told(pair, tmp_path):
    assert "was one image given twice?" in fuse_files(Choices("ivf", "tiny"), [pair[0]] * 2, tmp_path).notices[-1]
    write_image(tmp_path / "flat.png", np.full((48, 64), 90, np.uint8))
    (notice,) = fuse_files(Choices("ivf", "tiny"), [tmp_path / "flat.png", pair[1]], tmp_path).notices
    assert "source A: has no content" in notice
