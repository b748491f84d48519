"""FLIR, DICOM, NIfTI and camera raw files: real ones where they are there, else files made here."""

import gzip
import io
import json
import re
import shutil
import struct
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from special_files import dicom_file, voi_lut
from tiny import Mean, texture, write_weights

from adasffuse.cli import extract, fuse, info
from adasffuse.cli.describe import describe
from adasffuse.images import extras, formats
from adasffuse.images.false_colors import in_false_colors
from adasffuse.images.flir import read_shot, read_temperatures
from adasffuse.images.frame_folders import FrameFolder
from adasffuse.images.image import ImageError, ImageNotice
from adasffuse.images.pairs import Scene, find_scenes, read_scene
from adasffuse.images.plane import check_order
from adasffuse.images.ranges import RangeSpec, parse_range, resolve_range
from adasffuse.images.read import read_image
from adasffuse.images.volume_grid import Volume, check_same_grid, frames_notice, resampled, turned_like, upright_slice
from adasffuse.images.volumes import read_volume
from adasffuse.images.write import write_image
from adasffuse.inference import Fuser, load_fuser
from adasffuse.inference.volume import WantedVolumes, fuse_volumes, plan_volumes, window_of
from adasffuse.installation import install_command
from adasffuse.registration.aligner import Aligner
from adasffuse.tasks import TASKS

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")


@pytest.fixture
def raw(data_root):
    pytest.importorskip("flyr")
    return data_root / "raw"


def without(monkeypatch, package):
    """As if an optional package was not installed."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(formats, "is_installed", lambda name: name != package)
    real = extras.importlib.import_module

    def absent(name):
        if name == package:
            raise ModuleNotFoundError(name=package)
        return real(name)

    monkeypatch.setattr(extras.importlib, "import_module", absent)


# ---- FLIR


AIR = {
    "FLIR_E40": (0.49, 292.14, 0.98),
    "FLIR_IR_2412": (0.5, 293.15, 1),
    "FLIR_example": (0.5, 293.15, 1),
}  # from the files: humidity, kelvin and transmission of the window


@pytest.mark.parametrize("name", AIR)
def test_temperatures_follow_planck(raw, name):
    """The whole equation, with the air and the camera's window between object and sensor."""
    counts = cv2.imread(str(raw / f"{name}_raw16.png"), cv2.IMREAD_UNCHANGED).astype(float)
    c = json.loads((raw / "planck.json").read_text())[name]
    humidity, window_kelvin, window = AIR[name]

    def emitted(kelvin):  # counts of a black body
        return c["R1"] / (c["R2"] * (np.exp(c["B"] / kelvin) - c["F"])) - c["O"]

    air = c["Tatm"] - 273.15
    water = humidity * np.exp(1.5587 + 0.06939 * air - 0.00027816 * air**2 + 0.00000068455 * air**3)
    root = np.sqrt(c["OD"] / 2)  # both halves of the way, before and behind the window
    tau = 1.9 * np.exp(-root * (0.006569 - 0.002276 * water**0.5))
    tau -= 0.9 * np.exp(-root * (0.01262 - 0.00667 * water**0.5))
    arrived = (counts - (1 - tau) * emitted(c["Tatm"])) / tau  # at the window's outer side, step by step outwards
    arrived = (arrived - (1 - window) * emitted(window_kelvin)) / window
    arrived = (arrived - (1 - tau) * emitted(c["Tatm"])) / tau
    object_counts = (arrived - (1 - c["E"]) * emitted(c["Trefl"])) / c["E"]
    expected = c["B"] / np.log(c["R1"] / (c["R2"] * (object_counts + c["O"])) + c["F"]) - 273.15
    assert np.abs(read_temperatures(raw / f"{name}_rjpeg.jpg") - expected).max() < 0.01


def test_a_thermal_source_is_read_as_temperatures(raw):
    path = raw / "FLIR_E40_rjpeg.jpg"
    rendered, thermal = read_image(path), read_image(path, thermal=True)
    assert rendered.pixels.shape == (240, 320, 3) and thermal.pixels.shape == (120, 160)
    assert thermal.depth == "float" and any("degrees C become black to white" in n for n in thermal.notices)
    fixed = read_image(path, (15, 30), thermal=True)
    np.testing.assert_allclose(fixed.pixels, (read_temperatures(path) - 15) / 15, atol=1e-5)
    low, high = resolve_range(RangeSpec("folder"), [path], thermal=True)
    assert 17 < low < high < 25


def test_frames_of_a_thermal_camera_are_temperatures_in_one_window(raw):
    path = raw / "FLIR_E40_rjpeg.jpg"
    with pytest.raises(ImageError, match="its frames are temperatures"):
        FrameFolder([path], thermal=True)
    (frame,) = FrameFolder([path], spec=parse_range("15 30"), thermal=True)
    np.testing.assert_allclose(frame.image.pixels, (read_temperatures(path) - 15) / 15, atol=1e-5)
    (rendered,) = FrameFolder([path])  # not a thermal source: what the camera shows
    assert rendered.image.pixels.shape == (240, 320, 3)


def test_the_photograph_inside(raw, tmp_path, capsys):
    assert read_shot(raw / "FLIR_E40_rjpeg.jpg").photograph is None
    assert extract.run([str(raw), "-o", str(tmp_path)]) == 0
    assert sorted(p.name for p in (tmp_path / "visible").iterdir()) == ["FLIR_example_rjpeg.png"]
    assert len(list((tmp_path / "infrared").iterdir())) == 3
    (tmp_path / "file").touch()
    assert extract.run([str(raw), "-o", str(tmp_path / "file")]) == 1
    assert f"-o {tmp_path}/file: is no folder" in capsys.readouterr().err
    celsius = tifffile.imread(tmp_path / "infrared/FLIR_E40_rjpeg.tif")
    np.testing.assert_allclose(celsius, read_temperatures(raw / "FLIR_E40_rjpeg.jpg"))


def jpeg(path):
    cv2.imwrite(str(path), texture(48, 64, 1))
    return path


