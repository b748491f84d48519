"""The benchmarks of inference and of training run and report what they promise."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import benchmark
import benchmark_folder
import benchmark_metrics
import benchmark_stacks
import benchmark_training
import measuring
import numpy as np
import pytest
import torch
from skimage import data as photographs
from tiny import network, write_ivf
from torch.utils.flop_counter import FlopCounterMode

from adasffuse.data.synthesis import expose
from adasffuse.images.write import write_image
from adasffuse.models import mamba, scan_reference

ROOT = Path(__file__).parents[1]


def test_inference_benchmark(tmp_path, capsys, monkeypatch):
    """Measured in this process; test_benchmark_beside_references starts one for each network."""

    def here(command: list[str], what: str) -> dict:
        assert benchmark.main(command[2:]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    monkeypatch.setattr(benchmark, "run_alone", here)
    monkeypatch.setattr(benchmark, "keep_freed_memory", lambda one_arena: None)  # for the rest of the process
    out = tmp_path / "rows.json"
    arguments = ["--size", "small", "--resolutions", "40x24", "--precision", "float32", "--repeats", "2"]
    assert benchmark.main([*arguments, "--threads", "1", "--device", "cpu", "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["pixels"] == "1x40x24" and row["GFLOP"] > 0 and row["floor_s"] > 0
    assert {"median_s", "over_floor"} <= set(row) and "over_floor" in capsys.readouterr().out


def test_benchmark_of_the_metrics(capsys):
    assert benchmark_metrics.main(["--size", "48", "50", "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 14 and lines[10].startswith("VIFF ") and lines[-1].startswith("all ")


def test_colours_of_a_left_out_exposure(tmp_path, capsys):
    """Exposures of one photograph tell the colours of the middle one better than OpenCV's fusion of them."""
    image = photographs.chelsea()[:120, :160].astype(np.float32) / 255
    for number, stops in enumerate((-2.0, 0.0, 2.0)):
        channels = [expose(image[..., k], stops) for k in range(3)]
        write_image(tmp_path / "bracket" / f"{number}.png", np.stack(channels, axis=2).astype(np.float32))
    assert benchmark_stacks.main(["--colours", str(tmp_path)]) == 0
    ours, mertens = map(float, capsys.readouterr().out.splitlines()[-1].split()[1:3])
    assert 0 < ours < 0.7 * mertens


@pytest.mark.parametrize("option", ["--mef", "--mff", "--colours"])
def test_what_is_no_folder_of_stacks_is_named(tmp_path, capsys, option):
    main = benchmark_stacks.main
    assert main([option, str(tmp_path)]) == 1
    assert f"error: {tmp_path} holds no folders; each stack lies in one of its own" in capsys.readouterr().err
    (tmp_path / "bracket").mkdir()
    assert main([option, str(tmp_path)]) == 1
    assert f"error: {tmp_path / 'bracket'} holds 0 images" in capsys.readouterr().err


def test_references_have_the_published_sizes():
    """113 parameters, 26 thousand on 128 lines, 83 thousand; products counted by hand, at 640x480."""
    pixels, small, sources = 640 * 480, 170 * 128, torch.rand(2, 1, 1, 480, 640)
    wide, narrow = 49 * 3 * 64, 9 * 64 * 64
    expected = {
        "mmdrfuse-sized": (113, pixels * 9 * (2 * 4 + 4)),
        "mefnet-sized": (9 * 24 + 5 * 9 * 24 * 24 + 25, 2 * small * (9 * 24 + 5 * 9 * 24 * 24 + 24)),
        "ifcnn-sized": (wide + 2 * narrow + 195, pixels * (2 * (wide + narrow) + narrow + 192)),
    }
    for name, (parameters, products) in expected.items():
        model = benchmark.network(name).to("meta")
        assert sum(p.numel() for p in model.parameters()) == parameters
        with FlopCounterMode(display=False) as counter:
            assert model(sources.to("meta")).shape[-2:] == (480, 640)
        assert counter.get_total_flops() == 2 * products


def test_ratios_compare_equal_pixels_and_precision():
    rows = [
        {"size": size, "pixels": pixels, "precision": "float32", "median_s": seconds}
        for pixels, factor in (("1x8x8", 1), ("1x16x16", 10))
        for size, seconds in (("small", 6.0 * factor), *((name, 2.0 * factor) for name in benchmark.REFERENCES))
    ]
    rows[0]["median_s"] = 3.0
    small, large = benchmark.ratios(rows)
    assert [small[name] for name in benchmark.REFERENCES] == [1.5] * 3
    assert [large[name] for name in benchmark.REFERENCES] == [3.0] * 3


@pytest.mark.slow
def test_benchmark_beside_references(tmp_path, capsys):
    out = tmp_path / "rows.json"
    arguments = ["--size", "small", "--resolutions", "40x24", "--precision", "float32", "bfloat16", "--repeats", "1"]
    arguments += ["--references", "--threads", "1", "--device", "cpu", "--json", str(out)]
    assert benchmark.main(arguments) == 0
    assert len(json.loads(out.read_text())["rows"]) == 8
    assert capsys.readouterr().out.count("ifcnn-sized") == 3  # two rows, and a column of the ratios


