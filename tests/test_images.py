"""Reading and writing image files: every kind of file, every kind of damage.  Other libraries write the files."""

import base64
import io
import os
import re
import socket
import struct
import sys
import zlib
from functools import partial
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import skimage.color
import tifffile
from PIL import Image, ImageCms, PngImagePlugin, features

from adasffuse.images.arrays import as_image
from adasffuse.images.formats import open_exif, open_image
from adasffuse.images.image import ImageError
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise, result_depth, write_image
from adasffuse.installation import install_command
from adasffuse.messages import printable

RGB = np.add.outer(np.arange(0, 90, 5), np.arange(0, 130, 10))[..., None].astype(np.uint8) + np.uint8([0, 20, 36])
GRAY = RGB[..., 0]  # 18 x 13, values 0..205


def save(path: Path, image: Image.Image | np.ndarray, **options) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def save_deep(path: Path, values: np.ndarray) -> Path:
    """uint16 or float32 through OpenCV, since Pillow writes no 16-bit colour."""
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


@pytest.mark.parametrize("form", ["rgba.png", "la.png", "la.tif", "deep.png", "key.png", "array"])
def test_what_is_transparent_is_no_data(tmp_path, form):
    clear = np.zeros(GRAY.shape, bool)
    clear[:, :2] = True
    alpha = np.where(clear, 0, 255).astype(np.uint8)
    rgba, path = np.dstack([RGB, alpha]), tmp_path / form
    if form in ("rgba.png", "array"):
        save(path.with_suffix(".png"), rgba)
    elif form == "deep.png":
        cv2.imwrite(str(path), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA).astype(np.uint16) * 257)
    elif form == "key.png":
        save(path, Image.fromarray(np.where(clear, 0, np.maximum(GRAY, 1))), transparency=0)
    else:
        save(path, Image.fromarray(np.dstack([GRAY, alpha]), "LA"))
    image = as_image(rgba) if form == "array" else read_image(path)
    assert np.array_equal(image.valid, ~clear)
    assert image.notices[0].endswith(f": {clear.mean():.0%} of its pixels are transparent and count as no data")


def test_alpha_that_is_no_mask(tmp_path):
    """Nothing is lost with a constant one; a fourth byte that nobody set, or a thermal image in alpha, is no mask."""
    cases = ((np.full(GRAY.shape, 7, np.uint8), None), (GRAY * 0, "is 0 everywhere"), (GRAY, "is no mask"))
    for alpha, said in cases:
        image = read_image(save(tmp_path / "a.png", np.dstack([RGB, alpha])))
        assert image.valid is None and np.array_equal(np.rint(image.pixels * 255), RGB)
        assert (said in image.notices[0]) if said else image.notices == ()


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
    deep = RGB.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "d.png"), np.dstack([deep[..., ::-1], deep[..., 0]]))
    image = read_image(tmp_path / "d.png")
    assert np.allclose(image.pixels, RGB / 255, atol=1e-6) and "alpha channel dropped" in image.notices[0]


def test_16_bit_range(tmp_path):
    path = save_deep(tmp_path / "d.png", GRAY.astype(np.uint16) * 10 + 20000)
    notice = read_image(path).notices[0]
    said = "uses only 20000..22050 of 0..65535; give a value range for this source, e.g. 20000 22050"
    assert notice.endswith(said)  # Python has no 'folder'
    by_command = read_image(path, option="--range_a").notices[0]
    assert by_command.endswith("; give --range_a, e.g. 20000 22050, or 'folder' for one range of all files")
    assert read_image(save_deep(tmp_path / "flat.png", np.full((8, 8), 13824, np.uint16))).notices == ()
    image = read_image(path, (20000, 21000))
    assert image.notices == ()
    assert np.allclose(image.pixels, np.clip(GRAY / 100, 0, 1), atol=1e-6)
    with pytest.raises(ImageError, match="two numbers, the values of black and of white, got 5 5"):
        read_image(path, (5, 5))


def test_advice_about_arrays_names_no_option_of_commands():
    deep = GRAY.astype(np.uint16) * 10 + 20000
    advice = "give a value range for this source, e.g. 20000 22050"
    for image in (deep, Image.fromarray(deep)):
        assert as_image(image).notices == (f"the image: uses only 20000..22050 of 0..65535; {advice}",)
    with pytest.raises(ImageError, match=r"LOW HIGH in its units \(they span 0\.\.205\)$"):
        as_image(GRAY.astype(np.int32))


@pytest.mark.parametrize("option", [{"value_range": (0, 0.5)}, {"no_data": 0}])
def test_a_range_comes_too_late_for_what_is_an_image(option):
    image = as_image(np.zeros((4, 4), np.float32))
    assert as_image(image) is image
    with pytest.raises(ImageError, match=r"source A: is an Image, whose values are on \[0, 1\] already"):
        as_image(image, "source A", **option)


def test_range_leaves_8_bit_files_alone(tmp_path):
    path = save(tmp_path / "g.png", GRAY)
    image = read_image(path, (20000, 21000))
    assert np.array_equal(image.pixels, read_image(path).pixels)
    assert "the range 20000 21000 is not used" in image.notices[0] and image.window == (0, 255)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i1", "i2", "i4", "u4"])
