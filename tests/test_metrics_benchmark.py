"""The benchmark's naive formulations agree with the metrics (it exits with 1 otherwise)."""

import importlib.util
from pathlib import Path


def test_benchmark_runs_and_agrees(capsys):
    path = Path(__file__).resolve().parents[1] / "scripts" / "benchmark_metrics.py"
    spec = importlib.util.spec_from_file_location("benchmark_metrics", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    assert benchmark.main(["--size", "64", "70", "--repeats", "1"]) == 0
    assert "VIFF" in capsys.readouterr().out
