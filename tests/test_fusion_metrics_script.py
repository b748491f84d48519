"""The script test_fusion_metrics.py on small folders made here."""

import contextlib
import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
import skimage

import test_fusion_metrics as program
from adasffuse.classical.baselines import BASELINES
from adasffuse.cli import score as score_command
from adasffuse.cli import task_script as cli
from adasffuse.images.color import luminance
from adasffuse.images.no_data import fill_missing
from adasffuse.images.pairs import Scene, find_scenes
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference.folder import FolderReport
from adasffuse.installation import install_command
from adasffuse.metrics import METRICS, cache, evaluate, job
from adasffuse.metrics import folder as folder_module
from adasffuse.metrics.conventions import find_metric
from adasffuse.metrics.workers import WorkerError, map_in_processes

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data set of three pairs, a folder of results (the mean), and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for i in range(3):
        a, b = (cv2.GaussianBlur(random.uniform(0, 255, (48, 50 + i)), (0, 0), 2) * 2 - 128 for _ in range(2))
        a, b = (np.clip(np.rint(x), 0, 255).astype(np.uint8) for x in (a, b))
        write_image(tmp_path / "data" / "IVF" / "infrared" / f"p{i}.png", a)
        write_image(tmp_path / "data" / "IVF" / "visible" / f"p{i}.png", np.dstack([b, b, b // 2]))
        write_image(tmp_path / "mean" / f"p{i}.png", ((a.astype(int) + b) // 2).astype(np.uint8))
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


def test_no_more_processes_than_the_memory_is_enough_for(data, monkeypatch):
    """Of images of 50x48 pixels; a pixel takes 260 bytes by QP, 120 by Qcb, 60 by EN, a process 300 MiB beside."""
    scenes = find_scenes([data / "data" / "IVF" / name for name in ("infrared", "visible")])[0]
    started = []

    def here(score, jobs, workers):
        started.append(workers)
        yield from map(score, jobs)

    monkeypatch.setattr(folder_module, "map_in_processes", here)
    monkeypatch.setattr(folder_module, "available_cores", lambda: 8)
    monkeypatch.setattr(folder_module, "_WORTH_A_WORKER", 1)
    settings = {name: job.Settings((name,)) for name in ("EN", "Qcb", "QP")}
    some = 3 * (300 << 20) + 10**6
    for memory, name in ((None, "EN"), (some, "EN"), (some, "Qcb"), (some, "QP")):
        monkeypatch.setattr(folder_module, "available_memory", lambda memory=memory: memory)
        folder_module.score_pairs(scenes, {"average": None, "max": None}, settings=settings[name], progress=False)
    assert started == [6, 3, 3, 2]


def test_scores_of_luminance_do_not_depend_on_whether_colors_are_kept(data):
    def score(*metrics: str) -> list[dict]:
        settings = job.Settings(metrics)
        methods = {"ours": {f"p{i}": data / "mean" / f"p{i}.png" for i in range(3)}, "average": None}
        return folder_module.score_pairs(scenes, methods, settings=settings, workers=1).rows

    scenes = find_scenes([data / "data" / "IVF" / name for name in ("infrared", "visible")])[0]
    for with_colors, alone in zip(score("EN", "MI", "SSIM", "CIEDE2000"), score("EN", "MI", "SSIM"), strict=True):
        assert np.isfinite(with_colors.scores["CIEDE2000"])
        assert {name: with_colors.scores[name] for name in alone.scores} == alone.scores


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
    monkeypatch.setattr(folder_module, "map_in_processes", None)  # not callable
    sources = (data / "data/IVF/infrared", data / "data/IVF/visible")
    assert len(folder_module.score_folders(*sources, {"mean": data / "mean"}).rows) == 3


def test_systems_that_do_not_say_which_cores_a_process_may_use(data, monkeypatch):
    pairs, _ = find_scenes((data / "data/IVF/infrared", data / "data/IVF/visible"))
    expected = folder_module.score_pairs(pairs, {"average": None}).rows
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # macOS, Windows
    assert folder_module.score_pairs(pairs, {"average": None}).rows == expected


def test_cache_computes_only_what_is_new(data, monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(kwargs["metrics"])
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(job, "evaluate", counted)
    assert run(data, "--baselines", "average", "--metrics", "EN,SD", "--csv", data / "1.csv") == 0
    assert calls == [["EN", "SD"]] * 3
    assert run(data, "--baselines", "average", "--metrics", "EN,SD", "--csv", data / "2.csv") == 0
    assert len(calls) == 3
    assert (data / "1.csv").read_text() == (data / "2.csv").read_text()
    assert run(data, "--baselines", "average,max", "--metrics", "EN,SF") == 0
    assert calls[3:] == [["SF"]] * 3 + [["EN", "SF"]] * 3  # a new metric of the old method, all of the new one
    write_image(data / "data" / "IVF" / "infrared" / "p1.png", np.zeros((48, 51), np.uint8))
    assert run(data, "--baselines", "average", "--metrics", "EN") == 0
    assert calls[9:] == [["EN"]]  # the image that changed


def test_damaged_cache_entries_are_computed_anew(data):
    assert run(data, "--baselines", "average", "--csv", data / "1.csv") == 0
    entries = sorted((data / "cache").rglob("*.json"))
    intact = [json.loads(entry.read_text()) for entry in entries]
    assert len(entries) == 3
    for damage in (
        *(b"", b"{", b"[]", b"null", bytes(range(128, 256)), b'{"size": [48, 50]}', b'{"size": 4, "scores": {}}'),
        *(b'{"size": [48, 1e999], "scores": {}}', b'{"size": [48, 50], "scores": {"a": "b"}}'),
    ):
        for entry in entries:
            entry.write_bytes(damage)
        assert run(data, "--baselines", "average", "--csv", data / "2.csv") == 0, damage
        assert (data / "1.csv").read_text() == (data / "2.csv").read_text()
        assert [json.loads(entry.read_text()) for entry in entries] == intact


def test_the_cache_is_of_the_libraries_that_read_and_score(monkeypatch):
    digest = cache.code_digest.__wrapped__
    before = digest()
    for library in (np, cv2, PIL, skimage):
        with monkeypatch.context() as patch:
            patch.setattr(library, "__version__", "0.0")
            assert digest() != before
    assert digest() == before


def test_cache_forgets_what_was_unused_for_longest(data, monkeypatch):
    monkeypatch.setattr(cache, "_ENTRIES", 4)
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


def test_reference_adds_its_metrics(data, capsys):
    assert run(data, "--fused", data / "mean", "--reference", data / "mean", "--metrics", "EN") == 0
    out = capsys.readouterr().out
    assert "PSNR_GT" in out and "inf" in out and "1.000" in out


def test_all_metrics_of_a_convention(data, capsys):
    assert run(data, "--baselines", "average", "--metrics", "all", "--convention", "vifb", "--per_channel") == 0
    assert "convention vifb" in capsys.readouterr().out


def test_what_holds_for_many_files_is_said_once(data, capsys):
    assert run(data, "--fused", data / "mean", "--baselines", "average", "--range_a", "0", "128") == 0
    notices = [line for line in capsys.readouterr().err.splitlines() if line.startswith("notice: ")]
    assert len(notices) == 1 and notices[0].count("infrared/p0.png") == 1
    assert "8 bits per channel" in notices[0] and "(and 2 more files)" in notices[0]


def test_results_called_by_numbers_are_told_to_be_renamed(data, capsys):
    for number, path in enumerate(sorted((data / "mean").iterdir())):
        path.rename(path.with_name(f"{number + 1}.png"))
    assert run(data, "--fused", data / "mean") == 1
    shown = capsys.readouterr().err
    assert f"{data / 'mean'} holds no image of it: its files are called like 1.png, not like p0" in shown
    assert "belongs to no scene" not in shown  # it has been said


def test_results_that_all_exist_twice_are_named(data, capsys):
    for path in sorted((data / "mean").iterdir()):
        write_image(path.with_suffix(".tif"), np.zeros((48, 50), np.uint8))
    assert run(data, "--fused", data / "mean") == 1
    shown = capsys.readouterr()
    assert "not scored: p0, p1, p2 of mean, the first: " in shown.out and "p0.tif" in shown.out
    assert "error: no image of mean could be scored: " in shown.err


def test_a_folder_of_folders_of_results_is_told_the_inner_one(data, capsys):
    (data / "mean").rename(data / "inner")
    (data / "mean").mkdir()
    (data / "inner").rename(data / "mean/IVF")
    assert run(data, "--fused", data / "mean") == 1
    shown = capsys.readouterr().err
    assert f"give {data / 'mean/IVF'} in its place" in shown and "source" not in shown


def test_plots(data):
    pytest.importorskip("matplotlib")
    assert run(data, "--baselines", "average,max", "--metrics", "EN,SD", "--plots", data / "plots") == 0
    assert sorted(path.name for path in (data / "plots").iterdir()) == ["EN.png", "SD.png", "ranks.png"]


def test_plots_without_matplotlib_say_how_to_get_it(data, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert run(data, "--baselines", "average", "--metrics", "EN", "--plots", data / "plots") == 1
    assert install_command("plots") in capsys.readouterr().err


def test_a_method_without_files_must_be_a_baseline():
    with pytest.raises(ValueError, match="unknown baseline 'mine'; there are average"):
        folder_module.score_pairs([], {"mine": None})


def test_explain(capsys):
    assert program.main(["--explain", "Qabf"]) == 0
    out = capsys.readouterr().out
    assert "10.1049/el:20000267" in out and "clean: edge_preservation(equal_as_published=False)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to score"),
        (["--baselines", "median"], "unknown baseline 'median'; there are average"),
        (["--baselines", "average", "--metrics", "ssimm"], "did you mean 'SSIM'"),
        (["--baselines", "average", "--metrics", ","], "--metrics names no metric"),
        (["--baselines", "average", "--metrics", "all,EN"], "--metrics: 'all' stands alone"),
        (["--baselines", "average", "--metrics", "SSIM_GT"], "give a reference"),
        (["--fused", "{data}/nothing"], "no folder"),
        (["--fused", "a={data}/mean", "a={data}/mean"], "two results are called 'a'"),
        (["--fused", "average={data}/mean", "--baselines", "average"], "names a baseline and a folder"),
        (["--baselines", "average", "--boxes", "{data}/none"], "--boxes is the folder of Pascal VOC files"),
        (["--baselines", "average", "--reference", "{data}/none"], "--reference is the folder of true images"),
        (["--baselines", "average", "--classes", "dog"], "give --boxes DIR as well"),
    ],
)
def test_mistakes_are_one_line(data, capsys, arguments, message):
    of_files = message == "no folder" or "is the folder of" in message
    assert run(data, *[argument.format(data=data) for argument in arguments]) == (1 if of_files else 2)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


def test_folders_and_files_in_a_row_score_as_with_options(data, capsys):
    a, b, mean = data / "data/IVF/infrared", data / "data/IVF/visible", data / "mean"
    tables = []
    for number, words in enumerate(
        (
            [a, b, mean, f"again={mean}", "--baselines", "average"],
            ["--source_a", a, "--source_b", b, "--fused", mean, f"again={mean}", "--baselines", "average"],
            [*(folder / "p1.png" for folder in (a, b, mean)), f"again={mean / 'p1.png'}", "--reference", b / "p1.png"],
        )
    ):
        report = data / f"{number}.csv"
        assert program.main([*map(str, words), "--workers", "1", "--metrics", "VIFF,SCD", "--csv", str(report)]) == 0
        tables.append(list(csv.DictReader(report.open())))
    assert tables[0] == tables[1] and len(tables[0]) == 9
    of_p1 = {row["method"]: row for row in tables[0] if row["name"] == "p1"}
    for row, method in zip(tables[2], ("p1", "again")):
        assert row["method"] == method and row["name"] == "p1" and float(row["PSNR_GT"]) > 0
        assert all(row[metric] == of_p1["mean"][metric] for metric in ("VIFF", "SCD"))

    def refused(*words, status=1) -> str:
        assert program.main([*map(str, words), "--workers", "1"]) == status
        return capsys.readouterr().err

    assert f"{mean / 'p1.png'} is one file, but there are 3 scenes" in refused(a, b, mean / "p1.png")
    files = [folder / "p1.png" for folder in (a, b, mean)]
    assert "--pattern_a is for folders" in refused(*files, "--pattern_a", "p*", status=2)
    assert "nothing to score" in refused(a, b, status=2)
    assert f"{a / 'p1.png'} is a file, where a folder is expected" in refused(a / "p1.png", b, mean)
    assert f"no folder {data / 'nowhere'}" in refused(a, data / "nowhere", mean)
    assert f"no file or folder {data / 'x.png'}" in refused(a / "p1.png", b / "p1.png", data / "x.png")
    for words, said in (
        ([a], "give A and B, then results"),
        ([a, b, "--root_path", data, "--dataset", "IVF"], "give A and B, then results"),
        ([a, b, "--source_a", a], "give A and B, then results"),
        (["--baselines", "average"], "--source_a and --source_b"),
    ):
        with pytest.raises(SystemExit, match="2"):
            program.main([str(word) for word in words])
        assert said in capsys.readouterr().err


# One image that cannot be scored never stops the others.


NO_TEXT = os.fsdecode(b"p\xff\x1b[31m")  # no UTF-8


def scored_names(table: Path) -> dict[str, list[str]]:
    """Method to names of the images in a CSV file."""
    names: dict[str, list[str]] = {}
    for row in csv.DictReader(table.open()):
        names.setdefault(row["method"], []).append(row["name"])
    return names


def test_reports_have_files_of_their_own(data, capsys):
    one = str(data / "scores.txt")
    assert run(data, "--baselines", "average", "--csv", one, "--json", one) == 2
    assert "--csv and --json name one file" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(data, "--baselines", "average", "--workers", "0")
    assert "--workers: 0: expected a whole number, 1 or more" in capsys.readouterr().err
    image = data / "data" / "IVF" / "infrared" / "p0.png"
    before = image.read_bytes()
    for option, name in (("--csv", image), ("--csv", data / "s.xlsx"), ("--latex", data / "s.md")):
        assert run(data, "--baselines", "average", option, name) == 2
        assert f"{option} {name}: this file is written as " in capsys.readouterr().err
    assert image.read_bytes() == before and not (data / "s.md").exists()


def test_plots_never_lie_among_the_images_that_are_scored(data, capsys):
    assert run(data, "--fused", data / "mean", "--plots", data / "mean") == 1
    assert f"--plots {data / 'mean'}: holds inputs" in capsys.readouterr().err


def test_a_method_that_lacks_an_image_is_compared_on_those_that_all_have(data, capsys):
    (data / "mean" / "p1.png").rename(data / "mean" / "q1.png")
    files = ["--csv", data / "s.csv", "--json", data / "s.json"]
    assert run(data, "--fused", data / "mean", "--baselines", "average", *files) == 0
    shown = capsys.readouterr()
    assert "n = 2 (" in shown.out and "images scored: average 3, mean 2; means and ranks are over the 2 " in shown.out
    assert f"not scored: p1 of mean: {data / 'mean'} holds no image of it" in shown.out
    assert "mean/q1.png belongs to no scene" in shown.err
    assert scored_names(data / "s.csv") == {"average": ["p0", "p1", "p2"], "mean": ["p0", "p2"]}  # no work is lost
    content = json.loads((data / "s.json").read_text())
    assert content["compared"] == 2 and [one["name"] for one in content["failed"]] == ["p1"] and content["ok"]
    rows = {(row["method"], row["name"]): row for row in csv.DictReader((data / "s.csv").open())}
    mean_entropy = sum(float(rows["average", name]["EN"]) for name in ("p0", "p2")) / 2
    assert content["methods"]["average"]["mean"]["EN"] == pytest.approx(mean_entropy)


def test_images_that_cannot_be_used_are_named_and_the_rest_is_scored(data, capsys):
    (data / "mean" / "p0.png").write_bytes((data / "mean" / "p0.png").read_bytes()[:200])  # truncated
    (data / "mean" / "p1.png").unlink()
    os.mkfifo(data / "mean" / "p1.png")
    for i in range(3, 6):
        for folder in (data / "data/IVF/infrared", data / "data/IVF/visible", data / "mean"):
            write_image(folder / f"p{i}.png", np.random.default_rng(i).integers(0, 256, (48, 50), dtype=np.uint8))
    write_image(data / "mean" / "p3.png", np.zeros((48, 40), np.uint8))
    (data / "mean" / "p4.png").unlink()
    (data / "mean" / "p4.png").symlink_to("/dev/zero")
    (data / "mean" / "notes.txt").write_text("not an image")
    assert run(data, "--fused", data / "mean", "--csv", data / "s.csv") == 0
    shown = capsys.readouterr()
    assert scored_names(data / "s.csv") == {"mean": ["p2", "p5"]}
    for words in ("p0 of mean: ", "mean/p1.png is no regular file", "mean/p3.png is 40x48", "mean/p4.png is no reg"):
        assert words in shown.out
    assert "also holds notes.txt, no image by name" in shown.err


def test_any_number_of_workers_says_and_scores_the_same(data, capsys):
    """Of images that cannot be used and a name that is no text, too."""
    for folder in ("data/IVF/infrared", "data/IVF/visible", "mean"):
        (data / folder / "p1.png").rename(data / folder / f"{NO_TEXT}.png")
        for name in ("damaged", "small"):
            shutil.copy(data / folder / "p0.png", data / folder / f"{name}.png")
    (data / "mean" / "damaged.png").write_bytes((data / "mean" / "p0.png").read_bytes()[:200])
    write_image(data / "mean" / "small.png", np.zeros((48, 40), np.uint8))
    found = []
    for workers in (1, 2):
        table = data / f"{workers}.csv"
        words = ["--baselines", "laplacian", "--no_cache", "--workers", workers, "--csv", table]
        assert run(data, "--fused", data / "mean", *words) == 0
        found.append((table.read_bytes(), capsys.readouterr().out.replace(str(table), "")))
    assert found[0] == found[1] and b"p\xff" in found[0][0]
    assert "not scored: damaged of mean: " in found[0][1] and "small.png is 40x48" in found[0][1]


def test_names_that_are_no_text_are_scored_and_shown_escaped(data, capsys):
    odd = NO_TEXT
    for folder in ("data/IVF/infrared", "data/IVF/visible", "mean"):
        (data / folder / "p1.png").rename(data / folder / f"{odd}.png")
    (data / "mean" / f"{odd}.png").write_bytes(b"damaged")
    files = ["--csv", data / "s.csv", "--json", data / "s.json"]
    assert run(data, "--fused", data / "mean", "--baselines", "average", *files) == 0
    shown = capsys.readouterr()
    assert "not scored: p\\xff\\x1b[31m of mean" in shown.out and "\x1b" not in shown.out + shown.err
    assert b"average,p\xff\x1b[31m," in (data / "s.csv").read_bytes()
    assert json.loads((data / "s.json").read_text())["failed"][0]["name"] == odd


def test_a_damaged_source_is_named_once_for_all_methods(data, capsys):
    (data / "data/IVF/visible/p1.png").write_bytes(b"")
    assert run(data, "--baselines", "average,max", "--fused", data / "mean") == 0
    out = capsys.readouterr().out
    assert out.count("not scored") == 1 and "not scored: p1 of all methods: " in out and "visible/p1.png" in out


def test_a_method_without_any_image_is_an_error_and_the_others_are_scored(data, capsys):
    (data / "empty").mkdir()
    fused = ["--fused", data / "mean", data / "empty", f"typo={data / 'meen'}"]
    assert run(data, *fused, "--csv", data / "s.csv") == 1
    error = capsys.readouterr().err
    assert "no image of empty could be scored: no images in" in error
    assert "no image of typo could be scored: no folder" in error
    assert scored_names(data / "s.csv") == {"mean": ["p0", "p1", "p2"]}


def test_results_of_other_names_are_scored_by_a_pattern_that_the_error_gives(data, capsys):
    for path in sorted((data / "mean").iterdir()):
        path.rename(data / "mean" / f"{path.stem}_fused.png")
    assert run(data, "--fused", data / "mean", "--csv", data / "a.csv") == 1
    pattern = f"{data}/mean/*_fused"
    assert f"holds no image of it by that name; give {pattern} for files" in capsys.readouterr().err
    assert run(data, "--fused", pattern, f"again={pattern}.png", "--csv", data / "a.csv") == 0
    assert scored_names(data / "a.csv") == {name: ["p0", "p1", "p2"] for name in ("mean", "again")}
    assert run(data, "--fused", f"x={data}/mean/*_f*.png") == 1
    assert "stands for other names than those of the sources" in capsys.readouterr().err


def test_methods_without_a_common_image_are_not_ranked(data, capsys):
    for name, kept in (("x", "p0"), ("y", "p1")):
        write_image(data / name / f"{kept}.png", cv2.imread(str(data / "mean" / f"{kept}.png"), cv2.IMREAD_GRAYSCALE))
    assert run(data, "--fused", data / "x", data / "y") == 0
    out = capsys.readouterr().out
    assert "n = x 1, y 1" in out and "no image is common to all, so means are not comparable" in out
    assert [line.split()[9] for line in out.splitlines() if line.startswith(("x ", "y "))] == ["n/a", "n/a"]


# Folders and metrics as people write them.


def test_names_with_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("lr=0.1/IVF", "runs/lr=0.1/MEF", "plain"):
        Path(folder).mkdir(parents=True)
    found = score_command.methods(["lr=0.1/IVF", "ours=runs/lr=0.1/MEF", "a=b=plain", "other=absent"])
    assert found == {
        "IVF": Path("lr=0.1/IVF"),
        "ours": Path("runs/lr=0.1/MEF"),
        "a=b": Path("plain"),
        "other": Path("absent"),
    }


@pytest.mark.parametrize("words", [["VIFF,", "Qabf"], ["viff, QABF,"]])
def test_metrics_as_people_write_them(data, words):
    assert run(data, "--baselines", "Average, max", "--metrics", *words, "--csv", data / "s.csv") == 0
    row = next(csv.DictReader((data / "s.csv").open()))
    assert list(row)[5:] == ["VIFF", "Qabf"]
    assert list(scored_names(data / "s.csv")) == ["average", "max"]


def test_metric_names_differ_by_more_than_capitals():
    assert len({name.lower() for name in METRICS}) == len(METRICS)
    assert find_metric(" ssim ") == "SSIM" and find_metric("nothing") == "nothing"


def test_ranges_are_those_of_the_files(data):
    """12-bit sources in 16-bit files score as their 8-bit copies do, with the range given or found."""
    for name in ("p0", "p1", "p2"):
        for side in ("infrared", "visible"):
            file = data / "data/IVF" / side / f"{name}.png"
            pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            pixels[:2, :2], pixels[-2:, -2:] = 0, 255  # 'folder' trusts no single pixel
            cv2.imwrite(str(file), pixels)
            (data / "deep/IVF" / side).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(data / "deep/IVF" / side / f"{name}.png"), pixels.astype(np.uint16) * 16)
    assert run(data, "--baselines", "average", "--csv", data / "8.csv") == 0
    ranges = ["--range_a", 0, 4080, "--range_b", "folder"]
    assert run(data, "--root_path", data / "deep", "--baselines", "average", "--csv", data / "16.csv", *ranges) == 0
    shallow, deep = (list(csv.DictReader((data / f"{bits}.csv").open())) for bits in (8, 16))
    for row, other in zip(shallow, deep):
        assert float(row["SSIM"]) == pytest.approx(float(other["SSIM"]), rel=1e-3)


@pytest.mark.parametrize("words", [["5", "5"], ["low", "high"], ["1"]])
def test_impossible_ranges_name_their_option(data, capsys, words):
    assert run(data, "--baselines", "average", "--range_b", *words) == 2
    assert "error: --range_b: a value range" in capsys.readouterr().err


def test_where_a_source_holds_no_data_it_counts_as_equal_to_the_other(data):
    """A black border of infrared images by itself, as in fusing, one of visible images where --no_data_b says so."""
    options = ["--baselines", "average", "--metrics", "MSE", "--csv", data / "s.csv"]

    def scores(*more):
        assert run(data, *options, *more) == 0
        return [float(row["MSE"]) for row in csv.DictReader((data / "s.csv").open())]

    for side, black, more in (("infrared", np.s_[:, :20], ()), ("visible", np.s_[:, 30:], ("--no_data_b", 0))):
        for name in ("p0", "p1", "p2"):
            file = data / "data/IVF" / side / f"{name}.png"
            pixels = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).clip(1, 255)
            pixels[black] = 0
            write_image(file, pixels)
        before = scores() if more else [np.inf] * 3
        for name, plain, filled in zip(("p0", "p1", "p2"), before, scores(*more)):
            a = read_image(data / f"data/IVF/infrared/{name}.png", no_data=0)
            b = read_image(data / f"data/IVF/visible/{name}.png", no_data=more[1] if more else None)
            sources = fill_missing((luminance(a.pixels), luminance(b.pixels)), (a.valid, b.valid))[0]
            levels = [np.rint(255 * source).astype(np.uint8) for source in (*sources, sum(sources) / 2)]
            assert filled == pytest.approx(evaluate(*levels, ["MSE"])["MSE"], rel=0.02) and filled < plain


def test_sources_are_paired_by_patterns(data):
    """Results are called as what the sources share."""
    together = data / "together"
    together.mkdir()
    for side, prefix in (("infrared", "IR"), ("visible", "VIS")):
        for file in (data / "data/IVF" / side).iterdir():
            file.rename(together / f"{prefix}_{file.name}")
    arguments = ["--source_a", together, "--source_b", together, "--pattern_a", "IR_*", "--pattern_b", "VIS_*"]
    arguments += ["--fused", data / "mean", "--csv", data / "s.csv"]
    assert program.main([*map(str, arguments)]) == 0
    assert scored_names(data / "s.csv") == {"mean": ["p0", "p1", "p2"]}


def test_more_than_two_sources_are_refused(data):
    with pytest.raises(ValueError, match="p has 3 sources: metrics compare two"):
        folder_module.score_pairs([Scene("p", (Path("a"), Path("b"), Path("c")))], {"average": None})


# The cache saves time and never costs a result.


def test_a_cache_that_cannot_be_written_is_a_notice(data, capsys):
    (data / "file").write_text("")
    assert run(data, "--baselines", "average", "--cache", data / "file/below") == 0
    shown = capsys.readouterr()
    assert "n = 3" in shown.out and shown.err.count("notice: the cache ") == 1 and "file/below" in shown.err


def test_a_full_disk_is_no_harm_to_cache_or_csv(data, capsys, monkeypatch):
    assert run(data, "--baselines", "average", "--no_cache", "--csv", data / "s.csv") == 0
    before = (data / "s.csv").read_text()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run(data, "--baselines", "max", "--csv", data / "s.csv") == 1
    shown = capsys.readouterr()
    assert "\nmax " in shown.out and f"cannot write {data / 's.csv'}: No space left" in shown.err
    assert "notice: the cache" in shown.err
    assert (data / "s.csv").read_text() == before and not list(data.glob(".part*"))


def test_links_stay_links_and_devices_devices(data, capsys):
    os.mkfifo(data / "pipe")  # stands for /dev/stdout and /dev/null
    (data / "link.csv").symlink_to(data / "s.csv")
    files = ["--csv", data / "link.csv", "--json", data / "pipe"]
    assert run(data, "--baselines", "average", "--metrics", "EN", *files) == 1
    shown = capsys.readouterr()
    assert f"--json {data / 'pipe'}: is a device or a pipe" in shown.err and not shown.out
    assert (data / "pipe").is_fifo() and not (data / "s.csv").exists()
    assert run(data, "--baselines", "average", "--metrics", "EN", *files[:2]) == 0
    assert (data / "link.csv").is_symlink()
    assert (data / "s.csv").read_text().count("\n") == 4


def test_no_home_is_a_notice(data, capsys, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert cache.default_cache() is None
    assert run(data, "--baselines", "average", "--metrics", "EN") == 0
    assert "notice: no home folder is known" in capsys.readouterr().err
    assert run(data, "--baselines", "average", "--metrics", "EN", "--no_cache") == 0
    assert capsys.readouterr().err == ""


# Endings, and programs that are no well-behaved script.


def start(data, *arguments, code: str = "", **environment: str) -> subprocess.Popen:
    """The script, or other code, in a process group of its own."""
    command = ["-c", code] if code else [str(ROOT / "test_fusion_metrics.py")]
    arguments = ["--root_path", str(data / "data"), "--dataset", "IVF", *map(str, arguments)]
    return subprocess.Popen(
        [sys.executable, *command, *([] if code else arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=data,
        start_new_session=True,
    )


def test_any_output_encoding_and_a_reader_that_leaves(data):
    process = start(data, "--baselines", "average", "--csv", data / "s.csv", PYTHONIOENCODING="ascii:strict")
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0 and "VIFF?" in out and error == ""
    process = start(data, "--baselines", "average", "--csv", data / "t.csv")
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 0
    assert (data / "s.csv").read_text() == (data / "t.csv").read_text()


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "term")]
)
def test_signals_end_scoring_in_one_line_and_leave_no_process(data, number, status, word):
    """A fused image of millions of pixels keeps both workers busy when the signal comes."""
    for folder in (data / "data/IVF/infrared", data / "data/IVF/visible"):
        for name in ("large1", "large2"):
            write_image(folder / f"{name}.png", np.random.default_rng(0).integers(0, 256, (1500, 1500), dtype=np.uint8))
    process = start(data, "--baselines", "average", "--metrics", "all", "--workers", "2", "--no_cache")
    while not (workers := children(process.pid)) or len(workers) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    while b"serve" not in b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers):
        time.sleep(0.01)
    os.killpg(process.pid, number)
    out, error = process.communicate(timeout=60)
    lines = [line for line in error.splitlines() if line and "scoring:" not in line]
    assert (process.returncode, out) == (status, "") and len(lines) == 1 and word in lines[0]
    while any(Path(f"/proc/{pid}").exists() for pid in workers):  # without an end if one is left behind
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


UNGUARDED = """
from threading import Thread
from adasffuse.cli.score import run
arguments = "--root_path data --dataset IVF --baselines average --workers 2 --csv thread.csv".split()
thread = Thread(target=lambda: print(run(arguments)))
thread.start()
thread.join()
"""


def test_a_thread_of_a_script_without_a_guard_can_score(data):
    (data / "script.py").write_text(UNGUARDED)
    process = start(data, code="import runpy; runpy.run_path('script.py', run_name='__main__')")
    out, error = process.communicate(timeout=60)
    assert out.endswith("\n0\n") and error == "" and (data / "thread.csv").exists()


def test_a_worker_that_dies_costs_its_own_job_alone():
    dead, *others = map_in_processes(eval, ["__import__('os')._exit(7)", "1", "2", "3"], 2)
    assert isinstance(dead, WorkerError) and others == [1, 2, 3]
    assert str(dead) == "a scoring process ended with status 7; fewer workers need less memory"


def test_an_image_over_which_a_worker_dies_is_named(data, capsys, monkeypatch):
    monkeypatch.setattr(folder_module, "map_in_processes", lambda _, jobs, __: (WorkerError("killed") for _ in jobs))
    assert run(data, "--baselines", "average", "--workers", 2) == 1
    assert "not scored: p0, p1, p2 of average: killed" in capsys.readouterr().out


def test_errors_of_workers_reach_the_caller():
    assert list(map_in_processes(abs, [-1, 2, -3], 2)) == [1, 2, 3]
    with pytest.raises(TypeError):
        list(map_in_processes(abs, [1, "x", 3], 2))


def of_other_programs(data: Path) -> None:
    """The results of `data` as other programs write them, in folders f01, f255, tanh and ten_bits."""
    for path in (data / "mean").iterdir():
        levels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32)
        for folder, values in {
            "f01/*.tif": levels / 255,
            "f255/*.tif": levels,
            "tanh/*.tif": levels / 127.5 - 1,
            "ten_bits/*.png": np.rint(levels * (1020 / 255)).astype(np.uint16),
        }.items():
            (data / folder).parent.mkdir(exist_ok=True)
            assert cv2.imwrite(str(data / folder.replace("*", path.stem)), values)


