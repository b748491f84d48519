"""The script test_fusion_metrics.py on small folders made here."""

import csv
import importlib.util
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from adasffuse.classical.baselines import BASELINES
from adasffuse.cli import fuse as cli
from adasffuse.images.pairs import Scene, find_scenes
from adasffuse.images.read import write_png
from adasffuse.inference.folder import FolderReport
from adasffuse.metrics import evaluate
from adasffuse.metrics import folder as folder_module

_SPEC = importlib.util.spec_from_file_location(
    "test_fusion_metrics_program", Path(__file__).resolve().parents[1] / "test_fusion_metrics.py"
)
program = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(program)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data set of three pairs, a folder of results (the mean), and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for i in range(3):
        a, b = (cv2.GaussianBlur(random.uniform(0, 255, (48, 50 + i)), (0, 0), 2) * 2 - 128 for _ in range(2))
        a, b = (np.clip(np.rint(x), 0, 255).astype(np.uint8) for x in (a, b))
        write_png(tmp_path / "data" / "IVF" / "infrared" / f"p{i}.png", a)
        write_png(tmp_path / "data" / "IVF" / "visible" / f"p{i}.png", np.dstack([b, b, b // 2]))
        write_png(tmp_path / "mean" / f"p{i}.png", ((a.astype(int) + b) // 2).astype(np.uint8))
    return tmp_path


def run(data, *arguments):
    return program.main(["--root_path", str(data / "data"), "--dataset", "IVF", "--workers", "1", *map(str, arguments)])


def test_table_and_files(data, capsys):
    files = {name: data / "out" / f"table.{name}" for name in ("csv", "json", "markdown", "latex")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    assert run(data, "--fused", f"ours={data / 'mean'}", "--baselines", "average,max", *options) == 0
    shown = capsys.readouterr().out
    assert "convention adasffuse, n = 3 (50-52 x 48-48 px" in shown
    assert all(name in shown for name in ("ours", "average", "max", "VIFF↑", "mean rank"))
    rows = list(csv.DictReader(files["csv"].open()))
    assert [(row["method"], row["name"]) for row in rows[:4]] == [
        (m, n) for m in ("average",) for n in ("p0", "p1", "p2")
    ] + [("max", "p0")]
    content = json.loads(files["json"].read_text())
    assert content["methods"]["ours"]["n"] == 3
    assert "| average |" in files["markdown"].read_text()
    assert r"\toprule" in files["latex"].read_text()


def test_scores_are_those_of_evaluate(data):
    """Colour sources count as rounded Y; baselines are rounded as a saved file would be."""
    assert run(data, "--baselines", "average", "--csv", data / "s.csv", "--no_cache") == 0
    row = next(csv.DictReader((data / "s.csv").open()))
    a = cv2.imread(str(data / "data/IVF/infrared/p0.png"), cv2.IMREAD_GRAYSCALE)
    b = cv2.cvtColor(cv2.imread(str(data / "data/IVF/visible/p0.png")), cv2.COLOR_BGR2RGB)
    y = np.rint(b @ np.array([0.299, 0.587, 0.114]))
    fused = np.rint(BASELINES["average"](a.astype(float), b @ np.array([0.299, 0.587, 0.114]))).astype(np.uint8)
    expected = evaluate(a, y.astype(np.uint8), fused)
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-2)


def test_fusion_scripts_score_as_this_script_does(data):
    pairs, _ = find_scenes((data / "data/IVF/infrared", data / "data/IVF/visible"))
    saved = {pair.stem: data / "mean" / f"{pair.stem}.png" for pair in pairs}
    table = cli.score(FolderReport("IVF", data / "mean", "float32 on cpu", fused=pairs, files=saved))
    assert table.methods == ["AdaSFFuse", "average", "max", "laplacian"]
    expected = data / "expected.csv"
    assert (
        run(data, "--fused", f"AdaSFFuse={data / 'mean'}", "--baselines", "average,max,laplacian", "--csv", expected)
        == 0
    )
    assert sorted(table.csv().splitlines()) == sorted(expected.read_text().splitlines())


def test_few_images_start_no_worker(data, monkeypatch):
    monkeypatch.setattr(folder_module, "ProcessPoolExecutor", None)  # not callable
    sources = (data / "data/IVF/infrared", data / "data/IVF/visible")
    assert len(folder_module.score_folders(*sources, {"mean": data / "mean"}).rows) == 3


def test_systems_that_do_not_say_which_cores_a_process_may_use(data, monkeypatch):
    pairs, _ = find_scenes((data / "data/IVF/infrared", data / "data/IVF/visible"))
    expected = folder_module.score_pairs(pairs, {"average": None}).rows
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # macOS, Windows
    assert folder_module.score_pairs(pairs, {"average": None}).rows == expected


def test_any_number_of_workers_gives_the_same_numbers(data):
    for workers in (1, 2):
        assert (
            run(data, "--baselines", "laplacian", "--no_cache", "--workers", workers, "--csv", data / f"{workers}.csv")
            == 0
        )
    assert (data / "1.csv").read_text() == (data / "2.csv").read_text()


def test_cache_computes_only_what_is_new(data, monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(kwargs["metrics"])
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(folder_module, "evaluate", counted)
    assert run(data, "--baselines", "average", "--metrics", "EN,SD", "--csv", data / "1.csv") == 0
    assert calls == [["EN", "SD"]] * 3
    assert run(data, "--baselines", "average", "--metrics", "EN,SD", "--csv", data / "2.csv") == 0
    assert len(calls) == 3
    assert (data / "1.csv").read_text() == (data / "2.csv").read_text()
    assert run(data, "--baselines", "average,max", "--metrics", "EN,SF") == 0
    assert calls[3:] == [["SF"]] * 3 + [["EN", "SF"]] * 3  # a new metric of the old method, all of the new one
    write_png(data / "data" / "IVF" / "infrared" / "p1.png", np.zeros((48, 51), np.uint8))
    assert run(data, "--baselines", "average", "--metrics", "EN") == 0
    assert calls[9:] == [["EN"]]  # the image that changed


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        '{"size": [48, 50]}',
        '{"size": 4, "scores": {}}',
        '{"size": [48, 50], "scores": {"a": "b"}}',
    ],
)
def test_damaged_cache_entries_are_computed_anew(data, damage):
    assert run(data, "--baselines", "average", "--csv", data / "1.csv") == 0
    entries = sorted((data / "cache").rglob("*.json"))
    assert len(entries) == 3
    intact = [json.loads(entry.read_text()) for entry in entries]
    for entry in entries:
        entry.write_text(damage)
    assert run(data, "--baselines", "average", "--csv", data / "2.csv") == 0
    assert (data / "1.csv").read_text() == (data / "2.csv").read_text()
    assert [json.loads(entry.read_text()) for entry in entries] == intact


def test_cache_that_is_no_text_is_computed_anew(data):
    assert run(data, "--baselines", "average", "--csv", data / "1.csv") == 0
    for entry in (data / "cache").rglob("*.json"):
        entry.write_bytes(bytes(range(128, 256)))
    assert run(data, "--baselines", "average", "--csv", data / "2.csv") == 0
    assert (data / "1.csv").read_text() == (data / "2.csv").read_text()


def test_cache_forgets_what_was_unused_for_longest(data, monkeypatch):
    monkeypatch.setattr(folder_module, "_CACHE_ENTRIES", 4)
    assert run(data, "--baselines", "average", "--metrics", "EN") == 0
    old = sorted((data / "cache").rglob("*.json"))
    for entry in old:
        os.utime(entry, (1, 1))
    assert run(data, "--baselines", "max", "--metrics", "EN") == 0
    entries = set((data / "cache").rglob("*.json"))
    assert len(entries) == 4 and len(entries & set(old)) == 1  # the three new ones and one of the old
    kept = entries & set(old)
    for entry in entries - kept:
        os.utime(entry, (1, 1))
    assert run(data, "--baselines", "average", "--metrics", "EN") == 0  # reads the kept one, adds two
    assert kept <= set((data / "cache").rglob("*.json"))


def test_pairs_are_read_with_their_value_range(tmp_path):
    """12-bit sources in 16-bit files score as their 8-bit copies do."""
    low = np.random.default_rng(0).integers(0, 256, (2, 48, 50), dtype=np.uint16)
    for name, pixels in zip("ab", low):
        cv2.imwrite(str(tmp_path / f"{name}16.png"), pixels * 16)
        write_png(tmp_path / f"{name}8.png", pixels.astype(np.uint8))
    pairs = {bits: Scene("p", (tmp_path / f"a{bits}.png", tmp_path / f"b{bits}.png")) for bits in (8, 16)}
    plain = folder_module.score_pairs([pairs[8]], {"average": None}, workers=1)
    ranged = folder_module.score_pairs([pairs[16]], {"average": None}, workers=1, ranges=((0, 4080), (0, 4080)))
    assert ranged.rows[0].scores == pytest.approx(plain.rows[0].scores, rel=1e-3)


def test_reference_adds_its_metrics(data, capsys):
    assert run(data, "--fused", data / "mean", "--reference", data / "mean", "--metrics", "EN") == 0
    out = capsys.readouterr().out
    assert "PSNR_GT" in out and "inf" in out and "1.000" in out


def test_all_metrics_of_a_convention(data, capsys):
    assert run(data, "--baselines", "average", "--metrics", "all", "--convention", "vifb", "--per_channel") == 0
    assert "convention vifb" in capsys.readouterr().out


def test_undefined_scores_are_counted(data, capsys):
    write_png(data / "data" / "IVF" / "infrared" / "p1.png", np.full((48, 51), 7, np.uint8))
    assert run(data, "--baselines", "average") == 0
    assert "(-1)" in capsys.readouterr().out


def test_plots(data):
    pytest.importorskip("matplotlib")
    assert run(data, "--baselines", "average,max", "--metrics", "EN,SD", "--plots", data / "plots") == 0
    assert sorted(path.name for path in (data / "plots").iterdir()) == ["EN.png", "SD.png", "ranks.png"]


def test_plots_without_matplotlib_say_how_to_get_it(data, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert run(data, "--baselines", "average", "--metrics", "EN", "--plots", data / "plots") == 1
    assert "pip install 'adasffuse[plots]'" in capsys.readouterr().err


def test_explain(capsys):
    assert program.main(["--explain", "Qabf"]) == 0
    out = capsys.readouterr().out
    assert "10.1049/el:20000267" in out and "clean: edge_preservation(equal_as_published=False)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to score"),
        (["--baselines", "median"], "unknown baseline 'median'; there are average"),
        (["--baselines", "average", "--metrics", "ssim"], "did you mean 'SSIM'"),
        (["--baselines", "average", "--metrics", "SSIM_GT"], "give a reference"),
        (["--fused", "{data}/nothing"], "no folder"),
        (["--fused", "a={data}/mean", "a={data}/mean"], "two folders are called 'a'"),
        (["--fused", "average={data}/mean", "--baselines", "average"], "names a baseline and a folder"),
    ],
)
def test_mistakes_are_one_line(data, capsys, arguments, message):
    assert run(data, *[argument.format(data=data) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


def test_unequal_stems_and_sizes_name_the_file(data, capsys):
    (data / "mean" / "p1.png").rename(data / "mean" / "q1.png")
    assert run(data, "--fused", data / "mean") == 1
    assert "p1.png has no partner" in capsys.readouterr().err
    (data / "mean" / "q1.png").rename(data / "mean" / "p1.png")
    write_png(data / "mean" / "p1.png", np.zeros((48, 40), np.uint8))
    assert run(data, "--fused", data / "mean") == 1
    error = capsys.readouterr().err
    assert "sizes differ" in error and "mean/p1.png is 40x48" in error


def test_sources_are_required(capsys):
    with pytest.raises(SystemExit):
        program.main(["--baselines", "average"])
    assert "--source_a and --source_b" in capsys.readouterr().err
