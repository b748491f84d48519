"""Reading and writing image files: every kind of file, every kind of damage."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adasffuse.images.read import ImageError, folder_range, image_size, read_image, write_png

RGB = np.add.outer(np.arange(0, 90, 5), np.arange(0, 130, 10))[..., None].astype(np.uint8) + np.uint8([0, 20, 36])
GRAY = RGB[..., 0]  # 18 x 13, values 0..205


def save(path: Path, image: Image.Image | np.ndarray, **options) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def save_deep(path: Path, values: np.ndarray) -> Path:
    """uint16 or float32 through OpenCV, since Pillow writes no 16-bit colour."""
    import cv2

    assert cv2.imwrite(str(path), values if values.ndim == 2 else values[..., ::-1])
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_lossless_files_come_back_exactly(tmp_path, suffix):
    color, gray = save(tmp_path / f"c.{suffix}", RGB), save(tmp_path / f"g.{suffix}", GRAY)
    assert read_image(color).pixels.dtype == np.float32
    assert np.array_equal(np.rint(read_image(color).pixels * 255), RGB)
    assert np.array_equal(np.rint(read_image(gray).pixels * 255), GRAY)
    assert read_image(color).notices == ()


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_files_come_back_closely(tmp_path, suffix):
    path = save(tmp_path / f"c.{suffix}", RGB, quality=100)
    assert np.abs(read_image(path).pixels * 255 - RGB).mean() < 4


def test_equal_channels_are_gray(tmp_path):
    assert read_image(save(tmp_path / "a.png", np.dstack([GRAY] * 3))).pixels.shape == GRAY.shape


def test_alpha_is_dropped_with_a_notice(tmp_path):
    clear = np.full(GRAY.shape, 7, np.uint8)
    rgba = read_image(save(tmp_path / "rgba.png", np.dstack([RGB, clear])))
    gray = read_image(save(tmp_path / "la.png", Image.fromarray(np.dstack([GRAY, clear]), "LA")))
    assert np.array_equal(np.rint(rgba.pixels * 255), RGB) and "rgba.png: alpha channel dropped" in rgba.notices[0]
    assert np.array_equal(np.rint(gray.pixels * 255), GRAY) and "la.png: alpha channel dropped" in gray.notices[0]


def test_palette_and_one_bit_files(tmp_path):
    palette = Image.fromarray(RGB).quantize(16)
    pixels = read_image(save(tmp_path / "p.png", palette)).pixels
    assert np.array_equal(np.rint(pixels * 255), np.asarray(palette.convert("RGB")))
    bits = read_image(save(tmp_path / "b.png", Image.fromarray(GRAY > 90))).pixels
    assert np.array_equal(bits, (GRAY > 90).astype(np.float32))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("image", [GRAY, RGB], ids=["gray", "rgb"])
def test_16_bit_files_are_divided_by_65535(tmp_path, suffix, image):
    loaded = read_image(save_deep(tmp_path / f"d.{suffix}", image.astype(np.uint16) * 257))
    assert np.allclose(loaded.pixels, image / 255, atol=1e-6) and loaded.notices == ()


def test_16_bit_with_alpha_keeps_its_depth(tmp_path):
    import cv2

    deep = RGB.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "d.png"), np.dstack([deep[..., ::-1], deep[..., 0]]))
    image = read_image(tmp_path / "d.png")
    assert np.allclose(image.pixels, RGB / 255, atol=1e-6) and "alpha channel dropped" in image.notices[0]


def test_16_bit_range(tmp_path):
    path = save_deep(tmp_path / "d.png", GRAY.astype(np.uint16) * 10 + 20000)
    assert "uses only 20000..22050 of 0..65535" in read_image(path).notices[0]
    image = read_image(path, (20000, 21000))
    assert image.notices == ()
    assert np.allclose(image.pixels, np.clip(GRAY / 100, 0, 1), atol=1e-6)
    with pytest.raises(ImageError, match="two increasing numbers LOW HIGH, got 5 5"):
        read_image(path, (5, 5))


def test_range_leaves_8_bit_files_alone(tmp_path):
    path = save(tmp_path / "g.png", GRAY)
    assert np.array_equal(read_image(path, (20000, 21000)).pixels, read_image(path).pixels)


def test_folder_range_spans_all_deep_files(tmp_path):
    low = save_deep(tmp_path / "a.png", np.full((4, 4), 300, np.uint16))
    high = save_deep(tmp_path / "b.png", np.full((4, 4), 900, np.uint16))
    plain = save(tmp_path / "c.png", GRAY)
    assert folder_range([low, plain, high, tmp_path / "missing.png"]) == (300, 900)
    assert folder_range([plain]) is None


def test_float_files_need_a_range_and_no_nan(tmp_path):
    path = save_deep(tmp_path / "f.tif", GRAY / np.float32(10))
    with pytest.raises(ImageError, match=r"f\.tif: float32 values have no fixed black and white; give --range"):
        read_image(path)
    assert np.allclose(read_image(path, (0, 20.5)).pixels, GRAY / 205, atol=1e-6)
    save_deep(path, np.where(GRAY > 100, np.nan, GRAY).astype(np.float32))
    with pytest.raises(ImageError, match="holds NaN or infinite values"):
        read_image(path, (0, 20.5))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = save(tmp_path / f"whole.{suffix}", image).read_bytes()
    path = tmp_path / f"part.{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=rf"part\.{suffix}: damaged or truncated"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_truncated_16_bit_files_are_refused(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    data = save_deep(tmp_path / f"whole.{suffix}", noise).read_bytes()
    path = tmp_path / f"part.{suffix}"
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(ImageError, match=r"part\..*truncated"):
        read_image(path)


def test_files_that_are_no_images(tmp_path):
    empty, text, gif = tmp_path / "empty.png", tmp_path / "text.png", tmp_path / "gif.png"
    empty.touch()
    text.write_text("hello")
    save(gif, GRAY, format="GIF")
    for path, words in [
        (tmp_path / "none.png", "none.png: no such file; expected a PNG"),
        (empty, "empty.png: the file is empty"),
        (text, "text.png: not a readable image; expected a PNG"),
        (gif, "gif.png: not a readable image"),
        (tmp_path, "cannot be read .*directory"),
    ]:
        with pytest.raises(ImageError, match=words):
            read_image(path)


def test_a_layout_that_would_be_misread_is_refused(tmp_path):
    path = save(tmp_path / "inverted.tif", GRAY.astype(np.uint16) * 257, tiffinfo={262: 0})  # white is 0
    with pytest.raises(ImageError, match="unusual layout of more than 8 bits per channel; export it as 16-bit PNG"):
        read_image(path)


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned.tif", "deep.png", "deep.tif"])
def test_exif_orientation_is_applied(tmp_path, name):
    image = GRAY.astype(np.uint16) * 257 if name.startswith("deep") else GRAY
    exif = Image.Exif()
    exif[274] = 6  # the camera was held sideways: turn clockwise by a quarter
    options = {"tiffinfo": {274: 6}} if name.endswith("tif") else {"exif": exif}
    path = save(tmp_path / name, image, **options)
    pixels = read_image(path).pixels
    assert np.abs(pixels * 255 - np.rot90(GRAY, -1)).max() < 8  # JPEG is lossy
    assert image_size(path) == pixels.shape == (13, 18)


def test_only_the_first_page_is_read(tmp_path):
    path = save(tmp_path / "pages.tif", GRAY, save_all=True, append_images=[Image.fromarray(GRAY // 2)])
    image = read_image(path)
    assert np.array_equal(np.rint(image.pixels * 255), GRAY)
    assert "holds 2 pages or frames, only the first is read" in image.notices[0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 7), (5, 7, 3), (1, 1, 3)])
def test_written_files_come_back_exactly(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "new" / "folder" / "a.png"
    write_png(path, image)
    assert np.array_equal(np.rint(read_image(path).pixels * 255), image)
    assert image_size(path) == shape[:2]
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_writing_where_one_cannot(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"cannot write .*file/a\.png: .*; choose a folder that is writable"):
        write_png(tmp_path / "file" / "a.png", GRAY)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(ImageError, match="cannot write"):
        write_png(tmp_path / "b.png", GRAY)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.png", "file"]  # nothing half-written


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes anywhere")
def test_writing_into_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ImageError, match="Permission denied"):
        write_png(tmp_path / "a.png", GRAY)


def test_a_failed_write_keeps_the_older_file(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png", GRAY)
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ImageError, match="No space left on device"):
        write_png(tmp_path / "a.png", GRAY // 2)
    assert np.array_equal(np.rint(read_image(tmp_path / "a.png").pixels * 255), GRAY)


def test_write_png_rejects_other_arrays(tmp_path):
    with pytest.raises(ValueError, match=r"uint8 \(H, W\) or \(H, W, 3\), got float32"):
        write_png(tmp_path / "a.png", GRAY.astype(np.float32))
    with pytest.raises(ValueError, match=r"got uint8 \(4, 4, 4\)"):
        write_png(tmp_path / "a.png", np.zeros((4, 4, 4), np.uint8))


def test_image_size_reads_no_pixels(tmp_path):
    data = io.BytesIO()
    Image.fromarray(RGB).save(data, "PNG")
    (tmp_path / "half.png").write_bytes(data.getvalue()[:60])
    assert image_size(tmp_path / "half.png") == (18, 13)
