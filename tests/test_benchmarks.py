"""The benchmarks of inference and of training run and report what they promise."""

import json
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    """Import one of the scripts, which find each other as they do when started."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return import_module


def test_inference_benchmark(script, tmp_path, capsys):
    out = tmp_path / "rows.json"
    arguments = ["--size", "small", "--resolutions", "40x24", "--precision", "float32", "--repeats", "2"]
    assert script("benchmark").main([*arguments, "--threads", "1", "--device", "cpu", "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["pixels"] == "1x40x24" and row["median_s"] > 0 and row["GFLOP"] > 0
    assert row["over_floor"] == pytest.approx(row["median_s"] / row["floor_s"])
    assert "over_floor" in capsys.readouterr().out


def test_training_benchmark_of_one_and_two_processes(script, tmp_path, capsys):
    benchmark, out = script("benchmark_training"), tmp_path / "rows.json"
    arguments = ["--size", "small", "--precision", "float32", "--crop", "16", "--batch", "2", "--threads", "1"]
    arguments += ["--warmup", "1", "--repeats", "2", "--processes", "2", "--pictures", "40x24", "--device", "cpu"]
    assert benchmark.main([*arguments, "--json", str(out)]) == 0
    one, two = json.loads(out.read_text())["rows"]
    for row, processes in ((one, 1), (two, 2)):
        assert row["processes"] == processes and row["batch"] == 2
        assert sum(row[name] for name in benchmark.PARTS) == pytest.approx(1)
        assert all(0 < row[name] < 1 for name in benchmark.PARTS)
        assert row["patches_s"] == pytest.approx(2 * processes / row["step_s"])
    assert one["scaling"] == 1 and two["scaling"] == pytest.approx(two["patches_s"] / (2 * one["patches_s"]))
    assert capsys.readouterr().out.count("small") == 2


def test_a_timed_function_is_put_back(script):
    class Owner:
        def twice(self, number: int) -> int:
            return 2 * number

    owner, spent = Owner(), Counter()
    with script("benchmark_training").timed(owner, "twice", spent, "work", torch.device("cpu")):
        assert owner.twice(4) == 8
    assert spent["work"] > 0 and vars(owner) == {}


def test_impossible_options_are_named_before_anything_is_measured(script, capsys):
    assert script("benchmark_training").main(["--size", "small", "--crop", "64", "8"]) == 1
    assert "error: data.crop must be at least 16 pixels, got 8" in capsys.readouterr().err


def test_a_measurement_that_fails_says_why(script):
    with pytest.raises(SystemExit, match=r"measuring it failed:\n.*no such thing"):
        script("measuring").run_alone([sys.executable, "-c", "raise SystemExit('no such thing')"], "it")
