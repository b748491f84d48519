"""What results carry over from their sources beside pixels."""

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from tiny import texture, write_weights

from adasffuse.cli import fuse
from adasffuse.images.metadata import lost_place, read_metadata, srgb_profile
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image


def colours(height=8, width=8):
    return np.dstack([texture(height, width, seed) for seed in (1, 2, 3)])


@pytest.fixture
def source(tmp_path):
    """A colour JPEG that lies on its side, with camera and place."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Maker", "Model 1"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.ISOSpeedRatings: 200, ExifTags.Base.ExifImageWidth: 64, ExifTags.Base.ColorSpace: 0xFFFF}
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    path = tmp_path / "visible" / "1.jpg"
    path.parent.mkdir()
    Image.fromarray(colours(48, 64)).save(path, exif=exif, quality=95)
    return path


def exif_of(path):
    with Image.open(path) as image:
        return image.getexif(), image.info.get("icc_profile")


@pytest.mark.parametrize("keep", ["exif", "gps"])
def test_exif_in_png(source, tmp_path, keep):
    write_image(tmp_path / "f.png", colours(), metadata=read_metadata(source, keep))
    exif, profile = exif_of(tmp_path / "f.png")
    assert exif[ExifTags.Base.Model] == "Model 1" and ExifTags.Base.Orientation not in exif
    assert (ExifTags.IFD.GPSInfo in exif) == (keep == "gps")  # not even an empty part
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    assert set(inner) == {ExifTags.Base.ISOSpeedRatings} and inner[ExifTags.Base.ISOSpeedRatings] == 200
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert place.get(ExifTags.GPS.GPSLatitudeRef) == ("N" if keep == "gps" else None)
    assert profile == srgb_profile()
    assert np.array_equal(np.rint(read_image(tmp_path / "f.png").pixels * 255), colours())


def test_gray_images_have_no_profile_of_colours(source, tmp_path):
    write_image(tmp_path / "f.png", texture(8, 8, 1), metadata=read_metadata(source, "exif"))
    exif, profile = exif_of(tmp_path / "f.png")
    assert exif[ExifTags.Base.Make] == "Maker" and profile is None


def test_tags_of_tiff(source, tmp_path):
    pixels = colours().astype(np.float32) / 255
    write_image(tmp_path / "f.tif", pixels, "float", read_metadata(source, "exif"))
    with tifffile.TiffFile(tmp_path / "f.tif") as file:
        tags = file.pages.first.tags
        assert tags[271].value == "Maker" and tags[34675].value == srgb_profile()
    np.testing.assert_allclose(read_image(tmp_path / "f.tif").pixels, pixels, atol=1e-6)


def test_no_place_by_another_door(tmp_path):
    """XMP, GeoTIFF tags and maker notes may hold the place; strip offsets would describe another file."""
    xmp = b'<x:xmpmeta exif:GPSLatitude="52,31.2N"/>'
    tags = [(700, "B", len(xmp), xmp, True), (33922, "d", 6, (0, 0, 0, 13.4, 52.5, 0), True)]
    tifffile.imwrite(tmp_path / "geo.tif", colours(), extratags=[*tags, (271, "s", 0, "Maker", True)], metadata=None)
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[0x927C] = b"52.52N 13.4E"
    Image.fromarray(colours()).save(tmp_path / "note.jpg", exif=exif)
    write_image(tmp_path / "f.png", colours(), metadata=read_metadata(tmp_path / "geo.tif", "exif"))
    kept = exif_of(tmp_path / "f.png")[0]
    assert kept[271] == "Maker" and not {273, 279, 700, 33922} & set(kept)
    for keep, told in (("gps", True), ("exif", False), ("none", False)):  # who asks for the place is told
        said = lost_place(tmp_path / "f.png", read_metadata(tmp_path / "geo.tif", keep))
        assert ("GeoTIFF" in said) == told
    for name in ("geo.tif", "note.jpg"):
        data = read_metadata(tmp_path / name, "exif").exif or b""
        assert b"GPSLatitude" not in data and b"52.52N" not in data


def test_names_beyond_ascii(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Jürgen".encode()
    Image.fromarray(colours()).save(tmp_path / "a.jpg", exif=exif)
    metadata = read_metadata(tmp_path / "a.jpg", "exif")
    for name in ("f.png", "f.tif"):
        write_image(tmp_path / name, colours(), metadata=metadata)
        assert "Jürgen".encode() in (tmp_path / name).read_bytes()


def test_a_source_without_exif(tmp_path):
    write_image(tmp_path / "a.png", texture(8, 8, 1))
    assert read_metadata(tmp_path / "a.png", "exif").exif is None
    assert read_metadata(tmp_path / "a.png", "none") is None
    with pytest.raises(ValueError, match="none, exif, gps"):
        read_metadata(tmp_path / "a.png", "all")


def test_the_command_keeps_nothing_unless_asked(source, tmp_path):
    write_image(tmp_path / "infrared" / "1.png", texture(64, 48, 5))  # upright, as the turned photograph is
    weights = write_weights(tmp_path / "w.safetensors", "ivf")
    arguments = [str(tmp_path / "infrared"), str(source.parent), "--weights", str(weights)]
    assert fuse.run([*arguments, "-o", str(tmp_path / "plain")]) == 0
    assert dict(exif_of(tmp_path / "plain/1.png")[0]) == {}
    assert fuse.run([*arguments, "-o", str(tmp_path / "kept"), "--keep_metadata", "exif"]) == 0
    exif, profile = exif_of(tmp_path / "kept/1.png")
    assert exif[ExifTags.Base.Make] == "Maker" and profile == srgb_profile()


def test_a_place_that_the_result_cannot_hold_is_told(source, tmp_path, capsys):
    write_image(tmp_path / "infrared" / "1.png", texture(64, 48, 5))
    weights = write_weights(tmp_path / "w.safetensors", "ivf")
    arguments = [str(tmp_path / "infrared"), str(source.parent), "--weights", str(weights), "-o", str(tmp_path / "out")]
    for keep, depth, told in (("gps", "float", True), ("gps", "16", False), ("exif", "float", False)):
        assert fuse.run([*arguments, "--keep_metadata", keep, "--depth", depth]) == 0
        assert (f"{source}: its place is not kept" in capsys.readouterr().out) == told


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exposure_and_place_are_kept_from_files_of_every_kind(tmp_path, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 200
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    inner = {"tiffinfo": {ifd: exif.get_ifd(ifd) for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)}}
    Image.fromarray(colours()).save(tmp_path / f"s{suffix}", exif=exif, **(inner if suffix == ".tif" else {}))
    write_image(tmp_path / "f.png", colours(), metadata=read_metadata(tmp_path / f"s{suffix}", "gps"))
    kept, _ = exif_of(tmp_path / "f.png")
    assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 200
    assert kept.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"


def test_of_broken_exif_data_the_rest_is_kept(source, tmp_path):
    data, entry = source.read_bytes(), b"\0\2\0\0\0\2N\0"  # a text of two bytes, big-endian
    assert data.count(b"\0\1" + entry) == 1
    (tmp_path / "broken.jpg").write_bytes(data.replace(b"\0\1" + entry, b"\0\4" + entry))  # the longitude: numbers
    write_image(tmp_path / "f.png", colours(), metadata=read_metadata(tmp_path / "broken.jpg", "gps"))
    kept, _ = exif_of(tmp_path / "f.png")
    assert kept[ExifTags.Base.Make] == "Maker" and not kept.get_ifd(ExifTags.IFD.GPSInfo)
    assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 200


def test_a_large_image_keeps_its_metadata_too(source, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert b"Model 1" in read_metadata(source, "exif").exif