def test_a_jpeg_without_temperatures(tmp_path, capsys):
    pytest.importorskip("flyr")
    path = jpeg(tmp_path / "plain.jpg")
    assert read_image(path, thermal=True).depth == "8"  # an ordinary image
    assert extract.run([str(path), "-o", str(tmp_path / "out")]) == 1
    assert "plain.jpg: no raw thermal data" in capsys.readouterr().err and not (tmp_path / "out").exists()
    for number in range(5):
        shutil.copy(path, tmp_path / f"{number}.jpg")
    assert extract.run([str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    assert "failed: and 3 more that differ in names and numbers only" in capsys.readouterr().err


@pytest.mark.parametrize(("make", "segment", "told"), [("DJI", 3, True), ("DJI", 7, False), ("Kodak", 3, False)])
def test_thermal_data_of_dji_are_not_passed_over_in_silence(tmp_path, make, segment, told):
    """Its rendering is read; of ordinary photographs of such a camera nothing is said."""
    exif = Image.Exif()
    exif[271] = make
    file = io.BytesIO()
    Image.fromarray(texture(8, 8, 1)).save(file, "JPEG", exif=exif)
    content = file.getvalue()
    counts = np.full(64, 7600, "<u2").tobytes()
    added = bytes([255, 0xE0 + segment]) + struct.pack(">H", len(counts) + 2) + counts
    (tmp_path / "a.jpg").write_bytes(content[:2] + added + content[2:])
    notices = read_image(tmp_path / "a.jpg", thermal=True).notices
    assert any("only its rendering is read, not DJI's thermal data" in notice for notice in notices) is told
    with pytest.raises(ImageError, match=r"of other makers', export temperatures as TIFF"):
        read_shot(tmp_path / "a.jpg")


def test_without_the_package_a_notice_says_what_to_install(tmp_path, monkeypatch):
    path = jpeg(tmp_path / "flir.jpg")
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1\x00\x0aFLIR\0\x01\0\0" + data[2:])
    without(monkeypatch, "flyr")
    image = read_image(path, thermal=True)
    assert any(install_command("thermal") in notice for notice in image.notices)
    with pytest.raises(ImageError, match=re.escape(install_command("thermal"))):
        read_temperatures(path)


# ---- DICOM


def dicom(path, values, **tags):
    """Write a small DICOM image."""
    if "kind" in tags:
        tags["PhotometricInterpretation"] = tags.pop("kind")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom_file(values, **tags))
    return path


def test_rescale_and_window(tmp_path):
    values = np.array([[0, 1000], [1040, 2000]], np.int16)
    path = dicom(tmp_path / "ct.dcm", values, RescaleSlope=1, RescaleIntercept=-1000, WindowCenter=40.5, WindowWidth=81)
    image = read_image(path)
    assert image.window == (0.0, 80.0)
    np.testing.assert_allclose(image.pixels, [[0, 0], [0.5, 1]], atol=1e-6)
    np.testing.assert_allclose(read_image(path, (-1000, 1000)).pixels, [[0, 0.5], [0.52, 1]], atol=1e-6)


def agrees_with_pydicom(path, low, high):
    """What `apply_voi_lut` makes of a file, between its black and white."""
    data_set = pydicom.dcmread(path)
    rescaled = pydicom.pixels.apply_modality_lut(data_set.pixel_array, data_set)
    rescaled = rescaled.astype(int) if "VOILUTSequence" in data_set else rescaled
    expected = (pydicom.pixels.apply_voi_lut(rescaled, data_set).astype(float) - low) / (high - low)
    np.testing.assert_allclose(read_image(path).pixels, expected, atol=1e-5)


RAMP = np.arange(-60, 60, dtype=np.int16).reshape(8, 15) * 30


def test_an_empty_slope_is_none(tmp_path):
    """Programs that take out names leave tags without a value."""
    path = dicom(tmp_path / "x.dcm", RAMP, RescaleSlope=None, RescaleIntercept=None, WindowCenter=40.5, WindowWidth=81)
    np.testing.assert_allclose(read_image(path).pixels, (RAMP / 80).clip(0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "padding", "tags"),
    [
        (np.uint16, 65535, {"Modality": "MR", "PixelPaddingValue": 65535}),
        (np.int16, -32768, {"Modality": "PT", "PixelPaddingValue": -32768}),
        (np.uint16, 50001, {"Modality": "MR", "PixelPaddingValue": 50002, "PixelPaddingRangeLimit": 50000}),
    ],
)
def test_padding_does_not_decide_on_black_and_white(tmp_path, dtype, padding, tags):
    values = np.tile(np.arange(100, 164), (64, 1)).astype(dtype)
    values[:16] = padding
    image = read_image(dicom(tmp_path / "x.dcm", values, **tags))
    assert image.window == (100, 163)
    assert describe(str(tmp_path / "x.dcm"))["no data"] == padding
    assert not image.valid[:16].any() and image.valid[16:].all()
    np.testing.assert_allclose(image.pixels[16:], (values[16:] - 100.0) / 63, atol=1e-6)


def test_the_functions_of_a_window(tmp_path):
    window = {"WindowCenter": [100, 0], "WindowWidth": [400, 9], "RescaleSlope": 2, "RescaleIntercept": -1000}
    span = -(2**15) * 2 - 1000, (2**15 - 1) * 2 - 1000  # of 16 signed bits, rescaled
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        agrees_with_pydicom(dicom(tmp_path / f"{function}.dcm", RAMP, VOILUTFunction=function, **window), *span)
    exact = dicom(tmp_path / "e.dcm", np.array([[0, 10, 15, 20]], np.uint16), WindowCenter=10, WindowWidth=20)
    data_set = pydicom.dcmread(exact)
    data_set.VOILUTFunction = "LINEAR_EXACT"
    data_set.save_as(exact)
    np.testing.assert_allclose(read_image(exact).pixels, [[0, 0.5, 0.75, 1]], atol=1e-6)
    data_set.VOILUTFunction = "SIGMOID"
    data_set.save_as(exact)
    by_hand = 1 / (1 + np.exp(-4 * (np.array([[0, 10, 15, 20]]) - 10) / 20))
    np.testing.assert_allclose(read_image(exact).pixels, by_hand, atol=1e-6)
    np.testing.assert_allclose(read_image(exact, (0, 40)).pixels, [[0, 0.25, 0.375, 0.5]], atol=1e-6)
    data_set.PhotometricInterpretation = "MONOCHROME1"
    data_set.save_as(exact)
    np.testing.assert_allclose(read_image(exact).pixels, 1 - by_hand, atol=1e-6)


@pytest.mark.parametrize(("function", "width"), [("LINEAR", 0), ("SIGMOID", 0), ("CUBIC", 10)])
def test_a_window_that_no_file_may_have(tmp_path, function, width):
    values = np.array([[0, 100]], np.uint16)
    path = dicom(tmp_path / "x.dcm", values, WindowCenter=10, WindowWidth=width, VOILUTFunction=function)
    image = read_image(path)
    assert image.window == (0, 100) and any("states no window that can be used" in n for n in image.notices)


@pytest.mark.parametrize(("bits", "first", "slope"), [(8, -1500, None), (12, 0, None), (16, -300, 1), (8, 100, 1)])
def test_a_table_goes_before_a_window(tmp_path, bits, first, slope):
    entries = 200
    table = voi_lut([int((2**bits - 1) * (k / (entries - 1)) ** 2) for k in range(entries)], first, bits)
    tags = {} if slope is None else {"RescaleSlope": slope, "RescaleIntercept": -10}
    values = (RAMP // 10).astype(np.int16) + np.int16(first)
    path = dicom(tmp_path / "x.dcm", values, VOILUTSequence=table, WindowCenter=40, WindowWidth=80, **tags)
    agrees_with_pydicom(path, 0, 2**bits - 1)


def test_a_table_by_hand(tmp_path):
    """Values before the first entry and after the last have theirs; 8 bits do not wrap at 256 entries."""
    table = voi_lut([k // 4 for k in range(1024)], 0, 8)
    path = dicom(tmp_path / "x.dcm", np.array([[-5, 0, 400, 1023, 2000]], np.int16), VOILUTSequence=table)
    np.testing.assert_allclose(read_image(path).pixels * 255, [[0, 0, 100, 255, 255]], atol=1e-4)
    assert not read_image(path).notices
    np.testing.assert_allclose(read_image(path, (0, 2000)).pixels, [[0, 0, 0.2, 0.5115, 1]], atol=1e-6)


def test_white_is_low_in_monochrome1(tmp_path):
    path = dicom(tmp_path / "x.dcm", np.array([[0, 100]], np.uint16), kind="MONOCHROME1")
    np.testing.assert_allclose(read_image(path).pixels, [[1, 0]])
    assert any("states no window" in notice for notice in read_image(path).notices)


def test_colour_and_frames(tmp_path):
    rgb = np.dstack([texture(8, 8, seed) for seed in (1, 2, 3)])
    np.testing.assert_allclose(read_image(dicom(tmp_path / "rgb.dcm", rgb)).pixels, rgb / np.float32(255))
    frames = texture(8, 8, 1).astype(np.uint16)
    path = dicom(tmp_path / "f.dcm", frames, NumberOfFrames=1)
    data_set = pydicom.dcmread(path)
    data_set.NumberOfFrames, data_set.PixelData = 2, frames.tobytes() * 2
    data_set.save_as(str(path))
    assert any("holds 2 frames" in notice for notice in read_image(path).notices)


def test_frames_without_a_window_need_one(tmp_path):
    paths = [dicom(tmp_path / f"{k}.dcm", texture(16, 16, k).astype(np.uint16) + 500 * k) for k in range(2)]
    with pytest.raises(ImageError, match="its frames are values without a fixed black and white"):
        FrameFolder(paths)
    assert [frame.image.window for frame in FrameFolder(paths, spec=parse_range("0 800"))] == [(0, 800)] * 2
    dicom(paths[0], texture(16, 16, 0).astype(np.uint16), WindowCenter=128, WindowWidth=256)
    assert FrameFolder(paths[:1]).height == 16


def test_colour_of_12_bits_is_no_darker(tmp_path):
    rgb = np.dstack([texture(8, 8, seed) for seed in (1, 2, 3)])
    path = dicom(tmp_path / "rgb.dcm", rgb.astype(np.uint16) * 16, BitsStored=12, HighBit=11)
    np.testing.assert_allclose(read_image(path).pixels, rgb / np.float32(255))


def without_preamble(path, encoding):
    """The data set of a file alone, as older programs write it."""
    data_set, stream = pydicom.dcmread(path), pydicom.filebase.DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = encoding != "big endian", encoding == "implicit"
    if encoding == "big endian":
        data_set.PixelData = data_set.pixel_array.byteswap().tobytes()
    pydicom.filewriter.write_dataset(stream, data_set)
    path.write_bytes(stream.getvalue())


@pytest.mark.parametrize("encoding", ["implicit", "explicit", "big endian"])
def test_files_without_preamble(tmp_path, encoding):
    path = dicom(tmp_path / "x.dcm", RAMP, RescaleSlope=2, ImageType=["ORIGINAL"], WindowCenter=0, WindowWidth=3000)
    expected = read_image(path).pixels
    without_preamble(path, encoding)
    assert b"DICM" not in path.read_bytes() and np.array_equal(read_image(path).pixels, expected)
    folder = series(tmp_path / "s", (1, 2), ImageType=["ORIGINAL"])
    values = read_volume(folder).values
    for file in folder.iterdir():
        without_preamble(file, encoding)
        file.rename(file.with_suffix(""))
    assert np.array_equal(read_volume(folder).values, values)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError, match=r"x\.dcm: .*(truncated|cannot be decoded)"):
        read_image(path)


@pytest.mark.parametrize(
    "head",
    [b"\x08\x00\x05\x00CS", b"\x08\x00\x05\x00\x04\0\0\0abcd\x08\x00\x04\x00", b"\x02\x00\x02\x00", b"\x08\0" * 9],
)
def test_what_is_no_dicom_file_is_not_taken_for_one(tmp_path, head):
    (tmp_path / "x.dcm").write_bytes(head.ljust(300, b"\0"))
    with pytest.raises(ImageError, match=r"x\.dcm: not a readable image"):
        read_image(tmp_path / "x.dcm")


def test_real_dicom_files(data_root):
    assert read_image(data_root / "raw/CT_small.dcm").window == (-896, 1167)
    assert read_image(data_root / "raw/MR_small.dcm").window == (-200, 1399)


def placed(folder, name, spacing=(0.9375, 0.9375), corner=(-120, -120, 30), turn=(1, 0, 0, 0, 1, 0), **tags):
    place = {"ImagePositionPatient": list(corner), "ImageOrientationPatient": list(turn), "FrameOfReferenceUID": "1.2"}
    values = tags.pop("values", texture(16, 16, len(name)).astype(np.int16))
    window = {"WindowCenter": 128, "WindowWidth": 256}
    return dicom(folder / f"{name}.dcm", values, PixelSpacing=list(spacing), **{**place, **window, **tags})


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"spacing": (0.5, 0.5)}, "mr.dcm has pixels of 0.9375 x 0.9375 mm, {}/pet.dcm of 0.5 x 0.5 mm"),
        ({"spacing": (0.9375, 0.9)}, "of 0.9375 x 0.9 mm: equal pixels do not show the same places; --resample b"),
        ({"corner": (-120, -120, 37.5)}, "mr.dcm and {}/pet.dcm lie up to 7.5 mm apart, as both say in one frame of"),
        ({"corner": (-118, -120, 30)}, "lie up to 2.0 mm apart"),
        ({"turn": (1, 0, 0, 0, 0, -1)}, "mm apart"),
    ],
)
def test_slices_of_different_places_are_not_fused(tmp_path, tags, words):
    one, other = placed(tmp_path, "mr", SliceThickness=5), placed(tmp_path, "pet", SliceThickness=5, **tags)
    words = words.format(tmp_path)
    for fuse_them in (
        lambda: read_scene(Scene("", (one, other))),
        lambda: Fuser(Mean(), TASKS["mif"]).fuse(one, other),
    ):
        with pytest.raises(ImageError, match=re.escape(words)) as told:
            fuse_them()
        assert "--resample b" in str(told.value)
    assert "--resample ignore fuses equal pixels" in str(told.value)
    assert len(read_scene(Scene("", (one, other)), one_size=False)) == 2  # to be registered


