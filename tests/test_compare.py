"""`adasffuse compare`: figures and pictures of the inside of a network."""

import json

import cv2
import numpy as np
import pytest
import torch
from tiny import network, texture, write_weights

from adasffuse.cli import compare
from adasffuse.images.comparison import FULL, Crop, comparison_figure, difference_map, telling_crop
from adasffuse.images.panel import contact_sheet
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference.features import drawn, feature_maps, responses
from adasffuse.inference.fuser import Fuser
from adasffuse.tasks import TASKS


def test_the_box_is_where_the_methods_differ():
    one = texture(80, 120, 1)
    other = one.copy()
    other[50:60, 70:90] ^= 128
    crop = telling_crop([one, one], [one, other])
    assert (crop.width, crop.height) == (30, 20)
    assert crop.left <= 70 and crop.left + 30 >= 90 and crop.top <= 50 and crop.top + 20 >= 60


def test_differences_are_black_where_there_are_none():
    image = np.full((8, 8), 100, np.uint8)
    brighter = image + np.uint8(FULL)
    assert difference_map(image, image).max() <= 4  # inferno's first colour is nearly black
    assert difference_map(brighter, image).min(axis=(0, 1)).sum() > 600  # and its last one pale yellow


def test_figure_has_a_column_for_each_image():
    a, b, f = (texture(40, 60, seed) for seed in (1, 2, 3))
    figure = comparison_figure({"A": a, "B": b}, {"F": f}, Crop(0, 0, 30, 20), height=40)
    assert figure.shape[1] == 3 * (60 + 6)
    plain = comparison_figure({"A": a, "B": b}, {"F": f}, Crop(0, 0, 30, 20), differences=False, height=40)
    assert figure.shape[0] == 2 * plain.shape[0]


def test_an_image_of_a_few_rows_does_not_fill_the_memory():
    rows = np.zeros((1, 9000), np.uint8)
    figure = comparison_figure({"A": rows, "B": rows}, {"mine": rows})  # 2,160,000 pixels wide at 240 rows
    assert figure.shape[1] < 3 * 9000 + 50
    assert comparison_figure({"A": rows.T}, {"mine": rows.T}).shape[1] < 50


def test_no_cell_of_a_figure_is_empty():
    a, b, f = (texture(40, 60, seed) for seed in (1, 2, 3))
    figure = comparison_figure({"A": a, "B": b}, {"F": f}, height=40)
    cells = figure.reshape(4, 26 + 40 + 6, 3, 60 + 6, 3)[:, 26:66, :, :60]  # without captions and gaps
    assert (cells.mean(axis=(1, 3, 4)) < 200).all()
    np.testing.assert_array_equal(cells[2, :, 1], difference_map(b, a))


@pytest.mark.parametrize("caption", ["night street, A", "IVF: Night street, simulated infrared, rendered scene, A"])
def test_a_long_caption_is_not_cut(caption):
    for width in range(100, 400, 7):
        sheet = contact_sheet([[(caption, np.full((60, width), 255, np.uint8))]], height=60)
        assert sheet.min() < 200 and (sheet[:, width - 1] == 255).all()


@pytest.mark.parametrize("crop", [Crop(-1, 0, 5, 5), Crop(58, 0, 5, 5), Crop(0, 0, 0, 5)])
def test_a_box_outside_is_refused(crop):
    a = texture(40, 60, 1)
    with pytest.raises(ValueError, match="60x40"):
        comparison_figure({"A": a}, {"F": a}, crop)


@pytest.fixture
def folders(tmp_path):
    for k, name in enumerate(("a", "b", "one", "other")):
        for stem in ("x", "y"):
            write_image(tmp_path / name / f"{stem}.png", texture(48, 64, 10 * k + len(stem) + ord(stem)))
    return tmp_path


