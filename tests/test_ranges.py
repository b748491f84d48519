"""Value ranges: what an option means, and one window for the deep files of a folder."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from adasffuse.images.ranges import RangeSpec, parse_range, resolve_range
from adasffuse.images.read import read_image


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (None, None),
        (["7200", "8220"], RangeSpec("fixed", 7200, 8220)),
        ([18, 38.5], RangeSpec("fixed", 18, 38.5)),
        ("-20 150", RangeSpec("fixed", -20, 150)),
        ("folder", RangeSpec("folder")),
        (["folder"], RangeSpec("folder")),
        (["1%", "99.5%"], RangeSpec("percentiles", 1, 99.5)),
        (["7200", "8220", "inverted"], RangeSpec("fixed", 7200, 8220, inverted=True)),
        ("1% 99% inverted", RangeSpec("percentiles", 1, 99, inverted=True)),
        ("inverted", RangeSpec("folder", inverted=True)),
    ],
)
def test_what_an_option_means(words, spec):
    assert parse_range(words) == spec


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["low", "high"], "two numbers LOW HIGH in the files' units, 'folder', or two percentages .* got 'low high'"),
        (["5"], "got '5'"),
        ([], "got ''"),
        (["1", "2", "3"], "got '1 2 3'"),
        (["1%", "99"], "got '1% 99'"),
        (["nan", "inf"], "got 'nan inf'"),
        (["9", "5"], "needs LOW < HIGH, got 9 5; where high values are dark, give 5 9 inverted"),
        (["inverted", "5", "9"], "got 'inverted 5 9'"),
        (["5", "5"], "needs LOW < HIGH"),
        (["-1%", "99%"], r"percentages of a value range lie in 0\.\.100"),
    ],
)
def test_what_is_no_range(words, message):
    with pytest.raises(ValueError, match=message):
        parse_range(words)


def test_a_fixed_range_needs_no_files(tmp_path):
    assert resolve_range(parse_range(["3", "4"]), [tmp_path / "none"]) == (3, 4)
    assert resolve_range(None, [tmp_path / "none"]) is None


def test_black_hot_images(tmp_path):
    """Files of 8 bits are inverted as they are, deeper ones between the values that are asked for."""
    values = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(values).save(tmp_path / "8.png")
    tifffile.imwrite(tmp_path / "16.tif", values.astype(np.uint16) + 7000)
    for words, expected in (("inverted", (255, 0)), ("0 255 inverted", (255, 0))):
        window = resolve_range(parse_range(words), [tmp_path / "8.png"])
        image = read_image(tmp_path / "8.png", window)
        assert window == expected and image.notices == ()
        np.testing.assert_allclose(image.pixels, 1 - values / 255, atol=1e-6)
    for words, low, high in (("7000 7199 inverted", 0, 199), ("7050 7100 inverted", 50, 100)):
        image = read_image(tmp_path / "16.tif", resolve_range(parse_range(words), []))
        np.testing.assert_allclose(image.pixels, ((high - values.astype(float)) / (high - low)).clip(0, 1), atol=1e-6)
    low, high = resolve_range(parse_range("folder"), [tmp_path / "16.tif"])
    assert resolve_range(parse_range("inverted"), tmp_path.iterdir()) == (high, low)


def test_what_parse_range_has_not_seen_is_refused():
    with pytest.raises(ValueError, match=r"what parse_range .* returns, got \(0, 1\)"):
        resolve_range((0, 1), [])


@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_the_window_where_pixels_are_missing_everywhere(tmp_path, share):
    values = np.tile(np.linspace(20, 30, 60, dtype=np.float32), (40, 1))
    values[np.random.default_rng(0).random(values.shape) < share] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)
    for words in ("folder", "0% 100%"):
        low, high = resolve_range(parse_range(words), [tmp_path / "a.tif"])
        assert 20 <= low < 22 and 28 < high <= 30


def test_one_window_for_all_deep_files_of_a_folder(tmp_path):
    files = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for file, base in zip(files, (7000, 7500)):
        tifffile.imwrite(file, (base + np.tile(np.linspace(0, 100, 30), (20, 1))).astype(np.uint16))
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(tmp_path / "8bit.png")
    (tmp_path / "broken.tif").write_bytes(b"II*\0broken")
    low, high = resolve_range(parse_range("folder"), [*files, tmp_path / "8bit.png", tmp_path / "broken.tif"])
    assert low == pytest.approx(7000, abs=4) and high == pytest.approx(7600, abs=4)  # of blocks of 2 x 2
    assert resolve_range(parse_range("folder"), [tmp_path / "8bit.png"]) is None


def test_dead_pixels_and_lines_do_not_count_but_small_targets_do(tmp_path):
    values = np.full((40, 50), 7000, np.uint16)
    values[3, 4], values[20, 30], values[:, 10] = 65535, 0, 60000
    values[30:32, 40:42] = 9000  # a hot target of four pixels
    tifffile.imwrite(tmp_path / "a.tif", values)
    window = resolve_range(parse_range("folder"), [tmp_path / "a.tif"])
    assert window == (7000, 9000)
    target = read_image(tmp_path / "a.tif", window).pixels[30:32, 40:42]
    assert target.min() == 1


def test_missing_values_do_not_count(tmp_path):
    values = np.full((20, 30), 20.0, np.float32)
    values[10:, :] = 30
    values[:5], values[5:8] = np.nan, -9999
    tag = [(42113, "s", 0, "-9999", True)]
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=tag)
    assert resolve_range(parse_range("folder"), [tmp_path / "a.tif"]) == (20, 30)
    values[:8] = 0
    tifffile.imwrite(tmp_path / "b.tif", values)
    assert resolve_range(parse_range("folder"), [tmp_path / "b.tif"]) == (0, 30)
    assert resolve_range(parse_range("folder"), [tmp_path / "b.tif"], no_data=0) == (20, 30)
    assert resolve_range(parse_range("folder"), [tmp_path / "b.tif"], thermal=True) == (20, 30)
    values[:] = np.nan
    tifffile.imwrite(tmp_path / "c.tif", values)
    assert resolve_range(parse_range("folder"), [tmp_path / "c.tif"]) is None


def test_percentiles_are_of_all_files_together(tmp_path):
    for number in range(10):  # 0..999 in ten files
        values = np.arange(100 * number, 100 * number + 100).repeat(4).reshape(100, 4)
        tifffile.imwrite(tmp_path / f"{number}.tif", values.astype(np.uint16))
    files = sorted(tmp_path.iterdir())
    low, high = resolve_range(parse_range(["10%", "90%"]), files)
    assert (low, high) == pytest.approx((100, 900), abs=2)
    assert resolve_range(parse_range(["0%", "100%"]), files) == pytest.approx((0, 999), abs=2)


@pytest.mark.parametrize("words", ["folder", ["1%", "99%"]])
def test_one_value_everywhere_is_a_window_all_the_same(tmp_path, words):
    tifffile.imwrite(tmp_path / "a.tif", np.full((5, 5), 300, np.uint16))
    low, high = resolve_range(parse_range(words), [tmp_path / "a.tif"])
    assert low == 300 < high
    assert not read_image(tmp_path / "a.tif", (low, high)).pixels.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_thin_images(tmp_path, shape):
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape) + 5
    tifffile.imwrite(tmp_path / "a.tif", values)
    low, high = resolve_range(parse_range("folder"), [tmp_path / "a.tif"])
    assert low >= 5 and low < high