def test_results_of_any_range_score_as_the_same_results_in_8_bits(data, capsys):
    of_other_programs(data)
    ranges = {"f01": (0, 1), "f255": (0, 255), "tanh": (-1, 1), "ten_bits": (0, 1020)}
    options = [word for name, window in ranges.items() for word in ("--range_fused", name, *window)]
    folders = [data / name for name in ("mean", *ranges)]
    assert run(data, "--fused", *folders, *options, "--metrics", "VIFF,SSIM,SD", "--csv", data / "s.csv") == 0
    scores = {}
    for row in csv.DictReader((data / "s.csv").open()):
        scores.setdefault(row["method"], []).append([float(row[name]) for name in ("VIFF", "SSIM", "SD")])
    assert set(scores) == {"mean", *ranges}
    for name in ranges:
        np.testing.assert_allclose(scores[name], scores["mean"], rtol=1e-6)


def test_results_whose_range_nobody_names_are_refused(data, capsys):
    of_other_programs(data)
    assert run(data, "--fused", data / "f01") == 1
    assert "p0.tif: float32 values have no fixed black and white; give --range_fused" in capsys.readouterr().err
    assert run(data, "--fused", data / "ten_bits", "--metrics", "SD") == 0
    said = capsys.readouterr().err
    assert "where white is not 65535, give --range_fused LOW HIGH" in said and "folder" not in said