def test_a_figure_for_each_scene(folders, capsys):
    arguments = [str(folders / "a"), str(folders / "b"), f"one={folders / 'one'}", str(folders / "other")]
    assert compare.run([*arguments, "-o", str(folders / "figures"), "--height", "48"]) == 0
    figure = read_image(folders / "figures" / "y.png").pixels
    assert figure.shape[1] == 4 * (64 + 6)
    assert str(folders / "figures" / "x.png") in capsys.readouterr().out


def test_scenes_that_are_left_out_are_told(folders, capsys):
    arguments = [str(folders / name) for name in ("a", "b", "one")]
    assert compare.run([*arguments, "-o", str(folders / "figures"), "--count", "1", "--height", "48"]) == 0
    said = capsys.readouterr()
    assert "1 of 2 scenes are shown, evenly spread; --count 2 shows all" in said.out + said.err


def test_files_and_one_figure(folders):
    files = [str(folders / name / "x.png") for name in ("a", "b", "one")]
    out = folders / "x_figure.png"
    assert compare.run([*files[:2], f"mine={files[2]}", "-o", str(out), "--crop", "1", "2", "20", "10"]) == 0
    assert out.is_file()


def test_a_box_of_another_shape_than_the_images_is_said(folders, capsys):
    """Enlarged, it leaves white cells; one of about their proportions does not."""
    files = [str(folders / name / "x.png") for name in ("a", "b", "one")]
    arguments = [*files, "-o", str(folders / "f.png"), "--crop", "1", "2"]
    height, width = read_image(files[0]).pixels.shape[:2]
    assert compare.run([*arguments, "4", "20"]) == 0
    said = (
        f"x.png: the box of 4x20 pixels at column 1, row 2 has another shape than the image of {width}x{height}: white"
    )
    assert said in capsys.readouterr().err
    assert compare.run([*arguments, str(width // 2), str(height // 2)]) == 0
    assert "white" not in capsys.readouterr().err


def test_what_is_to_know_of_a_source_is_said_once(folders, capsys):
    """One line for all files of a kind, with their number."""
    for stem in ("x", "y"):
        write_image(folders / "a" / f"{stem}.png", texture(48, 64, 3).astype(np.uint16) + 7200)
    arguments = [*(str(folders / name) for name in ("a", "b", "one")), "-o", str(folders / "figures")]
    assert compare.run(arguments) == 0
    said = capsys.readouterr().err
    assert said.count("uses only") == 1 and "a/x.png: uses only" in said and "(and 1 more file)" in said
    assert compare.run([*arguments, "--range_a", "7200", "7455"]) == 0
    assert "uses only" not in capsys.readouterr().err


def test_a_result_of_floating_point_is_shown_as_the_same_in_8_bits(folders, capsys):
    cv2.imwrite(str(folders / "x.tif"), read_image(folders / "one" / "x.png").pixels)
    files = [str(folders / name / "x.png") for name in ("a", "b")]
    assert compare.run([*files, f"m={folders / 'x.tif'}", "-o", str(folders / "f.png")]) == 1
    assert "x.tif: float32 values have no fixed black and white; give --range_fused" in capsys.readouterr().err
    assert compare.run([*files, f"m={folders / 'x.tif'}", "-o", str(folders / "f.png"), "--range_fused", "0", "1"]) == 0
    assert compare.run([*files, f"m={folders / 'one' / 'x.png'}", "-o", str(folders / "g.png")]) == 0
    assert (folders / "f.png").read_bytes() == (folders / "g.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "b", "one", "-o", "f.png"], "one file, but there are 2 scenes"),
        (["a", "b", "one", "-o", "f", "--names", "z"], "--names z: no such scene"),
        (["a", "b", "nowhere", "-o", "f"], "nowhere: no such file or folder"),
        (["a/x.png", "b/x.png", "m=nowhere.png", "-o", "f.png"], "error: nowhere.png: no such file or folder"),
        (
            ["a/x.png", "b", "one", "-o", "f"],
            "x.png: is no folder, as others here are; give files only, or folders only",
        ),
        (["a/x.png", "a/../a/x.png", "one/x.png", "-o", "f.png"], "one and the same file, a/x.png"),
        (["a/x.png", "b/x.png", "mine=one/x.png", "yours=one/x.png", "-o", "f.png"], "the same file, one/x.png"),
    ],
)
def test_impossible_requests(folders, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(folders)
    assert compare.run(arguments) == (2 if "2 scenes" in said else 1)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "b", "one", "-o", "b"], "-o b: holds inputs"),
        (["a", "b", "one", "-o", "one"], "-o one: holds inputs"),
        (["a/x.png", "b/x.png", "one/x.png", "-o", "a/x.png"], "-o a/x.png: would overwrite an input"),
        (["a/x.png", "b/x.png", "--save_features", "a"], "--save_features a: holds inputs"),
        (["a", "b", "one", "-o", "a/f.png", "--names", "x"], "-o a/f.png: would lie among the inputs in a"),
        (["a", "b", "one", "-o", "figures.jpg"], "-o figures.jpg: the figure of one scene is a file"),
    ],
)
def test_no_figure_takes_the_place_of_an_image(folders, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(folders)
    before = {path: path.read_bytes() for path in folders.rglob("*.png")}
    assert compare.run(arguments) == (2 if "figures.jpg" in said else 1)
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folders.rglob("*.png")} == before