def test_equal_pixels_are_fused_where_that_is_asked_for(tmp_path, weights, capsys):
    """Slices and volumes that were registered and kept their old headers; what else the files say still holds."""
    one, other = placed(tmp_path, "pet"), placed(tmp_path, "mri", spacing=(0.5, 0.5), corner=(0, 0, 90), Modality="MR")
    words = ["-o", tmp_path / "f.png", "--weights", weights, "--precision", "float32", "--resample", "ignore"]
    assert run(one, other, *words) == 0
    fuser, images = load_fuser("mif", weights=weights, precision="float32"), [read_image(one), read_image(other)]
    expected = fuser.fuse(*[replace(image, plane=None) for image in images], depth="16")
    assert np.array_equal(np.rint(read_image(tmp_path / "f.png").pixels * 65535), expected)
    assert np.array_equal(fuser.fuse(one, other, align=Aligner("ignore"), depth="16"), expected)
    ct = placed(tmp_path, "x", Modality="CT")
    for resample in ("ignore", "b"):
        assert run(ct, other if resample == "ignore" else one, *words[:-1], resample, "--palette", "hot") == 1
        assert "x.dcm: is a CT, and palette hot" in capsys.readouterr().out
    small = placed(tmp_path, "small", values=np.zeros((8, 8), np.int16))
    assert run(small, other, *words, "--dry_run") == 1
    assert "sizes differ, 8x8 and 16x16: there are no equal pixels to be fused" in capsys.readouterr().out
    values = np.stack([texture(8, 9, k) for k in range(3)], 2).astype(np.int16)
    files = [volume(tmp_path / f"{k}.nii", values, np.diag([2, 2, k, 1])) for k in (3, 4)]
    words[1] = tmp_path / "f.nii.gz"
    assert run(*files, *words[:-2]) == 1 and "ignore fuses equal voxels" in capsys.readouterr().out
    assert run(*files, *words) == 0
    assert np.array_equal(nibabel.load(tmp_path / "f.nii.gz").affine, np.diag([2, 2, 4, 1]))


@pytest.mark.parametrize(
    "tags",
    [
        {"spacing": (0.94, 0.94)},  # rounded
        {"corner": (-120.4, -119.6, 31)},
        {"corner": (0, 0, 0), "FrameOfReferenceUID": "1.3"},  # of another examination
        {"corner": (0, 0, 0), "FrameOfReferenceUID": ""},
        {"spacing": (), "ImagerPixelSpacing": [0.2, 0.2]},
        {"spacing": (0, 0)},  # as some converters write
    ],
)
def test_slices_of_one_place_are_fused(tmp_path, tags):
    one, other = placed(tmp_path, "mr", SliceThickness=5), placed(tmp_path, "pet", SliceThickness=5, **tags)
    assert len(read_scene(Scene("", (one, other)))) == 2


def test_pixels_at_the_detector_are_compared_where_nothing_else_is_known(tmp_path):
    files = [placed(tmp_path, name, (), ImagerPixelSpacing=[size] * 2) for name, size in (("a", 0.2), ("bc", 0.1))]
    with pytest.raises(ImageError, match=r"a\.dcm has pixels of 0.2 x 0.2 mm, .*bc\.dcm of 0.1 x 0.1 mm"):
        read_scene(Scene("", tuple(files)))
    files = [placed(tmp_path, name, ImagerPixelSpacing=[size] * 2) for name, size in (("a", 0.2), ("bc", 0.1))]
    assert len(read_scene(Scene("", tuple(files)))) == 2


def test_slices_are_resampled_by_where_they_lie(tmp_path, weights, capsys):
    """What rises evenly through space is met by interpolation exactly; beyond the slice there is no data."""
    turn, size = np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0]]), {"WindowCenter": 0.5, "WindowWidth": 801}

    def ramp(name, shape, spacing, corner, turn, **tags):
        y, x = np.mgrid[: shape[0], : shape[1]]
        place = np.array(corner) + x[..., None] * spacing[1] * turn[0] + y[..., None] * spacing[0] * turn[1]
        values = np.rint(place @ [3, -2, 0]).astype(np.int16)
        return placed(tmp_path, name, spacing, corner, turn.ravel(), values=values, **size, **tags)

    pet = ramp("pet", (50, 40), (2, 2.5), (0, -45, 5), turn)
    mri = ramp("mri", (30, 36), (1, 1), (0, 0, 6), np.eye(3)[:2], SliceThickness=3)
    a, b = Aligner("position").align([read_image(pet), read_image(mri)])
    assert a.valid is None and not a.notices
    np.testing.assert_allclose(a.pixels, b.pixels, atol=1.5 / 800)
    a, b = Aligner("position", "a").align([read_image(pet), read_image(mri)])
    assert a.valid is None and 0.1 < b.valid.mean() < 0.5
    np.testing.assert_allclose(a.pixels[b.valid], b.pixels[b.valid], atol=3 / 800)

    words = [pet, mri, "-o", tmp_path / "f.png", "--weights", weights]
    assert run(*words) == 1
    assert "sizes differ" in (told := capsys.readouterr().out) and "--resample b (by where their files say" in told
    for grid, shape in (("b", (30, 36)), ("a", (50, 40))):
        assert run(*words, "--resample", grid) == 0 and read_image(tmp_path / "f.png").pixels.shape == shape
    assert run(*words, "--resample", "b", "--grid", "a") == 2
    capsys.readouterr()
    ramp("mri", (30, 36), (1, 1), (0, 0, 8), np.eye(3)[:2], SliceThickness=3, FrameOfReferenceUID="1.7")
    assert run(*words, "--resample", "b") == 1
    assert "source B and source A are slices 3.0 mm apart, as both say; give slices of" in capsys.readouterr().out
    ramp("mri", (30, 36), (1, 1), (0, 0, 5), np.eye(3)[:2], FrameOfReferenceUID="1.7")
    assert run(*words, "--resample", "b") == 0
    assert "pet.dcm: has another frame of reference than the other source, as after" in capsys.readouterr().out
    write_image(tmp_path / "mri.png", texture(8, 8, 1))
    assert run(pet, tmp_path / "mri.png", *words[2:], "--resample", "b") == 1
    assert "source B does not say where its pixels lie (DICOM's ImagePositionPatient" in capsys.readouterr().out


def test_damaged_dicom(tmp_path, monkeypatch):
    path = dicom(tmp_path / "x.dcm", texture(16, 16, 1).astype(np.uint16))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ImageError, match=r"x\.dcm: "):
        read_image(path)
    without(monkeypatch, "pydicom")
    with pytest.raises(ImageError, match=re.escape(install_command("medical"))):
        read_image(path)


def test_compressed_pixels_that_cannot_be_decoded(tmp_path, capfd):
    """The words of the decoders are one line, without the address of a stream, and nothing else is printed."""
    data_set = pydicom.dcmread(dicom(tmp_path / "x.dcm", texture(16, 16, 1)))
    data_set.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    data_set.PixelData = pydicom.encaps.encapsulate([b"no JPEG " * 8])
    data_set["PixelData"].is_undefined_length = True
    data_set.save_as(tmp_path / "x.dcm")
    assert info.run([str(tmp_path / "x.dcm")]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}/x.dcm: its pixels cannot be decoded (")
    assert "0x" not in line and "\\n" not in line and line.endswith("export it uncompressed")


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("JPEGLosslessSV1", imagecodecs.ljpeg_encode),
        ("JPEGLSLossless", imagecodecs.jpegls_encode),
        ("HTJ2KLossless", imagecodecs.htj2k_encode),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_compression_is_decoded_without_further_packages(tmp_path, syntax, encode, signed):
    """12 bits of 16, where negative values have their sign in bit 11."""
    values = texture(16, 20, 1).astype(np.int16) * 8 - 1000 * signed
    tags = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": int(signed)}
    data_set = pydicom.dcmread(dicom(tmp_path / "x.dcm", values, **tags))
    data_set.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    packed = (values.view(np.uint16) & 0xFFF).astype(np.uint16)
    data_set.PixelData = pydicom.encaps.encapsulate([encode(packed)])
    data_set["PixelData"].is_undefined_length = True
    data_set.save_as(tmp_path / "x.dcm")
    image = read_image(tmp_path / "x.dcm")
    assert image.window == (values.min(), values.max())
    np.testing.assert_allclose(image.pixels, (values - values.min()) / np.ptp(values), atol=1e-6)


def test_jpeg_of_12_bits_is_decoded_without_further_packages(tmp_path):
    values = cv2.GaussianBlur(texture(16, 24, 1), (0, 0), 2).astype(np.uint16) * 16
    data_set = pydicom.dcmread(dicom(tmp_path / "x.dcm", values, BitsStored=12, HighBit=11))
    data_set.file_meta.TransferSyntaxUID = pydicom.uid.JPEGExtended12Bit
    packed = imagecodecs.jpeg8_encode(values, level=95, bitspersample=12)
    data_set.PixelData = pydicom.encaps.encapsulate([packed])
    data_set["PixelData"].is_undefined_length = True
    data_set.save_as(tmp_path / "x.dcm")
    np.testing.assert_allclose(read_image(tmp_path / "x.dcm", (0, 4095)).pixels * 4095, values, atol=40)


def test_a_header_without_pixels_is_no_image(tmp_path):
    data_set = pydicom.dcmread(dicom(tmp_path / "x.dcm", texture(8, 8, 1)))
    del data_set.PixelData
    data_set.save_as(tmp_path / "x.dcm")
    with pytest.raises(ImageError, match=r"x\.dcm: a DICOM file without an image; take it out"):
        read_image(tmp_path / "x.dcm")


def test_a_range_changes_no_colours_of_a_palette(tmp_path):
    """As of other images of 8 bits: the numbers that a file in PALETTE COLOR stores are no values."""
    tags = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    tables = {
        f"{name}PaletteColorLookupTableData": (np.arange(256, dtype=np.uint16)[::step] * 257).tobytes()
        for name, step in (("Red", 1), ("Green", -1), ("Blue", 1))
    }
    values = texture(8, 8, 1)
    path = dicom(tmp_path / "x.dcm", values, kind="PALETTE COLOR", **tags, **tables)
    for value_range in (None, (50, 100), resolve_range(RangeSpec("folder"), [path])):
        image = read_image(path, value_range)
        assert image.depth == "8" and np.array_equal(image.pixels[..., 0] * 255, values)
        assert np.array_equal(image.pixels[..., 1] * 255, 255 - values)


@pytest.mark.parametrize("first, second, refused", [("CT", "PT", True), ("CT", "NM", True), ("PT", "CT", False)])
def test_a_ct_takes_the_place_of_the_mri(first, second, refused):
    with pytest.raises(ImageError, match="PET or SPECT first") if refused else nullcontext():
        check_order(("a", "b"), (first, second), ("scan", "mri"))


def test_sources_whose_files_say_the_other_order(tmp_path, weights, capsys):
    """Folders whose names tell nothing: the MRI would be taken for the scan that gives the colour."""
    one, other = (series(tmp_path / name, (1, 2), Modality=kind) for name, kind in (("x", "MR"), ("y", "PT")))
    told = (
        f"{one}/1.dcm is of modality MR and {other}/1.dcm of PT, as their files say; give them in the other order: CT"
    )
    for dry in ([], ["--dry_run"]):
        assert run(one, other, "-o", tmp_path / "out", "--weights", weights, *dry) == 1
        assert told in capsys.readouterr().out
    assert run(one, other, "-o", tmp_path / "f.nii.gz", "--weights", weights) == 1
    assert told.replace("/1.dcm", "") in capsys.readouterr().out
    with pytest.raises(ImageError, match=r"is of modality MR and .* of PT"):
        Fuser(Mean(), TASKS["mif"])(one / "1.dcm", other / "1.dcm")
    assert run(other, one, "-o", tmp_path / "f.nii.gz", "--weights", weights) == 0


def item(**tags):
    one = pydicom.Dataset()
    for name, value in tags.items():
        setattr(one, name, value)
    return one


def enhanced(path, places, slopes=(2, 2, 2), **tags):
    """An enhanced DICOM file of 3 frames, 4 x 6, whose stored values are their numbers."""
    each = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[-3, 4, place])],
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=-1000)],
            FrameVOILUTSequence=[item(WindowCenter=40.5, WindowWidth=81)],
        )
        for place, slope in zip(places, slopes)
    ]
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[2, 3], SliceThickness=2.5)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
    )
    frames = np.repeat(np.arange(3, dtype=np.int16), 24).reshape(12, 6)
    return dicom(
        path,
        frames,
        Rows=4,
        NumberOfFrames=3,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=each,
        **tags,
    )