@pytest.mark.slow
def test_folder_benchmark(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the process that measures
    write_ivf(tmp_path)
    arguments = ["--root_path", str(tmp_path), "--pairs", "4", "--rounds", "2", "--threads", "1", "--device", "cpu"]
    assert benchmark_folder.main(arguments) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("4 pairs of IVF, small in ") and ", 1 threads: start " in lines[0]
    pattern = r"network \d+\.\d+ s, folder \d+\.\d+ s, ratio \d+\.\d+"
    assert len(lines) == 3 and all(re.fullmatch(pattern, line) for line in lines[1:])
    (tmp_path / "IVF/visible/2.png").write_bytes(b"broken")
    assert benchmark_folder.main(arguments) == 1
    assert "b/000001.png: not a readable image" in capfd.readouterr().err


@pytest.mark.slow
def test_training_benchmark_of_one_and_two_processes(tmp_path, capsys):
    out = tmp_path / "rows.json"
    arguments = ["--size", "small", "--precision", "float32", "--crop", "16", "--batch", "2", "--threads", "1"]
    arguments += ["--warmup", "1", "--repeats", "2", "--processes", "2", "--images", "40x24", "--device", "cpu"]
    assert benchmark_training.main([*arguments, "--json", str(out)]) == 0
    one, two = json.loads(out.read_text())["rows"]
    for row, processes in ((one, 1), (two, 2)):
        assert row["processes"] == processes and row["batch"] == 2
        assert sum(row[name] for name in benchmark_training.PARTS) == pytest.approx(1)
        assert {"patches_s", "step_s"} <= set(row)
    assert one["scaling"] == 1 and "scaling" in two
    assert capsys.readouterr().out.count("small") == 2


def test_impossible_options_are_named_before_anything_is_measured(capsys):
    assert benchmark_training.main(["--size", "small", "--crop", "64", "8"]) == 2
    assert "error: data.crop must lie in 16 .. 4096, got 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("ablate --opt x.json --jobs -1", "argument --jobs: -1: expected a whole number, 0 or more"),
        ("benchmark --resolutions 640", "argument --resolutions: 640: expected WIDTHxHEIGHT, e.g. 640x480"),
        ("benchmark_folder --pairs 0", "argument --pairs: 0: expected a whole number, 1 or more"),
        ("benchmark_registration --checks", "nothing to register: give --root_path, --rendered, --heads or --fields"),
        ("benchmark_registration --fields x", "--fields and --clean go together"),
        ("benchmark_stacks --align similarity", "nothing to measure: give --mef, --mff, --colours, --moving or"),
        ("torture --seconds 0", "argument --seconds: 0: expected a number above 0"),
    ],
)
def test_arguments_that_measure_nothing_are_refused(capsys, arguments, message):
    name, *words = arguments.split()
    with pytest.raises(SystemExit) as ended:
        import_module(name).main(words)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_a_measurement_that_fails_says_why():
    with pytest.raises(SystemExit, match=r"measuring it failed:\n.*no such thing"):
        measuring.run_alone([sys.executable, "-c", "raise SystemExit('no such thing')"], "it")


def test_the_least_work_of_a_network_by_hand():
    """A 1x1 convolution and a transform: what they read and write, and two operations per product."""
    x, weight = torch.rand(1, 4, 8, 8), torch.rand(6, 4, 1, 1)
    gflop, gigabytes = measuring.least_work(lambda: torch.fft.rfft(torch.nn.functional.conv2d(x, weight).sigmoid()))
    assert gflop * 1e9 == pytest.approx(2 * 4 * 6 * 64)
    assert gigabytes * 1e9 == pytest.approx(4 * (4 * 64 + 4 * 6 + 6 * 64) + 4 * 6 * 64 + 8 * 6 * 8 * 5)


def test_a_scan_counts_as_one_pass_over_its_tensors(monkeypatch):
    model, sources = network(), torch.rand(2, 1, 1, 16, 16)
    _, gigabytes = measuring.least_work(lambda: model(sources))
    monkeypatch.setattr(mamba, "scan", scan_reference)
    _, other = measuring.least_work(lambda: model(sources))
    assert gigabytes == other  # whatever happens inside


def test_the_floor_is_the_larger_of_operations_and_bytes():
    best = {"float32": 100.0, "bfloat16": 1000.0, "copy": 10.0}
    assert measuring.against_floor(0.8, "bfloat16", 100.0, 4.0, best) == {"bound": "GB", "floor_s": 0.4, "share": 0.5}
    assert measuring.against_floor(4.0, "float32", 100.0, 4.0, best) == {"bound": "FLOP", "floor_s": 1.0, "share": 0.25}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_benchmarks_on_the_gpu(tmp_path, capsys):
    arguments = ["--size", "small", "--precision", "bfloat16", "--repeats", "2", "--device", "cuda"]
    out = tmp_path / "rows.json"
    assert benchmark.main([*arguments, "--resolutions", "64x48", "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert "share" in row and "share" in capsys.readouterr().out
    arguments += ["--crop", "32", "--images", "64x48", "--json", str(out)]
    assert benchmark_training.main(arguments) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert "share" in row and "share" in capsys.readouterr().out