def test_results_of_other_names_are_found_by_a_pattern(folders, capsys):
    for path in sorted((folders / "one").iterdir()):
        path.rename(folders / "one" / f"{path.stem}_fused.png")
    arguments = [*(str(folders / name) for name in ("a", "b", "one")), "-o", str(folders / "out")]
    assert compare.run(arguments) == 1
    assert f"give {folders / 'one' / '*_fused'} for files that are called like x_fused" in capsys.readouterr().err
    arguments = [str(folders / "a"), str(folders / "b"), str(folders / "one/*_fused.png"), "-o", str(folders / "out")]
    assert compare.run([*arguments, "--height", "48"]) == 0
    assert sorted(path.name for path in (folders / "out").iterdir()) == ["x.png", "y.png"]


def test_a_height_beyond_all_screens(folders, capsys):
    with pytest.raises(SystemExit):
        compare.run([*(str(folders / name) for name in ("a", "b", "one")), "-o", "f", "--height", "100000000"])
    assert "--height lies in 16..4320" in capsys.readouterr().err


def test_a_network_that_nothing_would_look_into_is_refused(folders, capsys):
    for words in (["--weights", "general_base"], ["--size", "base"]):
        with pytest.raises(SystemExit):
            compare.run([*(str(folders / name) for name in ("a", "b", "one")), "-o", str(folders / "f"), *words])
        assert " is of the network that --save_features looks into" in capsys.readouterr().err


def test_a_scene_that_a_method_lacks_is_named(folders, capsys):
    (folders / "one" / "x.png").unlink()
    assert compare.run([*(str(folders / name) for name in ("a", "b", "one")), "-o", str(folders / "f")]) == 0
    assert "x: " in capsys.readouterr().err
    assert [path.name for path in (folders / "f").iterdir()] == ["y.png"]


def test_results_of_another_size_are_refused(folders, capsys):
    write_image(folders / "other" / "x.png", texture(20, 20, 5))
    arguments = [str(folders / name / "x.png") for name in ("a", "b", "other")]
    assert compare.run([*arguments, "-o", str(folders / "f.png")]) == 1
    assert "x.png is 20x20, the sources are" in (said := capsys.readouterr().err)
    assert "fuse and save at their size" in said and "align" not in said


