"""What results carry over from their sources beside pixels."""

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from tiny import texture, write_weights

from adasffuse.cli import fuse
from adasffuse.images.metadata import read_metadata, srgb_profile
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
    exif.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.ISOSpeedRatings: 200, 0xA002: 64})
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
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    assert inner[ExifTags.Base.ISOSpeedRatings] == 200 and 0xA002 not in inner
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