def test_values_without_fixed_black_and_white_need_a_range(tmp_path, kind):
    path = tmp_path / "f.tif"
    tifffile.imwrite(path, (GRAY // 2).astype(kind))
    with pytest.raises(
        ImageError, match=r"f\.tif: \w+ values have no fixed black and white; give a value range for th"
    ):
        read_image(path)
    image = read_image(path, (0, 102))
    assert np.allclose(image.pixels, GRAY // 2 / 102, atol=1e-6) and image.window == (0, 102)
    assert image.depth == {"i1": "8", "i2": "16"}.get(kind, "float") and image.valid is None


def test_without_a_range_a_file_that_holds_nothing_says_so(tmp_path):
    tifffile.imwrite(tmp_path / "f.tif", np.full((4, 5), np.nan, np.float32))
    with pytest.raises(ImageError, match="it holds no data at all"):
        read_image(tmp_path / "f.tif")


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_no_data(tmp_path, missing):
    tifffile.imwrite(tmp_path / "f.tif", np.where(GRAY > 100, missing, GRAY).astype(np.float32))
    image = read_image(tmp_path / "f.tif", (0, 100))
    assert np.array_equal(image.valid, GRAY <= 100)
    assert np.allclose(image.pixels, np.where(GRAY > 100, 0, GRAY / 100), atol=1e-6)


def test_no_data_by_tag_and_by_value(tmp_path):
    path = tmp_path / "g.tif"
    lowest = np.float32(np.finfo(np.float32).min)
    tag = [(42113, "s", 0, "-3.4028234663852886e+38", True)]  # as GDAL writes it
    tifffile.imwrite(path, np.where(GRAY > 100, lowest, GRAY.astype(np.float32)), extratags=tag)
    assert np.array_equal(read_image(path, (0, 150)).valid, GRAY <= 100)
    dead = GRAY.astype(np.uint16)
    dead[4, 5] = 999
    single = read_image(save_deep(tmp_path / "d.png", dead), (0, 150), no_data=999)
    assert single.valid is None and "have the values of their neighbours" in single.notices[0]
    assert single.pixels[4, 5] == pytest.approx(GRAY[4, 5] / 150, abs=1e-4)
    color = read_image(save(tmp_path / "c.png", RGB), no_data=36)
    assert color.valid is None  # no pixel has 36 in all channels
    assert np.array_equal(read_image(save(tmp_path / "8.png", GRAY // 100), no_data=1).valid, GRAY // 100 != 1)


def test_no_data_does_not_count_as_used(tmp_path):
    values = GRAY.astype(np.uint16) * 300
    values[:5] = 65535
    assert not read_image(save_deep(tmp_path / "d.png", values)).notices
    image = read_image(save_deep(tmp_path / "d.png", np.where(values < 65535, values // 50, values)), no_data=65535)
    assert "uses only" in image.notices[0] and image.window == (0, 65535)


def test_a_file_without_any_data_says_so(tmp_path):
    tifffile.imwrite(tmp_path / "n.tif", np.full((4, 5), np.nan, np.float32))
    image = read_image(tmp_path / "n.tif", (0, 1))
    assert not image.valid.any() and not image.pixels.any() and "holds no data at all" in image.notices[0]


def test_black_border_of_a_thermal_image(tmp_path):
    values = np.full((40, 50), 90, np.uint8)
    values[:, :10] = 0
    path = save(tmp_path / "t.png", values)
    assert read_image(path).valid is None
    assert np.array_equal(read_image(path, thermal=True).valid, values > 0)


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
    empty, text = tmp_path / "empty.png", tmp_path / "text.png"
    empty.touch()
    text.write_text("hello")
    pointer, page = tmp_path / "pointer.png", tmp_path / "page.jpg"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    page.write_text("\n<!DOCTYPE html>\n<title>404</title>")
    others = []
    for number, (content, words) in enumerate(
        [
            (b"#?RADIANCE\n", "it is Radiance HDR"),
            (b"Pf\n8 8\n-1.0\n", "it is PFM or PAM"),
            (b"\x93NUMPY\x01\x00", "it is an array of NumPy: write it as TIFF"),
            (b"MATLAB 5.0 MAT-file, Platform", "it is a file of MATLAB: write it as TIFF"),
            (b"PK\x03\x04", "it is a ZIP archive"),
            ("Emissivit\u00e4t;0,95\r\n20,1;20,4;\r\n".encode("latin-1"), "it is text: write temperatures as TIFF"),
        ]
    ):
        others.append((tmp_path / f"{number}.dat", words))
        others[-1][0].write_bytes(content)
    dicom = tmp_path / "scan.tif"
    dicom.write_bytes(b"II*\0" + bytes(124) + b"DICM" + bytes(100))
    for path, words in [
        (tmp_path / "none.png", "none.png: no such file; expected a PNG"),
        (empty, "empty.png: the file is empty"),
        (text, "text.png: not a readable image; expected a PNG"),
        (pointer, "pointer.png: not a readable image; it is a pointer of Git LFS: run 'git lfs pull'"),
        (page, "page.jpg: not a readable image; it is a web page: download the image itself"),
        *others,
        (dicom, "scan.tif: (not a readable image|a DICOM file without an image|reading DICOM needs pydicom)"),
        (tmp_path, "cannot be read .*directory"),
    ]:
        with pytest.raises(ImageError, match=words):
            read_image(path)


HEIC = zlib.decompress(  # 64x64: red above, blue below, EXIF says that it has to be turned by 90 degrees
    base64.b85decode(
        "c-muNV30{GsVvAy&8%Pmg51nBLl8SRGck>UfpI}@YDppk1Sn>t<P<^K3<a6VB@Af5Br_*J8N_gLU|?ck1hE*8KxiO{0*V0vlN?;c42Uf<GxO"
        "5GJdms?kdq2l22_(#mTbs?B*+L-;#!djR?b(DS(3{DRmpHav!JK|Nbk=qNX`e+<v_j8j4T{L<~$3KBDoI?fBygY!N9=JoB-4z?!d^y`2Rmh0"
        "W(+yGf>GcCWl0zoR$+KBdWv%76FA#cRf{2&mM4gYy^o(f(S;AB%pE*7si7{Z9GgWKwE^9^K**wl5;A6;=BxO4L~80%;JJnsDB-xSfC)YA`>L"
        "Q%)tS2B4=h%ehJVb28qmqTv%u`GBC0>GBLBX0@+fTMX6~}alYh~;$(2}f;>JWHzg4i4`CXN>)9+m7T=%0>_0#M|NocLZ27+!e+@sl>-6U()7"
        "*b%8~*>-(JyQ@J>ko(NBVCkF4GUaxs#<f>qn)#=5LAphj)3_?h(sgRa~;I&%Hm!QRe8(+=!R;AP=xXLfqGvK?}&^U|?e82S*hf5UVi?fdUBV"
        "5;lnAauc&tix>b;7=3j"
    )
)


def test_heic(tmp_path):
    pytest.importorskip("pi_heif")
    path = tmp_path / "phone.heic"
    path.write_bytes(HEIC)
    image = read_image(path)
    assert image.pixels.shape == (64, 64, 3) and image.depth == "8" and not image.notices
    for columns, color in ((slice(4, 28), (60, 60, 180)), (slice(36, 60), (200, 40, 40))):
        assert np.abs(image.pixels[:, columns] * 255 - color).max() < 6
    with open_exif(path) as exif:
        assert dict(exif) == {271: "maker", 274: 1}
    path.write_bytes(HEIC[:-40])
    with pytest.raises(ImageError, match=r"phone\.heic: damaged or truncated \(.*\); expected a PNG"):
        read_image(path)


def test_heic_without_its_package(tmp_path, monkeypatch):
    path = tmp_path / "phone.heic"  # as some phones write it; others begin with ftypheic
    path.write_bytes(struct.pack(">I", 24) + b"ftypmif1" + bytes(4) + b"mif1heic" + bytes(200))
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageError, match=re.escape(f"reading HEIC needs pi_heif: {install_command('heic')}")):
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
    with open_image(path) as file:
        assert pixels.shape == file.upright_size == (13, 18) and (file.height, file.width) == (18, 13)


def test_only_the_first_page_is_read(tmp_path):
    path = save(tmp_path / "pages.tif", GRAY, save_all=True, append_images=[Image.fromarray(GRAY // 2)])
    image = read_image(path)
    assert np.array_equal(np.rint(image.pixels * 255), GRAY)
    assert "several pages or frames, only the first is read; adasffuse stack fuses all" in image.notices[0]


# ---- Formats, judged by content


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "dat", "png"])
def test_the_content_decides_not_the_suffix(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", GRAY, format="JPEG", quality=100)
    assert np.abs(read_image(path).pixels * 255 - GRAY).max() < 4


@pytest.mark.parametrize("suffix", ["gif", "pgm", "ppm", "jp2", "avif"])
def test_further_formats(tmp_path, suffix):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    image = Image.fromarray(GRAY if suffix in ("gif", "pgm") else RGB)
    path = save(tmp_path / f"a.{suffix}", image, **({"quality": 100} if suffix == "avif" else {}))
    pixels = read_image(path).pixels
    assert np.abs(pixels * 255 - np.asarray(image)).max() < (12 if suffix == "avif" else 0.01)
    assert pixels.shape[:2] == GRAY.shape


@pytest.mark.parametrize("image", [GRAY, RGB], ids=["gray", "rgb"])
def test_deep_netpbm(tmp_path, image):
    path = save_deep(tmp_path / ("a.pgm" if image.ndim == 2 else "a.ppm"), image.astype(np.uint16) * 257)
    assert np.allclose(read_image(path).pixels, image / 255, atol=1e-6) and read_image(path).depth == "16"
    magic = b"P2" if image.ndim == 2 else b"P3"
    path.write_bytes(magic + b"# note\n13 18 # more\n1023\n" + b" ".join(b"%d" % v for v in image.ravel()))
    assert np.allclose(read_image(path, (0, 255)).pixels, image / 255, atol=1e-6)
    assert "of 0..1023" in read_image(path).notices[0] and read_image(path).pixels.shape[:2] == (18, 13)
    path.write_bytes(b"P5 13 18 65535 " + bytes(100))
    with pytest.raises(ImageError, match="damaged or truncated"):
        read_image(path)


@pytest.mark.parametrize("image", [GRAY, RGB], ids=["gray", "rgb"])
def test_deep_jpeg_2000(tmp_path, image):
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(image.astype(np.uint16) * 257, level=0))
    read = read_image(tmp_path / "a.jp2")
    assert read.depth == "16" and np.allclose(read.pixels, image / 255, atol=1e-4)


# ---- TIFF


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "lzma", "zstd"])
@pytest.mark.parametrize("layout", ["strips", "tiles", "planes", "big"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_layouts_and_compressions(tmp_path, compression, layout, dtype):
    image = RGB.astype(dtype) * (1 if dtype == np.uint8 else 257)
    options = {
        "strips": {"rowsperstrip": 5},
        "tiles": {"tile": (16, 16)},
        "planes": {"planarconfig": "separate"},
        "big": {"bigtiff": True, "byteorder": ">"},
    }[layout]
    stored = np.moveaxis(image, -1, 0) if layout == "planes" else image
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", compression=compression, **options)
    read = read_image(tmp_path / "a.tif")
    assert np.allclose(read.pixels, RGB / 255, atol=1e-6) and read.notices == ()
    assert read.depth == ("8" if dtype == np.uint8 else "16") and read.pixels.shape[:2] == GRAY.shape


def test_jpeg_in_tiff(tmp_path):
    smooth = cv2.resize(RGB, (64, 64), interpolation=cv2.INTER_CUBIC)
    save(tmp_path / "a.tif", smooth, compression="jpeg", quality=100)
    assert np.abs(read_image(tmp_path / "a.tif").pixels * 255 - smooth).max() < 6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero(tmp_path, dtype):
    full = np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "a.tif", (full - GRAY.astype(dtype) * (full // 255)), photometric="miniswhite")
    assert np.allclose(read_image(tmp_path / "a.tif").pixels, GRAY / 255, atol=1e-6)


def test_one_bit_and_palette_tiff(tmp_path):
    for compression in ("packbits", "raw"):
        save(tmp_path / "b.tif", Image.fromarray(GRAY > 90), compression=compression)
        assert np.array_equal(read_image(tmp_path / "b.tif").pixels, (GRAY > 90).astype(np.float32))
    palette = Image.fromarray(RGB).quantize(16)
    pixels = read_image(save(tmp_path / "p.tif", palette)).pixels
    assert np.array_equal(np.rint(pixels * 255), np.asarray(palette.convert("RGB")))


def test_a_compression_that_is_not_read_is_no_damage(tmp_path):
    data = bytearray(save(tmp_path / "a.tif", GRAY).read_bytes())
    entry = struct.pack("<HHI", 259, 3, 1)  # the tag of the compression
    data[data.index(entry) + 8 : data.index(entry) + 10] = struct.pack("<H", 34676)  # SGI LogLuv
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ImageError, match=r"of an unusual kind \(compression SGILOG.*\); export it as PNG"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_colours_of_tiff_in_ycbcr_are_right_or_refused(tmp_path, compression):
    """Luminance and chroma would be shown as red, green and blue."""
    save(tmp_path / "a.tif", Image.fromarray(RGB).convert("YCbCr"), compression=compression)
    with pytest.raises(ImageError, match=r"a\.tif: of an unusual kind \(YCbCr without JPEG.*\); export it as PNG"):
        read_image(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "j.tif", np.full((32, 32, 3), (200, 40, 60), np.uint8), compression="jpeg")
    assert np.abs(read_image(tmp_path / "j.tif").pixels * 255 - (200, 40, 60)).max() < 4


def test_complex_values_are_no_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 12), np.complex64))
    for value_range in (None, (0, 1)):
        with pytest.raises(ImageError, match=r"of an unusual kind \(64 bits per channel, sample format"):
            read_image(tmp_path / "a.tif", value_range)


@pytest.mark.parametrize(
    "bits, encode, off",
    [
        (8, imagecodecs.jpegls_encode, 0),
        (16, imagecodecs.jpegls_encode, 0),
        (8, partial(imagecodecs.jpeg8_encode, lossless=True), 0),
        (16, imagecodecs.ljpeg_encode, 0),
        (12, partial(imagecodecs.jpeg8_encode, bitspersample=12, level=100), 32),
    ],
    ids=["JPEG-LS", "JPEG-LS, deep", "lossless", "lossless, deep", "12 bits"],
)
def test_kinds_of_jpeg_that_medical_programs_write(tmp_path, bits, encode, off):
    for image in (GRAY, RGB) if encode is not imagecodecs.ljpeg_encode else (GRAY,):
        stored = np.ascontiguousarray(image if bits == 8 else np.uint16(image) << (bits - 8))
        data = encode(stored)
        (tmp_path / "a.jpg").write_bytes(data)
        read = read_image(tmp_path / "a.jpg")
        assert read.depth == ("8" if bits == 8 else "16") and read.pixels.shape == image.shape
        assert np.abs(read.pixels * (2**bits - 1) - stored).max() <= off + 0.01
        (tmp_path / "a.jpg").write_bytes(data[: len(data) // 3])
        with pytest.raises(ImageError, match=r"a.jpg: damaged or truncated"):
            read_image(tmp_path / "a.jpg")


def test_twelve_bits_in_a_tiff_span_their_own_range(tmp_path):
    even = GRAY[:, :12].astype(np.uint16) * 16
    bits = np.unpackbits(even.astype(">u2").view(np.uint8).reshape(18, 12, 2), axis=2)[:, :, 4:]
    save(tmp_path / "a.tif", np.packbits(bits).reshape(18, 18))  # 18 bytes are 12 values
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for tag, kind, old, new in [(256, 4, 18, 12), (258, 3, 8, 12)]:  # width, bits per value
        for code in ("<HHII", "<HHIHxx"):
            before = struct.pack(code, tag, kind if code.endswith("I") else 3, 1, old)
            if before in data:
                data[data.index(before) + 8] = new
    (tmp_path / "a.tif").write_bytes(data)
    assert read_image(tmp_path / "a.tif").window == (0, 4095)
    assert np.allclose(read_image(tmp_path / "a.tif").pixels, even / 4095, atol=1e-6)


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_more_bands(tmp_path, planes):
    bands = np.stack([GRAY // n for n in (1, 2, 3, 4, 5)], axis=-1)
    stored = np.moveaxis(bands, -1, 0) if planes == "separate" else bands
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planes)
    with pytest.raises(ImageError, match=r"a\.tif: holds 5 bands and does not say which are red, .*gdal_translate -b"):
        read_image(path)
    options = {"photometric": "minisblack", "planarconfig": planes}
    tifffile.imwrite(path, stored[:3] if planes == "separate" else stored[..., :3].copy(), **options)
    image = read_image(path)
    assert np.array_equal(np.rint(image.pixels * 255), bands[..., :3])
    assert "holds 3 bands, which are read as red, green and blue" in image.notices[0]
    names = ("Blue", "Green", "Red", "RedEdge", "NIR")
    items = (f'<Item name="DESCRIPTION" sample="{k}" role="description">{n}</Item>' for k, n in enumerate(names))
    text = f"<GDALMetadata>{''.join(items)}</GDALMetadata>"
    tifffile.imwrite(path, stored, metadata=None, extratags=[(42112, "s", 0, text, True)], **options)
    image = read_image(path)
    assert np.array_equal(np.rint(image.pixels * 255), bands[..., 2::-1]) and "it names red" in image.notices[0]
    tifffile.imwrite(path, bands[..., :2].copy(), photometric="minisblack", planarconfig="contig")
    image = read_image(path)
    assert np.array_equal(np.rint(image.pixels * 255), GRAY) and "2 bands, only the first is" in image.notices[0]


def test_a_long_chain_of_pages_is_not_walked(tmp_path):
    page = struct.pack("<H", 8) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in [(256, 4), (257, 2), (258, 8), (259, 1), (262, 1), (273, 8), (278, 2), (279, 8)]
    )
    offsets = [16 + n * (len(page) + 4) for n in range(100_000)]
    chain = b"".join(page + struct.pack("<I", after) for after in [*offsets[1:], offsets[0]])  # the last leads back
    data = b"II*\0" + struct.pack("<I", 16) + bytes(range(8)) + chain
    (tmp_path / "a.tif").write_bytes(data)
    reads = []

    class Counting(io.FileIO):
        def read(self, size=-1):
            reads.append(size)
            return super().read(size)

    opened = Path.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: Counting(path) if mode == "rb" else opened(path, mode))
        image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.pixels * 255, np.arange(8).reshape(2, 4)) and "several pages" in image.notices[0]
    assert 0 < len(reads) < 200


@pytest.mark.parametrize("promise", ["strips", "tile", "width"])
def test_tiff_headers_that_promise_too_much(tmp_path, promise):
    tags = {256: 4, 257: 2, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2, 279: 8}
    if promise == "strips":
        tags |= {257: 20_000, 256: 20_000, 278: 1}
    elif promise == "width":
        tags |= {256: 2**31 - 1, 257: 2**31 - 1, 278: 2**31 - 1}
    else:
        tags |= {322: 2**30 - 16, 323: 2**30 - 16}
    page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", k, 4, 1, v) for k, v in sorted(tags.items()))
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 16) + bytes(range(8)) + page + bytes(4))
    with pytest.raises(ImageError, match=r"a\.tif: .*(limit of|instead of|failed to read|damaged)"):
        read_image(path)


# ---- Colour


def profile_of(kind: str) -> bytes:
    return imagecodecs.cms_profile(kind)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_profiles_are_converted_to_srgb(tmp_path, suffix):
    adobe = profile_of("adobergb")
    flat = np.broadcast_to(np.uint8([60, 180, 90]), (16, 16, 3)).copy()
    image = read_image(
        save(
            tmp_path / f"a.{suffix}", flat, icc_profile=adobe, **({"quality": 100} if suffix in ("jpg", "webp") else {})
        )
    )
    transform = ImageCms.buildTransform(io.BytesIO(adobe), ImageCms.createProfile("sRGB"), "RGB", "RGB", 1)
    expected = np.asarray(ImageCms.applyTransform(Image.fromarray(flat), transform))[0, 0].astype(float)
    assert expected[0] == 0 and np.abs(image.pixels[0, 0] * 255 - expected).max() < 6  # red lies out of sRGB's gamut
    assert "colours converted from" in image.notices[0] and "to sRGB" in image.notices[0]


def test_profiles_of_16_bit_files_keep_the_depth(tmp_path):
    light = RGB // 2 + np.uint8(100)  # dark 8-bit levels are too coarse to compare with
    deep = light.astype(np.uint16) * 257 + np.uint16(20)
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", iccprofile=profile_of("adobergb"))
    shallow = read_image(save(tmp_path / "b.png", light, icc_profile=profile_of("adobergb"))).pixels
    image = read_image(tmp_path / "a.tif")
    assert np.abs(image.pixels - shallow).max() < 1.5 / 255 and image.depth == "16"
    assert len(np.unique(image.pixels * 255 % 1)) > 20  # levels between those of 8 bits
    counts = read_image(tmp_path / "a.tif", (0, 65535))
    assert np.array_equal(quantise(counts.pixels, "16"), deep) and "profile is ignored" in counts.notices[0]


def test_an_srgb_profile_changes_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = read_image(save(tmp_path / "a.png", RGB, icc_profile=srgb))
    assert np.array_equal(np.rint(image.pixels * 255), RGB) and image.notices == ()


@pytest.mark.parametrize("gamma,said", [(1.0, 1), (0.45455, 0)])
def test_a_gamma_that_is_not_applied_is_a_notice(tmp_path, gamma, said):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", round(gamma * 100000).to_bytes(4, "big"))
    path = save(tmp_path / "a.png", RGB, pnginfo=chunks)
    for notices in (read_image(path).notices, as_image(Image.open(path)).notices):
        assert sum("gAMA chunk says 1, which is ignored" in notice for notice in notices) == said == len(notices)


def test_primaries_of_a_png_that_are_not_applied_are_a_notice(tmp_path):
    """White, red, green and blue: those of sRGB, and of Display P3."""
    for red, green, said in (((64000, 33000), (30000, 60000), 0), ((68000, 32000), (26500, 69000), 1)):
        chunks = PngImagePlugin.PngInfo()
        chunks.add(b"cHRM", struct.pack(">8I", 31270, 32900, *red, *green, 15000, 6000))
        path = save(tmp_path / "a.png", RGB, pnginfo=chunks)
        for notices in (read_image(path).notices, as_image(Image.open(path)).notices):
            assert sum("cHRM chunk names other primaries" in notice for notice in notices) == said == len(notices)


def test_a_png_in_linear_light_or_limited_range_is_a_notice(tmp_path):
    for codes, said in ((b"\x01\x08\x00\x01", "linear light"), (b"\x01\x0d\x00\x00", "limited range")):
        chunks = PngImagePlugin.PngInfo()
        chunks.add(b"cICP", codes)
        chunks.add(b"gAMA", (100000).to_bytes(4, "big"))  # which says no more
        (notice,) = read_image(save(tmp_path / "a.png", RGB, pnginfo=chunks)).notices
        assert f"its colours are {said}, which is ignored" in notice


@pytest.mark.parametrize("deep", [False, True])
def test_the_profile_of_a_jpeg_2000_file_is_applied(tmp_path, deep):
    """A box 'colr' with Adobe RGB in the place of the one that says sRGB; a PNG file with the same gives the truth."""
    profile, values = profile_of("adobergb"), RGB // 2 + np.uint8(100)
    data = imagecodecs.jpeg2k_encode(values.astype(np.uint16) * 257 if deep else values, level=0, reversible=True)
    head, box = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    size = int.from_bytes(data[box : box + 4])
    new = struct.pack(">I", 11 + len(profile)) + b"colr\2\0\0" + profile
    longer = struct.pack(">I", int.from_bytes(data[head : head + 4]) + len(new) - size)
    path = tmp_path / "a.jp2"
    path.write_bytes(data[:head] + longer + data[head + 4 : box] + new + data[box + size :])
    image, same = read_image(path), read_image(save(tmp_path / "b.png", values, icc_profile=profile))
    assert np.abs(image.pixels - same.pixels).max() < 1.5 / 255 and image.depth == ("16" if deep else "8")
    assert "colours converted from" in image.notices[0] and len(image.notices) == 1


def test_hdr_that_is_read_as_srgb_is_a_notice(tmp_path):
    """The numbers are those of H.273: BT.709 and sRGB, BT.2020 and PQ, Display P3 and sRGB."""
    for codes, said in (((1, 13), ""), ((9, 16), "HDR (PQ) with BT.2020"), ((12, 13), "Display P3")):
        chunks = PngImagePlugin.PngInfo()
        chunks.add(b"cICP", bytes([*codes, 0, 1]))
        paths = [save(tmp_path / "a.png", RGB, pnginfo=chunks)]
        if features.check("avif"):
            paths.append(save(tmp_path / "a.avif", RGB))
            content = paths[1].read_bytes()
            place = content.index(b"colrnclx") + 8
            paths[1].write_bytes(content[:place] + struct.pack(">HH", *codes) + content[place + 4 :])
        for path in paths:
            notices = read_image(path).notices
            assert len(notices) == bool(said) and (not said or f"colours are {said}, which is ignored" in notices[0])


def test_gray_profiles(tmp_path):
    gamma = imagecodecs.cms_profile("gray", gamma=1.0)  # linear light
    image = read_image(save(tmp_path / "a.png", GRAY, icc_profile=gamma))
    linear = GRAY / 255
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    assert image.pixels.shape == GRAY.shape and np.abs(image.pixels - expected).max() < 1.5 / 255
    assert "gray levels converted" in image.notices[0]


def test_a_broken_or_unfit_profile_is_a_notice(tmp_path):
    image = read_image(save(tmp_path / "a.png", RGB, icc_profile=b"no profile" * 20))
    assert np.array_equal(np.rint(image.pixels * 255), RGB) and "ICC profile is broken; ignored" in image.notices[0]
    image = read_image(save(tmp_path / "a.png", GRAY, icc_profile=profile_of("adobergb")))
    assert np.array_equal(np.rint(image.pixels * 255), GRAY) and "made for RGB, not for GRAY" in image.notices[0]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path, suffix):
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, :8, 0] = 255  # cyan
    inks[8:, :, 3] = 128  # with black
    path = save(
        tmp_path / f"a.{suffix}", Image.fromarray(inks, "CMYK"), **({"quality": 100} if suffix == "jpg" else {})
    )
    image = read_image(path)
    corners = image.pixels[[2, 2, 13, 13], [2, 13, 2, 13]] * 255
    assert np.abs(corners - [[0, 255, 255], [255, 255, 255], [0, 127, 127], [127, 127, 127]]).max() < 4
    assert "CMYK converted to RGB without a profile" in image.notices[0]


def test_cmyk_of_16_bits(tmp_path):
    inks = np.zeros((6, 7, 4), np.uint16)
    inks[:3, :, 1] = 65535  # magenta
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    for value_range in (None, (0, 65535)):
        image = read_image(tmp_path / "a.tif", value_range)
        assert image.pixels[0, 0].tolist() == [1, 0, 1] and image.pixels[5, 5].tolist() == [1, 1, 1]
        assert image.depth == "16"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lab(tmp_path, dtype):
    inside = (60 + RGB.astype(float) / 3) / 255
    lab = skimage.color.rgb2lab(inside)  # of D65; the file's is D50, whose neutral axis is the same
    lab[..., 1:] = 0
    scale = 1 if dtype == np.uint8 else 256
    full = np.iinfo(dtype).max
    chroma = np.rint(lab[..., 1:] * scale).astype(np.dtype(f"i{np.dtype(dtype).itemsize}")).view(dtype)
    stored = np.concatenate([np.rint(lab[..., :1] / 100 * full).astype(dtype), chroma], axis=2)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="cielab")
    image = read_image(tmp_path / "a.tif")
    expected = skimage.color.lab2rgb(lab)[..., 0]
    pixels = image.pixels if image.pixels.ndim == 2 else image.pixels[..., 1]
    assert np.abs(pixels - expected).max() < (2 if dtype == np.uint8 else 0.2) / 255
    assert "L*a*b* converted to sRGB" in image.notices[0]


def test_a_range_of_another_file_is_a_notice(tmp_path):
    values = np.arange(1000, 1200, dtype=np.uint16).reshape(10, 20)
    tifffile.imwrite(tmp_path / "a.tif", values)
    (notice,) = read_image(tmp_path / "a.tif", (7200, 8220)).notices
    assert notice.endswith("100% of its values lie outside the range 7200 8220; its values span 1000..1199")
    assert read_image(tmp_path / "a.tif", (1000, 1100)).notices == ()


def test_a_range_in_other_units_is_refused(tmp_path):
    values = np.arange(7000, 8000, dtype=np.uint16).reshape(20, 50)  # counts of a camera
    tifffile.imwrite(tmp_path / "a.tif", values)
    for black, white in ((20, 40), (0, 1), (1, 0), (-40, 200)):
        with pytest.raises(
            ImageError, match=r"a.tif: its values span 7000..7999, nowhere near the range .* units of the"
        ):
            read_image(tmp_path / "a.tif", (black, white))
    tifffile.imwrite(tmp_path / "a.tif", values * 0 + 7000)  # a closed shutter
    assert "100% of its values lie outside the range 20 40" in read_image(tmp_path / "a.tif", (20, 40)).notices[0]


def test_lab_has_colour(tmp_path):
    red = np.broadcast_to(np.uint8([138, 81, 70]), (8, 8, 3)).copy()  # sRGB red is L* 54, a* 81, b* 70 under D50
    tifffile.imwrite(tmp_path / "a.tif", red, photometric="cielab")
    assert np.abs(read_image(tmp_path / "a.tif").pixels[0, 0] - [1, 0, 0]).max() < 0.05


# ---- Size, and things that are no images


def test_more_pixels_than_pillow_would_open(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", GRAY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert np.array_equal(np.rint(255 * read_image(path).pixels), GRAY)


def test_more_pixels_than_the_limit(tmp_path):
    data = bytearray(save(tmp_path / "a.png", GRAY).read_bytes())
    data[16:24] = struct.pack(">II", 40_000, 40_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.png: 40000 x 40000 pixels, more than the limit of 1073741824"):
        read_image(tmp_path / "a.png")


def test_more_bytes_than_the_limit(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**32 + 1)  # sparse: it takes no room
    with pytest.raises(ImageError, match="4294967297 bytes, more than the limit of 4294967296"):
        read_image(tmp_path / "a.png")


@pytest.mark.skipif(os.name != "posix", reason="special files are POSIX's")
def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "kernel.png").symlink_to("/proc/self/environ")  # regular, of size 0, like /proc/kmsg
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        for name, words in [
            ("pipe", "not a regular file"),
            ("zero", "not a regular file"),
            ("s", "not a regular file"),
            ("kernel", "the file is empty"),
            ("loop", "cannot be read"),
        ]:
            with pytest.raises(ImageError, match=rf"{name}\.png: {words}"):
                read_image(tmp_path / f"{name}.png")


def test_malformed_files_raise_only_image_errors(tmp_path):
    """Bytes changed at random: every file is read or refused, nothing else."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    originals = []
    for suffix in ("png", "jpg", "tif", "bmp", "webp", "gif", "ppm", "jp2"):
        originals.append(save(tmp_path / f"o.{suffix}", image).read_bytes())
    for options in ({"compression": "lzw"}, {"compression": "zlib", "tile": (16, 16)}, {"planarconfig": "contig"}):
        tifffile.imwrite(tmp_path / "o.tif", image.astype(np.uint16), photometric="rgb", **options)
        originals.append((tmp_path / "o.tif").read_bytes())
    refused = 0
    for number in range(220):
        data = bytearray(originals[number % len(originals)])
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(0, min(len(data), 400))] = rng.integers(0, 256)
        (tmp_path / "bad.img").write_bytes(data)
        try:
            read_image(tmp_path / "bad.img", (0, 255))
        except ImageError as error:
            assert "bad.img" in str(error)
            refused += 1
    assert refused > 50


# ---- Writing


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 7), (5, 7, 3), (1, 1, 3)])
@pytest.mark.parametrize("name", ["8.png", "8.tif", "16.png", "16.TIFF", "float.tif"])
def test_written_files_come_back_exactly(tmp_path, shape, name):
    depth = name.split(".")[0]
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    path = tmp_path / "new" / "folder" / name
    write_image(path, pixels, depth)
    back = read_image(path)
    assert np.array_equal(quantise(back.pixels, depth), quantise(pixels, depth))
    assert back.depth == depth and not any("alpha" in n or "range" in n for n in back.notices if pixels.size > 20)
    assert back.pixels.shape[:2] == shape[:2] and [file.name for file in path.parent.iterdir()] == [name]


def test_others_read_what_is_written(tmp_path):
    write_image(tmp_path / "a.png", RGB)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), RGB)
    for path, depth in [(tmp_path / "b.png", "16"), (tmp_path / "b.tif", "16"), (tmp_path / "f.tif", "float")]:
        write_image(path, RGB / np.float32(255), depth)
        other = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
        assert np.array_equal(other, quantise(RGB / np.float32(255), depth))
    write_image(tmp_path / "g.png", RGB.astype(np.uint16) * 257)  # already quantised
    assert np.array_equal(cv2.imread(str(tmp_path / "g.png"), -1)[..., ::-1], RGB.astype(np.uint16) * 257)


def test_quantise_rounds_to_the_nearest_level():
    assert quantise(np.float32([-1, 0, 0.5, 127.4 / 255, 1, 2]), "8").tolist() == [0, 0, 128, 127, 255, 255]
    assert quantise(np.float32([0, 0.25, 1]), "16").tolist() == [0, 16384, 65535]
    for depth, full in (("8", 255), ("16", 65535)):
        levels = np.arange(full + 1)
        assert np.array_equal(quantise((levels / full).astype(np.float32), depth), levels)
    assert quantise(np.float64([0.1, 3]), "float").tolist() == [np.float32(0.1), 1]
    with pytest.raises(ValueError, match="floating-point pixels without NaN"):
        quantise(np.float32([np.nan]), "8")
    with pytest.raises(ValueError, match="depth must be '8', '16' or 'float', got '12'"):
        quantise(np.float32([0]), "12")


def test_depth_of_a_result():
    assert result_depth("auto", ["16", "8"]) == "8"
    assert result_depth("auto", ["16", "float"]) == "16" and result_depth("auto", ["float"] * 3) == "float"
    assert result_depth("16", ["8", "8"]) == "16"
    with pytest.raises(ValueError, match="got 'deep'"):
        result_depth("deep", ["8"])


def test_long_and_undecodable_names(tmp_path):
    for name in (b"n" * 251 + b".png", b"caf\xe9.png", b"a\x1b[31m.png"):
        path = tmp_path / os.fsdecode(name)
        write_image(path, GRAY)
        assert np.array_equal(np.rint(read_image(path).pixels * 255), GRAY)
        with pytest.raises(ImageError) as caught:
            read_image(path.with_suffix(".tif"))
        assert printable(caught.value).isprintable()


def test_writing_where_one_cannot(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"cannot write .*file/a\.png: .*; something else is in its place"):
        write_image(tmp_path / "file" / "a.png", GRAY)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(ImageError, match="cannot write"):
        write_image(tmp_path / "b.png", GRAY)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.png", "file"]  # nothing half-written


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes anywhere")
def test_writing_into_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ImageError, match="Permission denied"):
        write_image(tmp_path / "a.png", GRAY)


def test_a_full_disk_keeps_the_older_file(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", GRAY)
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ImageError, match="No space left on device; free some space"):
        write_image(tmp_path / "a.png", GRAY // 2)
    assert np.array_equal(np.rint(read_image(tmp_path / "a.png").pixels * 255), GRAY)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\(H, W\) or \(H, W, 3\) pixels, got uint8 \(4, 4, 4\)"):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"float32 pixels are written to files ending in \.tif"):
        write_image(tmp_path / "a.png", GRAY / np.float32(255), "float")
    with pytest.raises(ValueError, match=r"uint8 pixels are written to files ending in \.png or \.tif"):
        write_image(tmp_path / "a.jpg", GRAY)
    with pytest.raises(ValueError, match="floating-point pixels"):
        write_image(tmp_path / "a.png", GRAY.astype(np.int32))
