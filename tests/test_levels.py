"""Large images kept as the whole numbers of their files: nothing that is made of them differs."""

import cv2
import numpy as np
import pytest
import tifffile

from adasffuse.images import levels
from adasffuse.images.color import is_colorful, luminance
from adasffuse.images.content import measure_content
from adasffuse.images.image import Image
from adasffuse.images.levels import compacted, expanded, luma_of, same_pixels
from adasffuse.images.pairs import SceneFolder
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference.folder import WantedResults, fuse_scenes
from adasffuse.inference.fuser import load_fuser
from adasffuse.inference.work import find_work
from adasffuse.registration.aligner import Aligner
from adasffuse.registration.estimate import misalignment
from adasffuse.registration.transform import Transform


@pytest.fixture
def all_large(monkeypatch):
    monkeypatch.setattr(levels, "LARGE", 0)


def scene(dtype, channels: int = 0, seed: int = 0) -> np.ndarray:
    """A smooth texture, (90, 110) or (90, 110, channels)."""
    rng = np.random.default_rng(seed)
    grain = rng.random((12, 14, channels) if channels else (12, 14))
    return np.rint(cv2.resize(grain, (110, 90), interpolation=cv2.INTER_LINEAR) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_are_those_of_the_file_and_become_the_same_pixels(tmp_path, all_large, dtype, channels, suffix):
    values = scene(dtype, channels)
    write_image(tmp_path / f"a.{suffix}", values)
    kept, plain = read_image(tmp_path / f"a.{suffix}", levels=True), read_image(tmp_path / f"a.{suffix}")
    assert kept.pixels.dtype == dtype and np.array_equal(kept.pixels, values)
    assert plain.pixels.dtype == np.float32 and np.array_equal(expanded(kept.pixels), plain.pixels)
    assert (kept.depth, kept.window, kept.notices) == (plain.depth, plain.window, plain.notices)


def test_gray_images_of_three_channels_and_turned_ones_keep_levels_too(tmp_path, all_large):
    values = scene(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([values] * 3), photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    assert np.array_equal(read_image(tmp_path / "a.tif", levels=True).pixels, np.rot90(values, -1))


def test_values_that_need_more_than_a_division_are_converted(tmp_path, all_large):
    """A range, a file's own span, an inverted scale, missing data."""
    deep = scene(np.uint16) // 2
    write_image(tmp_path / "deep.png", deep)
    tifffile.imwrite(tmp_path / "inverted.tif", scene(np.uint8), photometric="miniswhite")
    (tmp_path / "span.pgm").write_bytes(b"P5 110 90 4095\n" + (deep // 16).astype(">u2").tobytes())
    for name, options in (
        ("deep.png", {"value_range": (0, 40000)}),
        ("deep.png", {"no_data": float(deep[3, 4])}),
        ("inverted.tif", {}),
        ("span.pgm", {}),
    ):
        kept, plain = (read_image(tmp_path / name, levels=on, **options) for on in (True, False))
        assert kept.pixels.dtype == np.float32 and np.array_equal(kept.pixels, plain.pixels)


def test_small_images_keep_no_levels(tmp_path):
    write_image(tmp_path / "a.png", scene(np.uint8))
    assert read_image(tmp_path / "a.png", levels=True).pixels.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_looks_at_levels_sees_what_it_sees_of_pixels(dtype, monkeypatch):
    monkeypatch.setattr(levels, "_STEP", 700)  # several bands, the last one smaller
    a, b = scene(dtype, 3), scene(dtype, 0, seed=1)
    pixels = expanded(a)
    assert np.array_equal(luma_of(a), luminance(pixels))
    assert measure_content(a) == measure_content(pixels)
    assert is_colorful(a) and is_colorful(pixels) and not is_colorful(b)
    assert misalignment(Image(a), Image(b)) == misalignment(Image(pixels), Image(expanded(b)))
    assert same_pixels(a, pixels) and not same_pixels(a, b)
    changed = a.copy()
    changed[-1, -1, 0] ^= 1
    assert not same_pixels(changed, a)


def test_pixels_of_8_bits_are_compacted_and_others_stay():
    values = scene(np.uint8, 3)
    assert np.array_equal(compacted(expanded(values)), values)
    deep = expanded(scene(np.uint16))
    assert compacted(deep) is deep


_TURNED = np.array([[0.98, 0.05, 6.0], [-0.05, 1.01, -4.0], [0, 0, 1]])
_CALIBRATED = Aligner(calibration=Transform("affine", _TURNED, (90, 110), (90, 110)))


@pytest.mark.parametrize(("flat", "align"), [(False, None), (True, None), (False, _CALIBRATED)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_results_of_levels_are_those_of_pixels(tmp_path, monkeypatch, dtype, flat, align):
    """Also where a source has no content, or only some after a warp, so that the other's values count; and of panels.

    What is done a band of rows at a time is done for all rows alike.
    """
    fuser = load_fuser("ivf", "tiny", device="cpu")
    infrared = np.full((90, 110), 100, dtype) if flat else scene(dtype, seed=1)
    write_image(tmp_path / "infrared" / "a.png", infrared)
    write_image(tmp_path / "visible" / "a.png", scene(dtype, 3))
    folder = SceneFolder("pair", (tmp_path / "infrared", tmp_path / "visible"))
    reports = {}
    for name, large, band in (("plain", 1 << 23, 1 << 20), ("levels", 0, 1000)):
        monkeypatch.setattr(levels, "LARGE", large)
        monkeypatch.setattr(levels, "_STEP", band)
        work = find_work(folder, tmp_path / name)
        reports[name] = fuse_scenes(fuser, work, WantedResults(panels=True, align=align))
        assert not reports[name].failed
    assert reports["plain"].notices == reports["levels"].notices
    for file in ("a.png", "panels/a.png"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "levels" / file).read_bytes()