def test_an_enhanced_file_is_a_volume_in_its_own_units(tmp_path):
    path = enhanced(tmp_path / "s" / "e.dcm", (5, 0, 2.5), (2, 3, 4))
    for place in (path, path.parent):
        read = read_volume(place)
        assert read.values.shape == (6, 4, 3) and read.values[0, 0].tolist() == [3 - 1000, 8 - 1000, -1000]
        assert read.window == (0, 80) and read.placed and not read.notices
        np.testing.assert_allclose((read.affine @ [1, 2, 1, 1])[:3], [-(-3 + 3), -(4 + 2 * 2), 2.5])
    image = read_image(path)  # the first frame
    assert image.window == (0, 80) and not image.pixels.any()
    assert image.notices == (f"{path}: holds 3 frames, only the first is read; -o NAME.nii.gz fuses all as a volume",)
    with pytest.raises(ImageError, match=r"e\.dcm: e\.dcm frame 2 and e\.dcm frame 3 lie in one place"):
        read_volume(enhanced(path, (5, 0, 0)))


@pytest.mark.parametrize(("step", "expected"), [(2.5, [0, 1, 2]), (-2.5, [2, 1, 0])])
def test_reconstructed_spect_is_a_volume(tmp_path, step, expected):
    """Its frames are stacked along the normal from the place of the first one, or against it (negative step)."""
    detector = item(ImagePositionPatient=[-3, 4, 10], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    tags = {"Rows": 4, "NumberOfFrames": 3, "PixelSpacing": [2, 3], "DetectorInformationSequence": [detector]}
    frames = np.repeat(np.arange(3, dtype=np.int16), 24).reshape(12, 6)
    kind = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    read = read_volume(dicom(tmp_path / "nm.dcm", frames, ImageType=kind, SpacingBetweenSlices=step, **tags))
    assert read.values[0, 0].tolist() == expected
    np.testing.assert_allclose((read.affine @ [0, 0, expected[0], 1])[:3], [3, -4, 10])
    with pytest.raises(
        ImageError, match=r"nm\.dcm: holds 3 frames and does not say where each lies; convert it to NIf"
    ):
        read_volume(dicom(tmp_path / "nm.dcm", frames, ImageType=["ORIGINAL", "PRIMARY", "TOMO"], **tags))


# ---- volumes


def volume(path, values, affine=None):
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2, 2, 3, 1]) if affine is None else affine), str(path))
    return path


@pytest.fixture
def weights(tmp_path):
    return write_weights(tmp_path / "w.safetensors", "mif")


def run(*arguments):
    return fuse.run([*map(str, arguments), "--task", "mif"])


def test_names_of_volumes_tell_the_task(tmp_path, weights, capsys):
    scan = np.arange(192, dtype=np.int16).reshape(8, 8, 3)

    def fused(*names: str) -> tuple[int, dict]:
        files = [str(volume(tmp_path / f"{name}.nii", scan)) for name in names]
        status = fuse.run([*files, "-o", str(tmp_path / "f.nii"), "--weights", str(weights), "--json"])
        return status, json.loads(capsys.readouterr().out)

    for names in (("ct", "mri"), ("one", "two")):
        status, said = fused(*names)
        assert (status, said["task"]) == (0, "mif")
    status, said = fused("near", "far")
    assert status == 1 and "was trained for task 'mif', not 'mff'" in said["error"]


@pytest.mark.parametrize(
    ("names", "task", "reason"),
    [
        (("ct", "mri"), [], "the names say ct and mri; --task changes it"),
        (("one", "two"), [], "that of volumes whose names tell no other; --task changes it"),
        (("one", "two"), ["--task", "mif"], "as --task says"),
    ],
)
def test_the_task_of_volumes_is_said(tmp_path, weights, capsys, names, task, reason):
    scan = np.arange(192, dtype=np.int16).reshape(8, 8, 3)
    files = [str(volume(tmp_path / f"{name}.nii", scan)) for name in names]
    assert fuse.run([*files, "-o", str(tmp_path / "f.nii"), "--weights", str(weights), *task]) == 0
    assert capsys.readouterr().out.startswith(f"task mif, {TASKS['mif'].title} ({reason})\n")


TURNED = np.array([[0, 1.5, 0, -3], [2, 0, 0, 1], [0, 0, 3, 2], [0, 0, 0, 1.0]])  # axes exchanged


@pytest.mark.parametrize("affine", [np.diag([2.0, 2, 3, 1]), TURNED, np.diag([1.0, 1, 1, 1])])
def test_a_volume_resampled_shows_what_lies_in_each_place(affine):
    """What rises evenly through space is met by linear interpolation exactly, smoothed or not, away from the border."""

    def places(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(
            np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ affine[:3, :3].T, -1, 0
        )
        x, y, z = x + affine[0, 3], y + affine[1, 3], z + affine[2, 3]
        return (3 * x - 2 * y + 0.5 * z).astype(np.float32)

    own = np.diag([1.2, 1.2, 1.2, 1]) + np.array([[0, 0, 0, -20.0]] * 3 + [[0] * 4])
    one, like = Volume(places((60, 60, 60), own), own), Volume(places((10, 9, 8), affine), affine)
    found = resampled("a", one, "b", like)
    np.testing.assert_allclose(found.values, like.values, atol=1e-3)
    assert (
        found.affine is like.affine and "60 x 60 x 60 to 10 x 9 x 8 voxels, of which it shows 100%" in found.notices[0]
    )


def test_beyond_a_resampled_volume_there_is_no_data():
    """Voxels reach half a step beyond their middles; what is missing in the volume stays so."""
    values = np.ones((4, 4, 4), np.float32)
    values[0] = np.nan
    like = Volume(np.zeros((9, 4, 4), np.float32), np.diag([1.0, 1, 1, 1]))
    shown = resampled("a", Volume(values, np.diag([2.0, 1, 1, 1])), "b", like).values[:, 1, 1]
    assert np.isfinite(shown).tolist() == [False, *[True] * 7, False] and np.nanmax(shown) == np.nanmin(shown) == 1
    far = Volume(values, np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, 100.0]] + [[0] * 4] * 3))
    with pytest.raises(ImageError, match="a and b have no place in common"):
        resampled("a", far, "b", like)
    with pytest.raises(ImageError, match="b does not say where its voxels lie"):
        resampled("a", Volume(values, np.eye(4)), "b", Volume(values, np.eye(4), placed=False))


