"""Orthophotos: their place on the map, which TIFF results keep, and where they hold no data."""

import numpy as np
import pytest
import tifffile
from skimage import data as photographs
from tiny import network, texture, write_weights

from adasffuse.cli import align, fuse
from adasffuse.images.image import ImageError
from adasffuse.images.plane import check_same_places, matrix_between
from adasffuse.images.read import read_image
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.stack import StackOptions, fuse_stack
from adasffuse.tasks import KINDS, TASKS

SIZE = (48, 64)


def on_map(east=500000.0, north=5500000.0, pixel=0.5, code=32632, raster_type=1):
    """Tags of GeoTIFF as GDAL writes them: `east` and `north` of the corner, or with `raster_type` 2 of the middle."""
    keys = (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, raster_type, 1026, 34737, 6, 0, 3072, 0, 1, code)
    return [
        (33550, "d", 3, (pixel, pixel, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, east, north, 0.0), True),
        (34735, "H", len(keys), keys, True),
        (34737, "s", 0, b"Gau\xdf |", True),  # Latin-1, as Windows programs write it; the key counts six bytes
    ]


def write(path, pixels, tags=(), **options):
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, pixels, extratags=list(tags), metadata=None, **options)
    return path


def thermal(path, size=SIZE, **place):
    return write(path, texture(*size, 5), on_map(**place))


def orthophoto(path, size=SIZE, **place):
    """RGBA, its first 16 columns transparent."""
    alpha = np.full(size, 255, np.uint8)
    alpha[:, :16] = 0
    pixels = np.dstack([*(texture(*size, seed) for seed in (1, 2, 3)), alpha])
    return write(path, pixels, on_map(**place), photometric="rgb", extrasamples=["unassalpha"])


@pytest.fixture
def run(tmp_path):
    weights = str(write_weights(tmp_path / "w.safetensors", "ivf"))
    return lambda *arguments: fuse.run([*map(str, arguments), "--task", "ivf", "--weights", weights])


def test_results_keep_the_place_and_say_where_there_is_no_data(run, tmp_path, capsys):
    a = write(tmp_path / "ir.tif", np.where(np.arange(64) < 16, 0, texture(*SIZE, 5)).astype(np.uint8), on_map())
    b = orthophoto(tmp_path / "rgb.tif")
    for name, keep, told in (("f.tif", "gps", False), ("g.tif", "exif", False), ("f.png", "gps", True)):
        assert run(a, b, "-o", tmp_path / name, "--keep_metadata", keep) == 0
        assert ("name the result NAME.tif" in capsys.readouterr().out) == told
    tags = tifffile.TiffFile(tmp_path / "f.tif").pages.first.tags
    assert all(tags[tag[0]].value == tag[3] for tag in on_map()[:3])
    assert b"Gau\xdf |\0" in (tmp_path / "f.tif").read_bytes()
    assert np.array_equal(tifffile.imread(tmp_path / "f.tif")[..., 3] == 0, np.broadcast_to(np.arange(64) < 16, SIZE))
    assert tifffile.imread(tmp_path / "g.tif").shape == (*SIZE, 3)
    assert 33550 not in tifffile.TiffFile(tmp_path / "g.tif").pages.first.tags
    assert run(a, b, "-o", tmp_path / "h.tif", "--keep_metadata", "gps", "--depth", "float") == 0
    assert np.array_equal(np.isnan(tifffile.imread(tmp_path / "h.tif"))[0, :, 0], np.arange(64) < 16)
    assert np.array_equal(read_image(tmp_path / "h.tif").valid, read_image(tmp_path / "f.tif").valid)


def test_pixels_of_other_places_are_refused_or_resampled(run, tmp_path, capsys):
    b = orthophoto(tmp_path / "rgb.tif")
    cases = (
        ({"east": 500003.0}, "lie up to 3 units of the map apart"),
        ({"pixel": 0.6}, "has pixels of 0.6 x 0.6 on the map"),
        ({"code": 4326}, "lies on the map in EPSG:4326, {} in EPSG:32632: bring both to one coordinate system"),
    )
    for place, said in cases:
        a = thermal(tmp_path / "ir.tif", **place)
        assert run(a, b, "-o", tmp_path / "f.tif") == 1
        assert said.format(b) in capsys.readouterr().out
    a = thermal(tmp_path / "ir.tif", (24, 32), pixel=1.0)
    assert run(a, b, "-o", tmp_path / "f.tif", "--resample", "b", "--keep_metadata", "gps") == 0
    assert tifffile.TiffFile(tmp_path / "f.tif").pages.first.tags[33550].value == (0.5, 0.5, 0)
    a = thermal(tmp_path / "ir.tif", east=500003.0)
    assert run(a, b, "-o", tmp_path / "f.tif", "--resample", "ignore", "--keep_metadata", "gps") == 0
    assert (
        "its place on the map (GeoTIFF) is not kept: only pairs keep it, on their own pixels" in capsys.readouterr().out
    )
    assert 33550 not in tifffile.TiffFile(tmp_path / "f.tif").pages.first.tags