@pytest.mark.parametrize(
    "folder, window, fault",
    [
        ("f255", (0, 1), "go far beyond the range 0 1; --range_fused"),
        ("f01", (0, 255), "use hardly anything of the range 0 255; --range_fused"),
        ("tanh", (0, 255), "use hardly anything of the range 0 255; --range_fused"),
    ],
)
def test_a_range_that_results_cannot_have_is_refused(data, capsys, folder, window, fault):
    of_other_programs(data)
    assert run(data, "--fused", data / folder, "--range_fused", *window) == 1
    said = capsys.readouterr().err
    assert f"{folder}{os.sep}p0.tif: its values span" in said and fault in said


def test_results_that_a_range_clips_are_scored_with_a_notice(data, capsys):
    """-1 to 1 read at 0 to 1: nothing goes beyond by more than the width, but half the gray levels become black."""
    of_other_programs(data)
    assert run(data, "--fused", data / "tanh", "--range_fused", 0, 1, "--metrics", "SD") == 0
    assert re.search(r"tanh.p0\.tif: \d\d% of its values lie outside the range 0 1; its", capsys.readouterr().err)
    assert run(data, "--fused", data / "tanh", "--range_fused", -1, 1, "--metrics", "SD") == 0
    assert "outside the range" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, fault",
    [
        (["folder"], "--range_fused folder: expected [NAME] LOW HIGH"),
        (["1%", "99%"], "--range_fused 1% 99%: expected [NAME] LOW HIGH"),
        (["1", "0"], "--range_fused 1 0: expected [NAME] LOW HIGH"),
        (["other", "0", "1"], "--range_fused other 0 1: no results are called so; there are mean"),
        (["0", "1", "--range_fused", "0", "2"], "--range_fused 0 2: the range of all results is given twice"),
    ],
)
def test_what_is_no_range_of_results(data, capsys, words, fault):
    assert run(data, "--fused", data / "mean", "--range_fused", *words) == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize("side", [1, 10])  # a dead pixel of a camera would be filled
