"""Leaving a camera out: nothing of it is trained on, shares stay, and the table ranks all recipes."""

import json
import shutil

import leave_one_camera_out as cameras
import pytest
import scoring
from tiny import SHAPE, write_ivf, write_weights

from adasffuse.scenes.street import night_scene
from adasffuse.training.options import parse_options


def options(*datasets: tuple[str, ...], **changes) -> dict:
    """A run with one part for each group of data sets."""
    parts = [
        {"task": "ivf", "weight": number + 1, "data": {"root_path": "data", "datasets": names, "crop": 16}}
        for number, names in enumerate(datasets)
    ]
    train = {"steps": 2, "batch_size": 2, "lr": 1e-3, "warmup": 1, "ema": 0.5}
    return {"name": "run", "parts": parts, "model": {"patch": 2, **SHAPE}, "train": train} | changes


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two cameras, and two options files that train on both; one small rendered street instead of three."""
    monkeypatch.setattr(cameras, "HARD_CASES", 1)
    monkeypatch.setattr(scoring, "night_scene", lambda rng: night_scene(rng, (96, 128)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_ivf(tmp_path / "data")
    shutil.copytree(root / "IVF", root / "IVF_OTHER")
    for name, seed in (("first", 0), ("second", 1)):
        values = options(["IVF"], ["IVF_OTHER"])
        values["train"]["seed"] = seed
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    return root


def test_nothing_of_the_camera_is_left_and_the_others_take_its_share():
    whole = parse_options(options(["IVF"], ["IVF_A", "IVF_B"], ["IVF_C"]))
    left = cameras.without_camera(whole, "IVF_A", "recipe")
    assert [part.data.datasets for part in left.parts] == [("IVF",), ("IVF_B",), ("IVF_C",)]
    assert [part.weight for part in left.parts] == [1, 2, 3] and left.name == "recipe_without_IVF_A"
    left = cameras.without_camera(whole, "IVF_C", "recipe")
    assert [part.data.datasets for part in left.parts] == [("IVF",), ("IVF_A", "IVF_B")]
    assert [part.weight for part in left.parts] == pytest.approx([2, 4])
    with pytest.raises(ValueError, match="recipe does not train on IVF_X; its cameras are IVF, IVF_A, IVF_B, IVF_C"):
        cameras.without_camera(whole, "IVF_X", "recipe")
    with pytest.raises(ValueError, match="no infrared and visible pairs but those of IVF"):
        cameras.without_camera(parse_options(options(["IVF"])), "IVF", "recipe")


@pytest.mark.slow
def test_all_recipes_are_trained_once_and_ranked_together(root, tmp_path, capsys):
    given = ["--opt", tmp_path / "first.json", tmp_path / "second.json", "--root_path", root, "--device", "cpu"]
    given += ["--out", tmp_path / "out", "--pairs", "2", "--workers", "1", "--markdown", tmp_path / "table.md"]
    arguments = [str(argument) for argument in given]
    assert cameras.main([*arguments, "--jobs", "0"]) == 2
    assert "nothing is trained yet" in capsys.readouterr().err
    assert cameras.main(arguments) == 0
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    for title in ("IVF, 2 pairs never trained on", "IVF_OTHER, 2 pairs never trained on", "Mean over 2 cameras"):
        section = table.split(f"### {title}\n\n")[1].split("###")[0]
        rows = {line.split("|")[1].strip(): line.split("|") for line in section.splitlines() if line.startswith("|")}
        assert {"first", "second", "max", "average"} <= rows.keys()
        ranks = [float(row[2]) for name, row in rows.items() if name not in ("method", "---")]
        assert ranks == sorted(ranks) and ranks[0] >= 1
    assert "Rendered night streets" in table and "first 0." in table
    written = (tmp_path / "out/first_without_IVF/weights.safetensors").stat().st_mtime_ns
    assert cameras.main(arguments) == 0  # nothing is repeated
    assert (tmp_path / "out/first_without_IVF/weights.safetensors").stat().st_mtime_ns == written
    trained = json.loads((tmp_path / "out/first_without_IVF/options.json").read_text())
    assert [part["data"]["datasets"] for part in trained["parts"]] == [["IVF_OTHER"]]


def test_weights_of_another_recipe_of_that_name_are_refused(root, tmp_path, capsys):
    arguments = ["--opt", str(tmp_path / "first.json"), "--root_path", str(root), "--out", str(tmp_path / "out")]
    arguments += ["--device", "cpu", "--cameras", "IVF", "--pairs", "1", "--workers", "1"]
    assert cameras.main(arguments) == 0
    values = json.loads((tmp_path / "first.json").read_text())
    values["train"]["lr"] = 0.5
    (tmp_path / "first.json").write_text(json.dumps(values))
    capsys.readouterr()
    assert cameras.main([*arguments, "--jobs", "0"]) == 2
    assert "was started with other options: train.lr 0.001 instead of 0.5" in capsys.readouterr().err


def test_a_recipe_named_like_a_simple_method_is_refused(root, tmp_path, capsys):
    shutil.copy(tmp_path / "first.json", tmp_path / "max.json")
    assert cameras.main(["--opt", str(tmp_path / "max.json"), "--root_path", str(root), "--jobs", "0"]) == 2
    assert "max is the name of a simple method" in capsys.readouterr().err


def test_a_table_says_where_a_recipe_began_with_weights_that_may_know_the_camera(root, tmp_path, capsys):
    values = json.loads((tmp_path / "second.json").read_text())
    values["train"]["init"] = str(write_weights(tmp_path / "known.safetensors", "ivf", patch=2))
    (tmp_path / "second.json").write_text(json.dumps(values))
    files = [str(tmp_path / f"{name}.json") for name in ("first", "second")]
    arguments = ["--root_path", str(root), "--out", str(tmp_path / "out"), "--device", "cpu", "--cameras", "IVF"]
    assert cameras.main(["--opt", *files, *arguments, "--pairs", "1", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "### IVF, 1 pairs left out of training" in said and "never trained on" not in said
    assert f"weights of other runs: second from {tmp_path}/known.safetensors. If these were trained on a camera" in said