def test_maps_that_do_not_meet_have_no_common_pixels(run, tmp_path, capsys):
    b = orthophoto(tmp_path / "rgb.tif")
    cases = (
        ({"east": 510000.0}, "no place in common, as their files say; give files of one place"),
        ({"code": 4326}, "source A lies on the map in EPSG:4326, source B in EPSG:32632: bring both"),
    )
    for place, said in cases:
        a = thermal(tmp_path / "ir.tif", **place)
        assert run(a, b, "-o", tmp_path / "f.tif", "--resample", "b") == 1
        assert said in capsys.readouterr().out
    assert run(thermal(tmp_path / "ir.tif", east=510000.0), b, "-o", tmp_path / "f.tif") == 1
    assert "lie up to 10000 units of the map apart" in capsys.readouterr().out


def test_aligned_sources_keep_the_place_of_the_pixels_that_they_have(tmp_path, capsys):
    pixels = (photographs.coffee()[::3, ::3].mean(axis=2)).astype(np.uint8)
    a = write(tmp_path / "ir.tif", np.roll(pixels, 4, axis=1), on_map(east=600000.0))
    b = write(tmp_path / "rgb.tif", pixels, on_map())
    out = tmp_path / "out"
    files = [out / name / "rgb.tif" for name in ("infrared", "visible")]
    said = [str(a), str(b), "--task", "ivf", "--method", "translation", "-o", str(out)]
    assert align.run([*said, "--keep_metadata", "gps"]) == 0
    assert "exact 0" not in capsys.readouterr().out  # alpha says where there is no data
    images = [read_image(file) for file in files]
    check_same_places("ab", [read_image(b), *images])
    assert not images[0].valid[:, -3:].any() and images[1].valid is None
    assert align.run([*said, "--grid", "a", "--keep_metadata", "gps"]) == 0
    check_same_places("ab", [read_image(a), *map(read_image, files)])
    assert align.run(said) == 0
    assert "exact 0" in capsys.readouterr().out and read_image(out / "visible" / "rgb.png").plane is None
    assert align.run([*said[:-2], "--keep_metadata", "gps"]) == 2
    assert "--keep_metadata is for the aligned sources that -o writes" in capsys.readouterr().err


def test_images_of_a_stack_that_lie_elsewhere_are_refused(tmp_path):
    fuser = Fuser(network(patch=4, exposure=True, contrast=True, kinds=KINDS), TASKS["mef"], precision="float32")
    image = photographs.coffee()[::4, ::4]
    paths = [
        write(tmp_path / f"{k}.tif", (image * share).astype(np.uint8), on_map(east=500000.0 + east))
        for k, (share, east) in enumerate(((0.4, 0), (0.7, 0), (1.0, 3)))
    ]
    said = "0.tif and .*2.tif lie up to 3 units of the map apart.*register them by --align of adasffuse stack"
    with pytest.raises(ImageError, match=said):
        fuse_stack(fuser, paths)
    with pytest.raises(ImageError, match=said):
        fuser(paths)
    assert fuse_stack(fuser, paths, StackOptions(align="translation")).used == 3
    assert fuse_stack(fuser, paths[:2]).used == 2


def test_the_way_from_one_map_to_another(tmp_path):
    """Pixel x of 0.5 m has its middle at (x + 0.5) / 2 m; pixel u of 1 m, 3 m further east, at u + 3.5 m."""
    fine = read_image(orthophoto(tmp_path / "b.tif"))
    coarse = read_image(thermal(tmp_path / "a.tif", (24, 32), east=500003.0, pixel=1.0))
    found = matrix_between(fine, coarse, ("b", "a"))
    np.testing.assert_allclose(found, [[0.5, 0, -3.25], [0, 0.5, -0.25], [0, 0, 1]], atol=1e-6)
    middle = read_image(thermal(tmp_path / "m.tif", east=500000.25, north=5499999.75, raster_type=2))
    np.testing.assert_allclose(matrix_between(fine, middle, ("b", "m")), np.eye(3), atol=1e-6)
    matrix = (0.5, 0, 0, 500000.0, 0, -0.5, 0, 5500000.0, 0, 0, 0, 0, 0, 0, 0, 1)
    turned = read_image(write(tmp_path / "t.tif", texture(*SIZE, 5), [(34264, "d", 16, matrix, True)]))
    check_same_places("bt", [fine, turned])
    unplaced = read_image(write(tmp_path / "u.tif", texture(*SIZE, 5)))
    with pytest.raises(ImageError, match="u does not say where its pixels lie"):
        matrix_between(fine, unplaced, ("b", "u"))


def test_the_mask_that_gdal_writes_behind_the_image(tmp_path):
    mask = np.arange(64) * np.ones((48, 1)) >= 16
    with tifffile.TiffWriter(tmp_path / "m.tif") as file:
        file.write(texture(*SIZE, 5), metadata=None)
        file.write(texture(24, 32, 5), subfiletype=1, metadata=None)
        file.write(mask[::2, ::2], photometric="minisblack", subfiletype=5, metadata=None)
        file.write(mask, photometric="minisblack", subfiletype=4, metadata=None)
    image = read_image(tmp_path / "m.tif")
    assert np.array_equal(image.valid, mask) and image.notices == ()