def test_a_fault_of_a_later_scene_leaves_no_figure(folders, capsys):
    """Scene x would do, y is smaller than the box; nor does a folder stay that held nothing else."""
    for name in ("a", "b", "one", "other"):
        write_image(folders / name / "y.png", texture(20, 30, 5))
        write_image(folders / name / "z.png", texture(10, 30, 5))
    before = sorted(folders.rglob("*"))
    arguments = [*(str(folders / name) for name in ("a", "b", "one")), "-o", str(folders / "new/f")]
    assert compare.run([*arguments, "--crop", "40", "2", "20", "10"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith(
        "error: y: the box of 20x10 pixels at column 40, row 2 reaches beyond"
    )
    assert "(2 of 3 scenes have such faults); no figure is written" in err
    assert sorted(folders.rglob("*")) == before


def test_figures_and_features_are_there_together_or_not_at_all(folders, capsys):
    """The figure of a scene can be made, the network's features cannot: its weights are for another task."""
    weights = write_weights(folders / "w.safetensors", "mef")
    before = sorted(folders.rglob("*"))
    arguments = [*(str(folders / name) for name in ("a", "b", "one")), "-o", str(folders / "f")]
    assert compare.run([*arguments, "--save_features", str(folders / "g"), "--weights", str(weights)]) == 1
    assert capsys.readouterr().err.startswith("error: ") and sorted(folders.rglob("*")) == before


def test_maps_are_what_the_modules_compute():
    fuser = Fuser(network(), TASKS["ivf"], precision="float32")
    a, b = (texture(64, 96, seed).astype(np.float32) / 255 for seed in (1, 2))
    maps = feature_maps(fuser, a, b)
    assert list(maps)[:4] == ["low of source A", "high of source A", "low of source B", "high of source B"]
    swapped = feature_maps(fuser, b, a)
    np.testing.assert_allclose(maps["low of source A"], swapped["low of source B"], rtol=1e-4, atol=1e-6)
    assert maps["merged"].shape == (64, 96) and maps["low blocks"].shape == (32, 48)
    assert all(values.min() >= 0 for values in maps.values())


def test_maps_of_a_stack_have_the_names_of_the_images_that_are_fused():
    """A flat image of more than two is left out of the fusion."""
    fuser = Fuser(network(), TASKS["mef"], precision="float32")
    a, c = (texture(64, 96, seed).astype(np.float32) / 255 for seed in (1, 2))
    maps = feature_maps(fuser, a, np.ones_like(a), c)
    assert list(maps)[:5] == [
        "low of source A",
        "high of source A",
        "low of source C",
        "high of source C",
        "low blocks",
    ]
    np.testing.assert_array_equal(maps["low of source C"], feature_maps(fuser, a, c)["low of source B"])


def test_maps_of_images_in_tiles_are_refused():
    """They would be those of the last tile."""
    fuser = Fuser(network(), TASKS["ivf"], tile=32, tile_overlap=16)
    with pytest.raises(ValueError, match=r"96x64 pixels are fused in tiles; cut or reduce"):
        feature_maps(fuser, *np.zeros((2, 64, 96), np.float32))


def test_responses_are_symmetric_spectra():
    found = responses(Fuser(network(), TASKS["ivf"], precision="float32"))
    assert len(found) == 3  # low, high and full blocks of the tiny network
    for values in found.values():
        inner = values[1:, 1:]  # zero frequency in its middle
        np.testing.assert_allclose(inner, inner[::-1, ::-1], rtol=1e-4)
    model = network()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "frequency" in name:
                parameter.zero_()
    assert not any(values.any() for values in responses(Fuser(model, TASKS["ivf"], precision="float32")).values())


def test_features_are_written(folders):
    weights = write_weights(folders / "w.safetensors", "ivf")
    arguments = [str(folders / "a"), str(folders / "b"), "--save_features", str(folders / "inside"), "--count", "1"]
    assert compare.run([*arguments, "--weights", str(weights)]) == 0
    assert (folders / "inside" / "x" / "low_of_source_A.png").is_file()
    filters = json.loads((folders / "inside" / "wavelet_filters.json").read_text())
    assert filters["analysis low"] == pytest.approx([0.5**0.5] * 2)
    assert drawn(np.array([[0.0, 1.0], [1.0, 1.0]])).tolist() == [[0, 255], [255, 255]]