@pytest.mark.parametrize("affine", [np.diag([3.0, 3, 0, 1]), np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_a_volume_whose_voxels_have_no_place_is_named(tmp_path, affine):
    """A damaged header; resampling is not advised then, since it would fail."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((4, 4, 4))
    header.set_data_dtype(np.float32)
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    header["sform_code"], header["magic"], header["vox_offset"] = 1, b"n+1", 352
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4 + 4**4))
    one, other = read_volume(tmp_path / "a.nii"), Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
    assert not one.placed
    with pytest.raises(ImageError, match=r"a\.nii does not say where its voxels lie"):
        resampled("a.nii", one, "b.nii", other)
    with pytest.raises(ImageError, match=r"is not known: a\.nii does not say where its voxels lie, so"):
        check_same_grid(["a.nii", "b.nii"], [one, other])


def test_volumes_on_two_grids_are_fused_where_that_is_asked_for(tmp_path, weights, capsys):
    coarse, fine = np.diag([4.0, 4, 4, 1]), np.diag([2.0, 2, 2, 1])
    a = volume(tmp_path / "pet.nii", np.stack([texture(16, 12, k) for k in range(4)], 2).astype(np.int16), coarse)
    b = volume(tmp_path / "mri.nii", np.stack([texture(30, 22, 9 + k) for k in range(6)], 2).astype(np.int16), fine)
    words = [str(a), str(b), "-o", str(tmp_path / "f.nii.gz"), "--weights", str(weights)]
    assert fuse.run(words) == 1
    assert "pet.nii has 16 x 12 x 4 voxels" in (out := capsys.readouterr().out) and "--resample b brings" in out
    assert fuse.run([*words, "--resample", "a", "--range_b", "0", "9", "inverted", "--range_a", "inverted"]) == 0
    low, high = re.search(r"pet.nii: the values (\d+) to (\d+) become black to white", capsys.readouterr().out).groups()
    assert int(low) > int(high)
    for grid, expected in (("a", a), ("b", b)):
        assert fuse.run([*words, "--resample", grid]) == 0
        fused, like = nibabel.load(tmp_path / "f.nii.gz"), nibabel.load(expected)
        assert fused.shape == like.shape and np.array_equal(fused.affine, like.affine)
        moved = {"a": "mri", "b": "pet"}[grid]
        assert f"notice: {tmp_path}/{moved}.nii: resampled from" in capsys.readouterr().out
    for name in ("x.png", "y.png"):
        (tmp_path / name).touch()
    assert fuse.run([str(tmp_path / "x.png"), str(tmp_path / "y.png"), "-o", "z.png", "--axis", "axial"]) == 2
    assert "--axis is for volumes" in capsys.readouterr().err


def head_images():
    """The middle slice of `head_volumes`, 8 bits."""
    x, y = np.meshgrid(np.arange(40), np.arange(32), indexing="ij")
    tissue = np.hypot(x - 20, y - 16) < 13
    spot = (abs(x - 24) <= 2) & (abs(y - 16) <= 2)
    return (tissue * 50 + spot * 200).astype(np.uint8), (tissue * 180).astype(np.uint8)


def head_volumes(tmp_path):
    """A PET whose spot lies on tissue that is bright in the MRI, with air around: arrays (40, 32, 3), and files."""
    x, y = np.meshgrid(np.arange(40), np.arange(32), indexing="ij")
    tissue = (np.hypot(x - 20, y - 16) < 13).astype(np.float32)
    spot = (abs(x - 24) <= 2) & (abs(y - 16) <= 2)
    pet, mri = np.stack([tissue * 2 + 8 * spot * (k == 1) for k in range(3)], 2), np.stack([tissue * 700] * 3, 2)
    mri[19:22, 6:9] = 1000  # fat
    pet[..., 2] = 0  # nothing to be coloured
    return volume(tmp_path / "pet.nii", pet.astype(np.float32)), volume(tmp_path / "mri.nii", mri.astype(np.int16))


@pytest.mark.parametrize("palette", ["hot", "inferno"])
def test_activity_in_false_colors_can_be_told_from_bright_tissue(tmp_path, capsys, palette):
    files = head_volumes(tmp_path)
    words = [*files, "-o", tmp_path / "f.nii.gz", "--size", "tiny", "--device", "cpu"]
    assert run(*words, "--palette", palette) == 0
    fused = nibabel.load(tmp_path / "f.nii.gz")
    assert fused.shape == (40, 32, 3) and np.array_equal(fused.affine, nibabel.load(files[1]).affine)
    voxels = np.asarray(fused.dataobj)
    red, green, blue = (voxels[channel].astype(int) for channel in "RGB")
    assert max(red[:3].max(), green[:3].max(), blue[:3].max()) == 0  # air
    assert np.array_equal(red[..., 2], green[..., 2]) and np.array_equal(red[..., 2], blue[..., 2])  # gray MRI alone
    chroma = np.stack([red - green, green - blue])[..., 1]
    assert np.abs(chroma[:, 24, 16] - chroma[:, 14, 16]).max() > 60  # in gray there is no difference
    assert "pet.nii: the values 0 to 10 become black to white; --range_a LOW HIGH" in capsys.readouterr().out
    assert run(*words) == 0 and nibabel.load(tmp_path / "f.nii.gz").get_data_dtype() == np.uint16


def test_the_colors_of_a_palette():
    gray = np.array([[0, 0.5, 1]], np.float32)
    np.testing.assert_allclose(in_false_colors(gray, "hot")[0], [[0, 0, 0], [1, 64 / 255, 0], [1, 1, 1]], atol=3e-3)
    assert in_false_colors(gray, "inferno")[0, 0].tolist() == [0, 0, 0]


def test_palettes_that_cannot_be(tmp_path, weights, capsys):
    words = [*head_volumes(tmp_path), "-o", tmp_path / "f.nii", "--weights", weights, "--palette", "hot"]
    assert run(*words, "--depth", "16") == 2
    assert "palette hot: colours of NIfTI volumes have 8 bits, got depth 16" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"palette hot is for PET or SPECT \+ MRI \(mif\), got task ivf"):
        fuse_volumes(Fuser(Mean(), TASKS["ivf"]), words[:2], tmp_path / "f.nii", WantedVolumes(palette="hot"))
    capsys.readouterr()
    for names in (("ct.nii", "mri.nii"), ("ct_1.png", "mri_1.png")):
        out = tmp_path / ("f.nii" if names[0].endswith(".nii") else "f.png")
        files = [str(tmp_path / name) for name in names]
        for name in files:
            Path(name).exists() or Path(name).touch()
        assert fuse.run([*files, "-o", str(out), "--palette", "hot"]) == 2
        assert "PET and SPECT, and the names say ct; leave it out, or say --task mif if" in capsys.readouterr().err
    series(tmp_path / "ct_series", (1, 2), Modality="CT")
    files = [tmp_path / "ct_series", words[1]]
    with pytest.raises(ImageError, match="ct_series: is a CT, and palette hot is for the activity in PET and SPECT"):
        fuse_volumes(Fuser(Mean(), TASKS["mif"]), files, tmp_path / "f.nii", WantedVolumes(palette="hot"))
    assert not (tmp_path / "f.nii").exists()


def test_gray_images_in_false_colors(tmp_path, weights, capsys):
    """As volumes: folders, with panels, and from Python; as if the image was stored in these colours."""
    pet, mri = head_images()
    for number in range(2):
        write_image(tmp_path / f"PET/{number}.png", pet), write_image(tmp_path / f"MRI/{number}.png", mri)
    words = ["-o", tmp_path / "out", "--weights", weights, "--palette", "hot", "--panel", "--precision", "float32"]
    assert run(tmp_path / "PET", tmp_path / "MRI", *words) == 0
    fuser = load_fuser("mif", weights=weights, precision="float32")
    colored = np.rint(in_false_colors(pet / np.float32(255), "hot") * 255).astype(np.uint8)
    fused = fuser.fuse(pet, mri, palette="hot")
    assert np.array_equal(read_image(tmp_path / "out/1.png").pixels * 255, fused)
    assert np.abs(fused.astype(int) - fuser.fuse(colored, mri)).max() <= 2
    panel = read_image(tmp_path / "out/panels/1.png").pixels
    assert panel[:, : panel.shape[1] // 3].std(axis=2).max() > 0.2  # the source in its colours
    assert np.array_equal(fuser(tmp_path / "PET/0.png", mri, palette="hot"), fused)
    assert fuser(np.zeros((8, 8), np.uint8), mri[:8, :8], palette="hot").shape == (8, 8, 3)
    capsys.readouterr()
    write_image(tmp_path / "PET/1.png", colored)
    assert run(tmp_path / "PET", tmp_path / "MRI", *words, "--dry_run") == 1
    assert "PET/1.png: has colour already, and palette hot is for gray images; leave it out" in capsys.readouterr().out
    with pytest.raises(ImageError, match="source A: has colour already"):
        fuser(colored, mri, palette="hot")
    blue = np.dstack([0 * pet, 0 * pet, pet])
    assert np.array_equal(fuser(blue, mri, palette="hot"), fused)
    assert np.array_equal(fuser(np.dstack([pet] * 3), mri, palette="hot"), fused)
    with pytest.warns(ImageNotice, match="source A: is in shades of one dark colour, in which spots are lost"):
        fuser(blue, mri)
    ct = dicom(tmp_path / "x.dcm", pet.astype(np.int16), Modality="CT")
    with pytest.raises(ImageError, match=r"x\.dcm: is a CT"):
        fuser(ct, mri, palette="hot")
    with pytest.raises(ValueError, match="palette is one of none, hot, inferno, got 'jet'"):
        fuser(pet, mri, palette="jet")
    with pytest.raises(ValueError, match="palette hot is for PET or SPECT"):
        Fuser(Mean(), TASKS["ivf"])(pet, mri, palette="hot")
    with pytest.raises(SystemExit):
        run(tmp_path / "PET", tmp_path / "MRI", *words, "--scores")
    assert "--scores needs sources as they are stored; leave --palette out" in capsys.readouterr().err


def test_a_volume_in_metres_is_read_in_millimetres(tmp_path):
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.float32), np.diag([0.002, 0.002, 0.003, 1]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "x.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "x.nii").affine, np.diag([2, 2, 3, 1]), rtol=1e-6)


def test_single_voxels_do_not_decide_on_the_range_of_a_volume():
    values = np.full((6, 6, 2), 5.0, np.float32)
    values[0, 0], values[3:5, 3:5, 1], values[5, 5, 0] = -50, 7, 100
    assert window_of(Volume(values, np.eye(4)), None) == (5, 7, True)
    values[1, 1] = np.nan
    assert window_of(Volume(values, np.eye(4)), RangeSpec("folder")) == (5, 7, True)
    assert window_of(Volume(values, np.eye(4)), RangeSpec("percentiles", 0, 100)) == (-50, 100, True)


def hounsfield(lowest, highest):
    """Values of a CT in a circle: a quarter air, the rest 0 to 1000, and four of padding and metal each."""
    values = np.tile(np.linspace(0, 1000, 16), (16, 1))
    values[:4] = -1000
    values[4:6, :2], values[4:6, 14:] = lowest, highest
    return values


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [(-3024, 1000, (-1024, 1000)), (-1000, 30000, (-1000, 3071)), (-1000, 2000, (-1000, 2000))],
)
def test_padding_and_metal_of_ct_do_not_decide_on_its_range(tmp_path, lowest, highest, expected):
    values = hounsfield(lowest, highest)
    ct = Volume(np.dstack([values, values]).astype(np.float32), np.eye(4))
    assert window_of(ct, None) == (*expected, True)
    assert window_of(ct, RangeSpec("folder")) == (lowest, highest, True)  # asked for
    image = read_image(dicom(tmp_path / "ct.dcm", values.astype(np.int16)))
    assert image.window == expected and any(f"{expected[0]} to {expected[1]} bec" in one for one in image.notices)
    other = Volume(np.where(ct.values == -1000, -500, ct.values), np.eye(4))  # no air: no CT
    assert window_of(other, None)[:2] == (other.values.min(), other.values.max())


@pytest.mark.parametrize("bright", [1200, 30000])
def test_artefacts_of_mri_do_not_decide_on_its_range(tmp_path, bright):
    """9 bright pixels of 10000, where 99.9 % lie up to about 999.  PET and SPECT keep their hot spots."""
    values = np.tile(np.arange(1000, dtype=np.int16), 10).reshape(100, 100)
    values[:3, :3], values[50:60] = bright, 0
    expected = min(bright, 1.5 * np.percentile(values, 99.9))
    for modality, high in (("MR", expected), ("PT", bright), ("NM", bright)):
        image = read_image(dicom(tmp_path / "x.dcm", values, Modality=modality))
        assert image.window == pytest.approx((0, high)) and image.pixels[1, 1] == 1
        assert any(f"0 to {high:g} become black to white" in notice for notice in image.notices)
    both = Volume(np.dstack([values, values]).astype(np.float32), np.eye(4))
    assert window_of(both, None, "mri")[:2] == pytest.approx((0, expected))
    assert window_of(both, None, "scan")[:2] == window_of(both, RangeSpec("folder"), "mri")[:2] == (0, bright)
    few = np.zeros((100, 100), np.int16)
    few[:3, :3] = 500  # the end of a series, hardly anything but background
    assert read_image(dicom(tmp_path / "x.dcm", few, Modality="MR")).window == (0, 500)


def test_another_frame_of_reference_is_told(tmp_path):
    """Positions of two examinations are no common coordinates; those of one file of each are."""
    read = [read_volume(series(tmp_path / f"{k}", (1, 2), FrameOfReferenceUID=f"1.{k}")) for k in range(2)]
    (told,) = frames_notice("mri", read)
    assert told.startswith("has another frame of reference than mri") and "register them first" in told
    unnamed = Volume(read[1].values, read[1].affine)
    for other in (read[0], unnamed):
        assert frames_notice("mri", (read[0], other)) == []


@pytest.mark.parametrize(("resample", "told"), [("none", True), ("b", True), ("ignore", False)])
def test_another_frame_of_reference_is_told_on_equal_grids_too(tmp_path, resample, told):
    paths = [series(tmp_path / f"{k}", (1, 2), FrameOfReferenceUID=f"1.{k}") for k in range(2)]
    plan = plan_volumes(Fuser(Mean(), TASKS["mif"]), paths, tmp_path / "f.nii", WantedVolumes(resample=resample))
    assert any(f"another frame of reference than {paths[1]}" in text for _, text in plan.notices) is told


def test_volumes_among_images_are_told_what_takes_them(tmp_path):
    for side in ("ct", "mri"):
        (tmp_path / side).mkdir()
        volume(tmp_path / side / "1.nii.gz", np.zeros((4, 4, 2), np.int16))
    with pytest.raises(ImageError, match=r"ct holds volumes, 1\.nii\.gz, where images are expected; only adasff"):
        find_scenes((tmp_path / "ct", tmp_path / "mri"))
    with pytest.raises(ImageError, match=r"1\.nii\.gz: a volume, where an image is expected; adasffuse fuse and info"):
        read_image(tmp_path / "ct/1.nii.gz")
    with pytest.raises(ImageError, match=r"source A: is of type Nifti1Image; give a path, an array"):
        Fuser(Mean(), TASKS["mif"])(*[nibabel.load(tmp_path / "ct/1.nii.gz")] * 2)
    with pytest.raises(
        ImageError, match=r"got shape \(8, 8, 9\); of a volume give one slice, or its file to adasffuse\."
    ):
        Fuser(Mean(), TASKS["mif"])(np.zeros((8, 8, 9)), np.zeros((8, 8, 9)))
    with pytest.raises(ImageError, match=r"ct: holds no DICOM files but 1\.nii\.gz; give one of them, or, to fuse"):
        read_volume(tmp_path / "ct")


def test_series_whose_files_have_other_names_are_fused_by_position(tmp_path, capsys):
    for side in ("ct", "mri"):
        dicom(tmp_path / side / f"{side}.1.dcm", np.zeros((4, 4), np.int16))
    assert run(tmp_path / "ct", tmp_path / "mri", "-o", tmp_path / "out") == 1
    assert "DICOM series are fused by position, whatever their names: adasffuse fuse A B" in capsys.readouterr().err


def test_ranges_of_volumes_are_two_numbers_as_those_of_images(tmp_path):
    values = np.dstack([texture(8, 8, k) for k in range(2)]).astype(np.int16)
    files = volume(tmp_path / "a.nii", values), volume(tmp_path / "b.nii", values.copy())
    fuser = Fuser(Mean(), TASKS["mif"])
    assert not fuse_volumes(fuser, files, tmp_path / "o.nii", WantedVolumes([(0, 510), (0, 510)], depth="float"))
    fused = np.asarray(nibabel.load(tmp_path / "o.nii").dataobj)
    np.testing.assert_allclose(fused, values / 510, atol=1e-3)


def test_volumes_are_fused_slice_by_slice(tmp_path, weights):
    from adasffuse.inference.fuser import load_fuser

    a, b = (np.stack([texture(32, 40, seed + k) for k in range(3)], 2).astype(np.int16) * 4 - 500 for seed in (0, 9))
    affine = np.array([[-2, 0, 0, 5], [0, 2, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1.0]])
    files = volume(tmp_path / "ct.nii.gz", a, affine), volume(tmp_path / "mri.nii", b, affine)
    ranges = [word for side, v in (("a", a), ("b", b)) for word in (f"--range_{side}", v.min(), v.max())]
    assert run(*files, "-o", tmp_path / "f.nii.gz", "--weights", weights, "--precision", "float32", *ranges) == 0
    fused = nibabel.load(tmp_path / "f.nii.gz")
    np.testing.assert_allclose(fused.affine, affine)
    assert fused.shape == (32, 40, 3) and fused.get_data_dtype() == np.uint16
    assert fused.header.get_xyzt_units()[0] == "mm"
    assert (tmp_path / "f.nii.gz").read_bytes()[4:8] == bytes(4)  # no time: equal results are equal files
    unit = [((v - v.min()) / np.ptp(v)).astype(np.float32)[..., 1] for v in (a, b)]
    expected = load_fuser("mif", weights=weights, precision="float32").fuse(*unit, depth="16")
    assert np.abs(np.asarray(fused.dataobj)[..., 1].astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda tmp: volume(tmp / "b.nii", np.ones((8, 8, 2), np.int16)), "b.nii 8 x 8 x 2; --resample"),
        (lambda tmp: volume(tmp / "b.nii", np.ones((8, 8, 3), np.int16), np.eye(4)), "mm apart"),
        (lambda tmp: volume(tmp / "b.nii", np.ones((8, 8, 3, 5), np.int16)), "holds 5 volumes"),
        (lambda tmp: tmp / "nowhere.nii", "no such file"),
    ],
)
def test_volumes_that_do_not_fit(tmp_path, weights, capsys, make, words):
    one = volume(tmp_path / "a.nii", np.arange(192, dtype=np.int16).reshape(8, 8, 3))
    assert run(one, make(tmp_path), "-o", tmp_path / "f.nii", "--weights", weights) == 1
    assert words in capsys.readouterr().out and not (tmp_path / "f.nii").exists()


def test_damaged_nifti_and_a_wrong_result(tmp_path, weights, capsys):
    one = volume(tmp_path / "a.nii", np.ones((8, 8, 3), np.int16))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"no volume"))
    assert run(one, tmp_path / "b.nii.gz", "-o", tmp_path / "f.nii", "--weights", weights) == 1
    assert "failed: f: " in (told := capsys.readouterr().out) and "b.nii.gz: damaged or no NIfTI file" in told
    assert run(one, one, "-o", tmp_path / "f.png", "--weights", weights) == 2
    assert "give a name ending in .nii.gz" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--grid", "a"], ["--align", "affine"], ["--no_data_a", "0"], ["--scores"]])
def test_options_that_are_not_for_volumes(tmp_path, weights, capsys, words):
    files = [volume(tmp_path / f"{name}.nii", np.arange(192, dtype=np.int16).reshape(8, 8, 3)) for name in "ab"]
    assert run(*files, "-o", tmp_path / "f.nii", "--weights", weights, *words) == 2
    err = capsys.readouterr().err
    assert f"{words[0]} is not for volumes" in err and not (tmp_path / "f.nii").exists()
    assert ("--resample b brings the first" in err) is (words[0] == "--align")


def test_a_result_never_replaces_a_volume_and_no_volume_is_fused_with_itself(tmp_path, weights, capsys):
    one, other = (volume(tmp_path / f"{name}.nii", np.ones((8, 8, 3), np.int16)) for name in "ab")
    (tmp_path / "link.nii").symlink_to(other)
    before = other.read_bytes()
    for out in (other, tmp_path / "link.nii"):
        assert run(one, other, "-o", out, "--weights", weights) == 1
        assert "would overwrite a source" in capsys.readouterr().err
    assert run(one, one, "-o", tmp_path / "f.nii", "--weights", weights) == 1
    assert "one and the same volume" in capsys.readouterr().out
    assert other.read_bytes() == before and not (tmp_path / "f.nii").exists()


def test_slices_that_are_paired_by_names_are_told(tmp_path, weights, capsys):
    series(tmp_path / "ct", (1, 2))
    for number in (1, 2):
        write_image(tmp_path / "mri" / f"{number}.png", texture(4, 6, number))
    assert run(tmp_path / "ct", tmp_path / "mri", "-o", tmp_path / "out", "--weights", weights) == 0
    assert f"notice: DICOM files in {tmp_path}/ct are paired by their names, not by where" in capsys.readouterr().out


def test_slices_in_ranges_of_their_own_are_told(tmp_path, weights, capsys):
    """PET, whose slices have windows of their own, beside MRI slices in one window."""
    for number, white in ((1, 100), (2, 500)):
        values = texture(8, 8, number).astype(np.int16)
        dicom(tmp_path / f"pet/{number}.dcm", values, WindowCenter=white / 2 + 0.5, WindowWidth=white + 1)
        dicom(tmp_path / f"mri/{number}.dcm", values, WindowCenter=128, WindowWidth=256)
    words = (tmp_path / "pet", tmp_path / "mri", "-o", tmp_path / "out", "--weights", weights)
    told = f"{tmp_path}/pet: its files have 2 different ranges, 0 to 100 and 0 to 500 among them, so that one value is"
    assert run(*words) == 0
    said = capsys.readouterr().out
    assert told in said and "give --range_a folder" in said and "mri: its files" not in said
    assert run(*words, "--range_a", "folder") == 0
    assert "different ranges" not in capsys.readouterr().out


def test_ranges_of_both_sources_are_told(tmp_path, weights, capsys):
    """Those of the MRI once counted as those of more files of the PET."""
    for name, step in (("pet", 1), ("mri", 3)):
        for number in (1, 2):
            dicom(tmp_path / name / f"{number}.dcm", np.arange(64, dtype=np.int16).reshape(8, 8) * step * number)
    assert run(tmp_path / "pet", tmp_path / "mri", "-o", tmp_path / "out", "--weights", weights) == 0
    said, other = capsys.readouterr().out, "'folder' one range for all files (and 1 more file, with other numbers)"
    for name, side, high in (("pet", "a", 63), ("mri", "b", 189)):
        begins = f"{name}/1.dcm: states no window that can be used; its values 0 to {high} become black to white"
        assert f"{begins}; --range_{side} LOW HIGH chooses others, {other}" in said


def test_volumes_whose_names_say_the_other_order(tmp_path, capsys):
    mri, ct = (volume(tmp_path / f"{name}.nii.gz", np.ones((8, 8, 3), np.int16)) for name in ("mri", "ct"))
    assert fuse.run([str(mri), str(ct), "-o", str(tmp_path / "f.nii.gz")]) == 2
    assert "source A is called 'mri'" in capsys.readouterr().err and not (tmp_path / "f.nii.gz").exists()


def test_impossible_results_of_volumes_are_found_before_any_work(tmp_path):
    fuser = Fuser(Mean(), TASKS["mif"], precision="float32")
    files = [tmp_path / "no_a.nii", tmp_path / "no_b.nii"]
    with pytest.raises(ImageError, match=r"f\.png: the result of volumes is a volume"):
        fuse_volumes(fuser, files, tmp_path / "f.png")
    with pytest.raises(ValueError, match="axis is one of third, axial, coronal, sagittal, got 'z'"):
        WantedVolumes(axis="z")


def test_a_dry_run_of_volumes_says_what_would_be_fused(tmp_path, weights, capsys):
    coarse, fine = np.diag([4.0, 4, 4, 1]), np.diag([2.0, 2, 2.5, 1])
    a = volume(tmp_path / "pet.nii", np.stack([texture(16, 12, k) for k in range(4)], 2).astype(np.int16) % 100, coarse)
    b = volume(tmp_path / "mri.nii", np.stack([texture(30, 22, 9 + k) for k in range(6)], 2).astype(np.int16), fine)
    words = [str(a), str(b), "-o", str(tmp_path / "f.nii.gz"), "--weights", str(weights), "--dry_run", "--panel"]
    assert fuse.run(words) == 1
    told = capsys.readouterr().out
    assert f"would fail: f: {a} has 16 x 12 x 4 voxels, {b} 30 x 22 x 6; --resample b brings" in told
    assert "0 would be fused, 1 would fail; nothing was written" in told
    words += [
        "--resample",
        "b",
        "--palette",
        "hot",
        "--axis",
        "coronal",
        "--range_a",
        "0",
        "99",
        "--range_b",
        "9",
        "90",
    ]
    assert fuse.run(words) == 0
    told = capsys.readouterr().out
    assert (
        "  f: pet.nii (16 x 12 x 4 voxels of 4 x 4 x 4 mm, 0 to 99) + mri.nii (30 x 22 x 6 voxels of 2 x 2 x 2.5 mm"
        in told
    )
    assert f"9 to 90) -> {tmp_path}/f.nii.gz\n" in told
    assert "result: 30 x 22 x 6 voxels, 8 bits, RGB, source A in 'hot'; 22 slices of 30 x 6 are fused" in told
    assert f"notice: {a}: resampled from" in told and "1 would be fused, 0 would fail; nothing was written" in told
    assert fuse.run([*words, "--json"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)["planned"]
    assert (planned["axis"], planned["slices"], planned["ranges"]) == (1, 22, [[0, 99], [9, 90]])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mri.nii", "pet.nii", "w.safetensors"]


def test_slices_are_cut_where_the_body_says(tmp_path):
    """Axes of the voxels: superior, left, anterior.  The mean of a slice and of nothing shows which were fused."""
    values = np.arange(4 * 8 * 6, dtype=np.float32).reshape(4, 8, 6)
    affine = np.array([[0, -2.0, 0, 0], [0, 0, 2, 0], [2, 0, 0, 0], [0, 0, 0, 1]])
    files = [volume(tmp_path / name, values + k, affine) for k, name in enumerate(("a.nii", "b.nii"))]
    fuser, whole = Fuser(Mean(), TASKS["mif"], precision="float32"), []
    for axis, expected in (("third", 2), ("axial", 0), ("sagittal", 1), ("coronal", 2)):
        wanted = WantedVolumes(axis=axis)
        assert plan_volumes(fuser, files, tmp_path / "f.nii", wanted).axis == expected
        fuse_volumes(fuser, files, tmp_path / "f.nii", wanted)
        whole.append(np.asarray(nibabel.load(tmp_path / "f.nii").dataobj))
    assert all(np.abs(one.astype(int) - whole[0]).max() <= 2 for one in whole)
    for name in ("a.nii", "b.nii"):
        image = nibabel.load(tmp_path / name)
        image.set_sform(affine, 0), image.set_qform(affine, 0)
        nibabel.save(image, tmp_path / name)
    with pytest.raises(ImageError, match=r"b\.nii does not say where its voxels lie, so which of its slices are axial"):
        plan_volumes(fuser, files, tmp_path / "f.nii", WantedVolumes(axis="axial"))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_shown_upright(axis):
    """The corner that is right, front and top of the body comes first; voxels of 1 x 2 x 3 mm get square."""
    values = np.zeros((4, 5, 6), np.uint8)  # left, posterior, superior
    values[0, 0, 5] = 9
    pixels = upright_slice(
        np.take(values, values.shape[axis] - 1 if axis == 2 else 0, axis), np.diag([-1, -2, 3, 1]), axis
    )
    assert pixels.shape == [(9, 5), (18, 4), (10, 4)][axis] and pixels[0, 0] == pixels.max() == 9
    turned = upright_slice(np.zeros((4, 5, 3), np.uint8), np.full((4, 4), np.nan), 2)
    assert turned.shape == (5, 4, 3)


def test_a_panel_of_volumes_shows_five_slices(tmp_path, weights, capsys):
    values = np.stack([texture(9, 12, k) for k in range(20)], 2).astype(np.int16)
    files = volume(tmp_path / "a.nii", values), volume(tmp_path / "b.nii", values[::-1])
    assert run(*files, "-o", tmp_path / "f.nii.gz", "--weights", weights, "--panel", "--palette", "hot") == 0
    assert f"panels: {tmp_path}/f_panel.png" in capsys.readouterr().out
    shown = read_image(tmp_path / "f_panel.png").pixels
    assert shown.shape == (5 * (26 + 240 + 6), 3 * (180 + 6), 3)


def test_volumes_that_show_nothing(tmp_path, weights, capsys):
    files = [volume(tmp_path / f"{name}.nii", np.arange(192, dtype=np.int16).reshape(8, 8, 3)) for name in "ab"]
    words = ("-o", tmp_path / "f.nii", "--weights", weights)
    assert run(*files, *words, "--range_a", 5000, 6000) == 0
    assert "a.nii: 100% of its values lie outside the range 5000 6000; they span 0..191" in capsys.readouterr().out
    assert run(*files, *words, "--range_a", 5000, 5010) == 1
    assert "a.nii: its values span 0..191, nowhere near the range 5000 5010" in capsys.readouterr().out
    volume(files[1], np.full((8, 8, 3), 7, np.int16))
    assert run(*files, *words) == 0
    assert "b.nii: has the value 7 everywhere" in capsys.readouterr().out


def test_real_volumes(data_root):
    assert read_volume(data_root / "raw/anatomical.nii").values.shape == (33, 41, 25)
    with pytest.raises(ImageError, match="holds 2 volumes"):
        read_volume(data_root / "raw/example4d.nii.gz")


def series(folder, numbers, **tags):
    for number in numbers:
        dicom(
            folder / f"{number}.dcm",
            np.full((4, 6), number, np.int16),
            SeriesInstanceUID="1.2",
            ImagePositionPatient=[-3, 4, 2.5 * number],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[2, 3],
            **tags,
        )
    return folder


def test_a_series_is_sorted_by_position(tmp_path):
    folder = series(tmp_path / "s", (11, 9, 10))
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")  # of a medium
    read = read_volume(folder)
    assert read.values.shape == (6, 4, 3) and read.values[0, 0].tolist() == [9, 10, 11]
    place = read.affine @ [1, 2, 1, 1]
    np.testing.assert_allclose(place[:3], [-(-3 + 3), -(4 + 2 * 2), 25.0])


def test_a_missing_slice_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"5.00 mm between 10.dcm and 12.dcm instead of 2.50: 1 slice seems to be"):
        read_volume(series(tmp_path / "s", (8, 9, 10, 12, 13)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty: holds no DICOM files"):
        read_volume(tmp_path / "empty")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"NumberOfFrames": 3, "Rows": 4, "pixels": np.zeros((12, 6), np.int16)}, "holds 3 frames"),
        ({"PixelSpacing": [2, 2]}, "its PixelSpacing is not that of 9.dcm"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.995, 0.0998]}, "its ImageOrientationPatient is not"),
        ({"kind": "MONOCHROME1"}, "its PhotometricInterpretation is not"),
        ({"pixels": np.zeros((4, 8), np.int16)}, "its slices have several sizes, 6x4, 8x4 pixels; keep those of one"),
    ],
)
def test_slices_that_do_not_fit(tmp_path, changes, words):
    folder = series(tmp_path / "s", (9, 10))
    common = {"SeriesInstanceUID": "1.2", "ImagePositionPatient": [-3, 4, 27.5], "PixelSpacing": [2, 3]}
    tags = {**common, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], **changes}
    dicom(folder / "11.dcm", tags.pop("pixels", np.zeros((4, 6), np.int16)), **tags)
    with pytest.raises(ImageError, match=words):
        read_volume(folder)


def test_a_series_of_screenshots_is_fused_as_images(tmp_path):
    place = {"ImagePositionPatient": [0, 0, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    dicom(tmp_path / "s/1.dcm", np.zeros((4, 6, 3), np.uint8), **place)
    with pytest.raises(
        ImageError, match=r"s: its slices are in colour, .*; fuse them as images: adasffuse fuse A B -o"
    ):
        read_volume(tmp_path / "s")


def test_a_damaged_last_slice_is_no_shorter_series(tmp_path):
    folder = series(tmp_path / "s", (8, 9, 10))
    (folder / "10.dcm").write_bytes((folder / "10.dcm").read_bytes()[:100])
    with pytest.raises(ImageError, match=r"10\.dcm: damaged"):
        read_volume(folder)


def test_two_slices_in_one_place(tmp_path):
    folder = series(tmp_path / "s", (9,))
    (folder / "again.dcm").write_bytes((folder / "9.dcm").read_bytes())
    with pytest.raises(ImageError, match=r"s: 9\.dcm and again\.dcm lie in one place, .*; keep one slice of each"):
        read_volume(folder)


def test_a_series_that_does_not_say_where_its_voxels_lie(tmp_path, weights, capsys):
    for name in "ab":
        for number in range(3):
            tags = {"SeriesInstanceUID": "1.2", "SliceLocation": number, "PixelSpacing": [1, 1]}
            dicom(tmp_path / name / f"{number}.dcm", texture(8, 8, number).astype(np.int16), **tags)
    assert run(tmp_path / "a", tmp_path / "b", "-o", tmp_path / "f.nii", "--weights", weights) == 0
    assert "does not say ImagePositionPatient, ImageOrientationPatient: where" in capsys.readouterr().out


def test_dicom_files_where_a_series_is_expected(tmp_path):
    folder = series(tmp_path / "study" / "ct", (9, 10))
    alone = read_volume(folder).values
    assert np.array_equal(read_volume(tmp_path / "study").values, alone)  # the only series below it
    series(tmp_path / "study" / "mr" / "1", (9, 10))
    with pytest.raises(ImageError, match=r"study: holds 2 folders of DICOM files, ct, mr/1; give one alone"):
        read_volume(tmp_path / "study")
    with pytest.raises(ImageError, match=r"9\.dcm: one DICOM file; give the folder of its series"):
        read_volume(folder / "9.dcm")


def document(path, kind="1.2.840.10008.5.1.4.1.1.481.3"):
    """A DICOM file without an image, of RT Structure Set Storage unless another kind is given."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, "1.2.3"
    data_set = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data_set.SOPClassUID, data_set.SOPInstanceUID, data_set.SeriesInstanceUID = kind, "1.2.3", "1.9"
    path.parent.mkdir(parents=True, exist_ok=True)
    data_set.save_as(path, enforce_file_format=True)
    return path


def test_contours_and_reports_beside_a_series_are_left_out(tmp_path):
    """As archives store them: among the slices, or in a folder of their own for each kind."""
    folder = series(tmp_path / "study" / "ct", (9, 10))
    alone = read_volume(folder)
    document(folder / "RS.dcm")
    document(tmp_path / "study" / "report" / "SR.dcm", "1.2.840.10008.5.1.4.1.1.88.33")
    read = read_volume(tmp_path / "study")
    np.testing.assert_array_equal(read.values, alone.values)
    assert [*alone.notices, "also holds DICOM files without images, RS.dcm; they are left out"] == [*read.notices]
    with pytest.raises(ImageError, match=r"report: holds no DICOM files with images"):
        read_volume(tmp_path / "study" / "report")
    document(folder / "11.dcm", pydicom.uid.CTImageStorage)  # a slice whose pixels are lost
    with pytest.raises(ImageError, match=r"11\.dcm: a DICOM file without an image"):
        read_volume(folder)


def test_contours_beside_slices_are_no_image_without_a_partner(tmp_path):
    for name in "ab":
        series(tmp_path / name, (9, 10))
    document(tmp_path / "a" / "RS.dcm")
    scenes, problems = find_scenes([tmp_path / "a", tmp_path / "b"])
    assert len(scenes) == 2 and all(problem.harmless for problem in problems)
    assert "RS.dcm is a DICOM file without an image, it is left out" in " ".join(one.reason for one in problems)


def test_a_dose_among_slices_is_told_as_another_series(tmp_path):
    folder = series(tmp_path / "s", (9, 10))
    tags = {"NumberOfFrames": 3, "Rows": 4, "SeriesInstanceUID": "1.3", "Modality": "RTDOSE"}
    dicom(folder / "dose.dcm", np.zeros((12, 6), np.int16), **tags)
    with pytest.raises(ImageError, match=r"s: holds 2 series: .*\(2, 10\.dcm \.\.\.\), RTDOSE .*\(1, dose\.dcm\)"):
        read_volume(folder)


def test_volumes_of_which_one_says_where_it_lies(tmp_path):
    """A NIfTI file without codes is taken for mirrored by convention: what fits by that may show the other side."""
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assumed = nibabel.Nifti1Image(values, None)
    centered = assumed.header.get_best_affine()
    placed = nibabel.Nifti1Image(values[::-1], np.diag([-1, 1, 1, 1]) @ centered)
    for name, image in (("ct", placed), ("mri", assumed)):
        nibabel.save(image, tmp_path / f"{name}.nii")
    paths, fuser = [tmp_path / "ct.nii", tmp_path / "mri.nii"], Fuser(Mean(), TASKS["mif"])
    match = r"is not known: .*mri\.nii does not say where its voxels lie, .*--resample ignore fuses equal voxels"
    for order in (paths, paths[::-1]):
        with pytest.raises(ImageError, match=match):
            plan_volumes(fuser, order, tmp_path / "f.nii")
    plan = plan_volumes(fuser, paths, tmp_path / "f.nii", WantedVolumes(resample="ignore"))
    np.testing.assert_array_equal(plan.volumes[0].values, values[::-1])


def test_truncated_pixels_are_no_matter_of_compression(tmp_path):
    path = dicom(tmp_path / "x.dcm", texture(8, 8, 1))
    data_set = pydicom.dcmread(path)
    data_set.PixelData = data_set.PixelData[:-10]
    data_set.save_as(path)
    with pytest.raises(ImageError, match=r"x\.dcm: its pixels cannot be decoded .*; export it again$"):
        read_image(path)


def test_padding_of_a_series_is_no_value(tmp_path):
    for number in range(2):
        values = np.full((4, 6), 100 + number, np.int16)
        values[0] = -2000
        place = {"SeriesInstanceUID": "1.2", "ImagePositionPatient": [0, 0, number], "PixelPaddingValue": -2000}
        dicom(tmp_path / f"{number}.dcm", values, ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **place)
    read = read_volume(tmp_path)
    assert np.isnan(read.values[:, 0]).all() and window_of(read, None)[:2] == (100, 101)
    for path in tmp_path.iterdir():  # as scanners write it
        data_set = pydicom.dcmread(path)
        data_set[0x0028, 0x0120] = pydicom.DataElement(0x00280120, "US", 65536 - 2000)
        data_set.save_as(path)
    np.testing.assert_array_equal(read_volume(tmp_path).values, read.values)


def test_a_tilted_series_keeps_its_shear(tmp_path):
    for number in range(3):
        place = {"SeriesInstanceUID": "1.2", "ImagePositionPatient": [0, 1.0 * number, 2.0 * number]}
        dicom(
            tmp_path / f"{number}.dcm", np.ones((4, 6), np.int16), ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **place
        )
    np.testing.assert_allclose(read_volume(tmp_path).affine[:3, 2], [0, -1, 2])


def changed(path, place, content):
    data = bytearray(path.read_bytes())
    data[place : place + len(content)] = content
    path.write_bytes(data)
    return path


def test_nifti_files_that_are_refused(tmp_path):
    values = np.random.default_rng(0).normal(size=(8, 8, 3)).astype(np.float32)
    packed = volume(tmp_path / "a.nii.gz", values)
    stored = bytearray(gzip.compress(gzip.decompress(packed.read_bytes()), 0))  # not packed: a voxel at a known place
    stored[-100] ^= 1
    packed.write_bytes(stored)
    with pytest.raises(ImageError, match=r"a\.nii\.gz: damaged .*CRC"):
        read_volume(packed)
    huge = struct.pack("<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1)
    with pytest.raises(ImageError, match=r"huge\.nii: .*more than the limit"):
        read_volume(changed(volume(tmp_path / "huge.nii", values), 40, huge))
    with pytest.raises(ImageError, match=r"kind\.nii: damaged or no NIfTI file"):
        read_volume(changed(volume(tmp_path / "kind.nii", values), 70, struct.pack("<h", 9999)))
    colors = np.zeros((4, 4, 2), [(channel, np.uint8) for channel in "RGB"])
    with pytest.raises(ImageError, match=r"rgb\.nii: holds colours \(RGB\), as results in false colours do; give the"):
        read_volume(volume(tmp_path / "rgb.nii", colors))
    nibabel.Spm2AnalyzeImage(values, np.eye(4)).to_filename(str(tmp_path / "ana.img"))
    for name in ("ana.img", "ana.hdr"):
        with pytest.raises(ImageError, match=rf"{name}: no NIfTI but of the format Spm2Analyze; convert it to .nii.gz"):
            describe(str(tmp_path / name))
    nibabel.Nifti1Pair(values, np.eye(4)).to_filename(str(tmp_path / "two.img"))
    assert describe(str(tmp_path / "two.hdr"))["voxels"] == [8, 8, 3]
    with pytest.raises(ImageError, match=r"c\.nii: holds complex64 values"):
        read_volume(volume(tmp_path / "c.nii", values.astype(np.complex64)))


def test_a_volume_whose_axes_run_otherwise_is_turned():
    """The same voxels in the same places, stored from the other end, or along exchanged axes."""
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    affine = np.array([[-2, 0, 0, 5], [0, 2, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1.0]])
    one = Volume(values, affine)
    reversed_x = Volume(values[::-1], affine @ [[-1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    exchanged = Volume(values.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]])
    for other in (reversed_x, exchanged):
        with pytest.raises(ImageError):
            check_same_grid("ab", [one, other])
        turned = turned_like(other, one)
        check_same_grid("ab", [one, turned])
        assert np.array_equal(turned.values, values)
    assert turned_like(one, one) is one
    lost = Volume(values, np.full((4, 4), np.nan))
    assert turned_like(lost, one) is lost and turned_like(one, lost) is one


def test_a_series_without_suffixes_is_no_folder_of_images(tmp_path, capsys):
    for name in ("ct", "mri"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "I0001").write_bytes(b"\0" * 128 + b"DICM")
    assert run(tmp_path / "ct", tmp_path / "mri", "-o", tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert "do not end in .dcm" in err and "adasffuse fuse A B -o NAME.nii.gz" in err


def test_an_affine_that_is_no_number():
    one = Volume(np.zeros((2, 2, 2), np.float32), np.eye(4))
    with pytest.raises(ImageError, match="mm apart"):
        check_same_grid(("a.nii", "b.nii"), (one, Volume(one.values, np.eye(4) * np.nan)))


def test_extract_overwrites_no_result_of_its_own(tmp_path, capsys):
    jpeg(tmp_path / "a.jpg"), jpeg(tmp_path / "a.jpeg")
    assert extract.run([str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    assert "would be written to the same files" in capsys.readouterr().err


# ---- raw files of cameras


def test_raw_files(tmp_path, monkeypatch):
    path = Path(tmp_path / "x.nef")
    path.write_bytes(b"II*\0 no raw file")
    if extras.is_installed("rawpy"):
        with pytest.raises(ImageError, match=r"x\.nef: no raw file that LibRaw reads"):
            read_image(path)
    without(monkeypatch, "rawpy")
    with pytest.raises(ImageError, match=re.escape(install_command("raw"))):
        read_image(path)


@pytest.mark.parametrize("bright", [16384, 50000, 62000])  # from 0.75 on LibRaw would take it for white
def test_raw_files_keep_their_exposure(tmp_path, bright):
    pytest.importorskip("rawpy")
    mosaic = np.full((64, 64), 8192, np.uint16)
    mosaic[:, 32:] = bright
    tags = [  # DNG: version, colour matrix, neutral, mosaic RGGB, black and white levels
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "made here", True),
        (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50714, "H", 1, 0, True),
        (50717, "H", 1, 65535, True),
    ]
    tifffile.imwrite(tmp_path / "x.dng", mosaic, photometric=32803, extratags=tags, metadata=None)
    image = read_image(tmp_path / "x.dng")
    assert image.depth == "16"
    green = image.pixels if image.pixels.ndim == 2 else image.pixels[..., 1]
    for columns, stored in ((slice(4, 28), 8192), (slice(36, 60), bright)):
        light = stored / 65535
        assert green[8:56, columns].mean() == pytest.approx(1.055 * light ** (1 / 2.4) - 0.055, abs=2e-3)