def test_results_with_holes_are_not_scored(data, capsys, side):
    of_other_programs(data)
    values = cv2.imread(str(data / "f01" / "p1.tif"), cv2.IMREAD_UNCHANGED)
    values[10 : 10 + side, 10 : 10 + side] = np.nan
    cv2.imwrite(str(data / "f01" / "p1.tif"), values)
    assert run(data, "--fused", data / "f01", "--range_fused", 0, 1) == 0
    assert f"p1.tif: {side**2} of its pixels hold no data" in capsys.readouterr().out


def test_files_that_are_given_twice_are_noticed(data, capsys):
    run(data, "--fused", data / "mean", f"again={data}/mean", "--reference", data / "mean")
    err = capsys.readouterr().err
    for name in ("mean", "again"):
        assert f"the results of {name} are the very files of true images, in {data}/mean; is that meant?" in err
    run(data, "--fused", data / "mean", f"again={data}/mean")
    assert "the results of again are the very files of results of mean" in capsys.readouterr().err
    run(data, "--fused", data / "mean")
    assert "very files" not in capsys.readouterr().err


def test_true_images_of_floating_point(data, capsys):
    of_other_programs(data)
    assert run(data, "--baselines", "average", "--reference", data / "f01") == 1
    assert "give --range_reference LOW HIGH" in capsys.readouterr().err
    truth = ("--reference", data / "f01", "--range_reference", 0, 1)
    assert run(data, "--fused", data / "mean", *truth, "--csv", data / "s.csv") == 0
    assert {row["PSNR_GT"] for row in csv.DictReader((data / "s.csv").open())} == {"inf"}
    assert run(data, "--fused", data / "mean", *truth[2:]) == 2
    assert "give --reference DIR as well" in capsys.readouterr().err
