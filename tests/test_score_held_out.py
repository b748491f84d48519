"""Scoring held-out pairs: those that the options name, whole, each group apart, beside the simple methods."""

import json

import numpy as np
import pytest
import score_held_out as script
from tiny import texture

from adasffuse.classical.baselines import BASELINES
from adasffuse.images.write import write_image
from adasffuse.metrics import evaluate

PAIRS = {stem: (texture(96, 96, 2 * i), texture(96, 96, 2 * i + 1)) for i, stem in enumerate(("a1", "a2", "b1", "b2"))}


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The arguments of a run over a data set of four pairs of which three are held out, and that data set."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for stem, images in PAIRS.items():
        for kind, image in zip(("infrared", "visible"), images):
            write_image(tmp_path / "data/IVF" / kind / f"{stem}.png", image)
    part = {"task": "ivf", "data": {"root_path": "", "datasets": ["IVF"], "validation": ["a*", "b2"], "crop": 16}}
    (tmp_path / "options.json").write_text(json.dumps({"name": "run", "parts": [part]}))
    arguments = ["--weights", "general_tiny", "--opt", tmp_path / "options.json", "--root_path", tmp_path / "data"]
    arguments += ["--nights", "0", "--device", "cpu", "--workers", "1"]
    return [str(argument) for argument in arguments], tmp_path / "data/IVF"


def rows(text: str, title: str) -> dict[str, dict[str, str]]:
    head, _, *lines = text.split(f"### {title}\n\n")[1].split("\n\n")[0].splitlines()
    names, *values = [[cell.strip() for cell in line.strip("| ").split("|")] for line in (head, *lines)]
    return {row[0]: dict(zip(names, row)) for row in values}


def test_the_held_out_pairs_are_scored_whole_and_each_group_apart(given, tmp_path):
    arguments, folder = given
    box = "<xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>40</ymax>"
    boxes = f"<annotation><object><name>person</name><bndbox>{box}</bndbox></object></annotation>"
    (folder / "Annotations").mkdir()
    (folder / "Annotations/a1.xml").write_text(boxes)
    table = tmp_path / "table.md"
    assert script.main([*arguments, "--groups", "second=*2", "none=c*", "--markdown", str(table)]) == 0
    text = table.read_text(encoding="utf-8")
    assert text.count("###") == 2  # none of a group without pairs
    assert "Retention" in rows(text, "IVF, 3 pairs")["max"]
    for title, stems in (("IVF, 3 pairs", ("a1", "a2", "b2")), ("IVF, second, 2 pairs", ("a2", "b2"))):
        found = rows(text, title)
        assert found.keys() == {"general_tiny", *BASELINES}
        for metric in ("VIFF", "SCD", "SF"):
            wanted = [evaluate(a, b, np.maximum(a, b), (metric,))[metric] for a, b in map(PAIRS.get, stems)]
            assert float(found["max"][metric]) == pytest.approx(np.mean(wanted), abs=6e-4)


def test_pairs_are_read_as_in_training(given, tmp_path, capsys):
    """Black-hot files of 16 bits, of the values that all pairs span, called otherwise: the scores of the plain ones."""
    arguments, folder = given
    assert script.main(arguments) == 0
    wanted = rows(capsys.readouterr().out, "IVF, 3 pairs")
    for stem, (infrared, _) in PAIRS.items():
        (folder / "infrared" / f"{stem}.png").unlink()
        deep = 7000 + (255 - infrared.astype(np.uint16))
        deep[:4, :4], deep[-4:, -4:] = 7000, 7255  # black and white in each
        write_image(folder / "infrared" / f"IR_{stem}.png", deep)
    options = json.loads((tmp_path / "options.json").read_text())
    options["parts"][0]["data"] |= {"pattern_a": "IR_*", "range_a": ["folder", "inverted"]}
    (tmp_path / "options.json").write_text(json.dumps(options))
    assert script.main(arguments) == 0
    found = rows(capsys.readouterr().out, "IVF, 3 pairs")
    for name in ("general_tiny", "max"):
        assert float(found[name]["SD"]) == pytest.approx(float(wanted[name]["SD"]), rel=0.02)


def test_what_holds_nothing_out_is_refused(given, capsys):
    arguments, folder = given
    assert script.main([*arguments, "--datasets", "IVF_OTHER"]) == 2
    assert "--datasets IVF_OTHER: the options have IVF" in capsys.readouterr().err
    for path in folder.glob("*/*"):
        if path.stem != "b1":
            path.unlink()
    assert script.main(arguments) == 2
    assert "IVF: data.validation of the options fits none of its pairs" in capsys.readouterr().err


def test_networks_are_called_like_their_files():
    assert script.names_of(["a/x.safetensors", "b.safetensors"]) == {"x": "a/x.safetensors", "b": "b.safetensors"}
    assert script.names_of(["a/x.safetensors", "b/x.safetensors"]).keys() == {"a/x.safetensors", "b/x.safetensors"}
    with pytest.raises(ValueError, match="names a file twice"):
        script.names_of(["a.safetensors", "a.safetensors"])
