"""scripts/release_weights.py: what is released is what was scored, and the card says all that it has to."""

import json
from pathlib import Path

import mix_weights
import numpy as np
import pytest
import release_weights
import score_weights
import torch
from safetensors.torch import load_file
from tiny import SHAPE, network, texture, write_ivf, write_weights

from adasffuse.images.write import write_image
from adasffuse.models import weights as package_weights
from adasffuse.models.mamba import Mixer
from adasffuse.models.spectral import SpectralFilter
from adasffuse.models.wavelet import AdaIWAT, AdaWAT
from adasffuse.models.weights import file_sha256, load_weights, released_weights
from adasffuse.training.options import parse_options

pytestmark = pytest.mark.filterwarnings("ignore:.*undefined for these")


@pytest.fixture
def release(tmp_path, monkeypatch, capsys):
    """Release a tiny run of some tasks into an empty package folder; file and card."""
    package = tmp_path / "package"
    (package / "weights").mkdir(parents=True)
    monkeypatch.setattr(release_weights, "RELEASED", package / "weights")
    monkeypatch.setattr(package_weights.resources, "files", lambda name: package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(tasks: tuple[str, ...], datasets: tuple[str, ...], *arguments: str) -> tuple[Path, dict]:
        parts = [{"task": t, "data": {"root_path": f"{tmp_path}/train", "datasets": [t.upper()]}} for t in tasks]
        train = {"steps": 5, "init": f"{tmp_path}/checkpoint/before/weights.safetensors"}
        options = parse_options({"name": "r", "size": "small", "model": SHAPE, "parts": parts, "train": train})
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        write_weights(run / "weights.safetensors", options.task)
        (run / "options.json").write_text(json.dumps(options.to_dict()))
        common = [
            "--run",
            run,
            "--score_root",
            tmp_path / "data",
            "--workers",
            1,
            "--data",
            "pairs",
            "--limits",
            "Tiny.",
        ]
        status = release_weights.main([str(a) for a in (*common, "--datasets", *datasets, *arguments)])
        assert status == 0, capsys.readouterr().err
        path = released_weights(options.task, "small")  # the SHA-256 is checked here
        return path, json.loads(path.with_suffix(".json").read_text())

    return call


def test_the_card_of_one_task(release, tmp_path):
    write_ivf(tmp_path / "data", ("1",), (72, 80))
    path, card = release(("ivf",), ("IVF",), "--hardware", "2 cores")
    assert path.read_bytes() == (tmp_path / "run/weights.safetensors").read_bytes()
    assert card["sha256"] == file_sha256(path) and card["task"] == "ivf" and card["size"] == "small"
    assert card["parameters"] == sum(p.numel() for p in network().parameters())
    assert card["record"] == {"steps": 0, "seed": 0} and card["options"]["train"]["steps"] == 5
    assert (card["data"], card["hardware"], card["limits"]) == ("pairs", "2 cores", "Tiny.")
    assert "RoadScene" in card["data_licence"] and "research terms" in card["licence"]
    assert card["convention"] == "adasffuse" and card["stored_as"] == "float32"
    assert {"AdaSFFuse", "gff", "mertens", "mean_rank", "place"} <= card["scores"]["IVF"].keys()
    assert card["options"]["train"]["init"] == "before/weights.safetensors"
    assert str(tmp_path) not in json.dumps(card)
    assert [p.name for p in sorted(path.parent.iterdir())] == ["ivf_small.json", "ivf_small.safetensors"]


def test_general_weights_are_scored_on_every_task(release, tmp_path):
    write_ivf(tmp_path / "data", ("1",), (72, 80))
    for number, folder in enumerate(("MFF/imageA", "MFF/imageB", "MIF/PET-MRI/PET", "MIF/PET-MRI/MRI")):
        image = texture(72, 80, seed=number)
        colour = np.dstack([image, image // 2, image // 4])
        write_image(tmp_path / "data" / folder / "1.png", colour if folder.endswith("PET") else image)
    path, card = release(("ivf", "mff", "mif"), ("IVF", "MFF", "MIF/PET-MRI"))
    assert path.name == "general_small.safetensors" and card["task"] == "general"
    assert list(card["scores"]) == ["IVF", "MFF", "MIF/PET-MRI"]
    assert all(name in card["data_licence"] for name in ("RoadScene", "MFFW", "AANLIB"))
    assert card["hardware"] == "not recorded" and card["scores"]["MIF/PET-MRI"]["chroma"]["within_levels"] == 1
    assert card["limits"].startswith("Tiny. The PET-MRI split is not subject-independent")


def test_hardware_and_data_come_from_the_manifest(release, tmp_path):
    write_ivf(tmp_path / "data", ("1",), (72, 80))
    hardware = {"device": "x86_64", "cpu_cores": 2, "threads": 1, "processes": 1}
    start = {"hardware": hardware, "packages": {"torch": "2.x"}, "git_commit": "abc"}
    (tmp_path / "run").mkdir()
    (tmp_path / "run/manifest.json").write_text(json.dumps({"starts": [start], "data": {"sha256": "12", "files": []}}))
    _, card = release(("ivf",), ("IVF",))
    assert card["hardware"] == "x86_64, 2 CPU cores, 1 process(es)"
    assert (card["torch"], card["git_commit"], card["data_sha256"]) == ("2.x", "abc", "12")


def test_half_precision(release, tmp_path):
    """Smaller, almost the same image, and what must stay float32 is bit for bit what it was."""
    write_ivf(tmp_path / "data", ("1",), (72, 80))
    path, card = release(("ivf",), ("IVF",), "--half")
    state, whole = load_file(path), network().state_dict()
    names = {module: name for name, module in network().named_modules()}
    kept = set()
    for module, name in names.items():
        for kind, parameters in (
            (Mixer, ("A_log", "dt_bias", "D")),
            (SpectralFilter, ("weight",)),
            (AdaWAT, ("low_pass", "high_pass")),
            (AdaIWAT, ("low_pass", "high_pass")),
        ):
            if isinstance(module, kind):
                kept |= {f"{name}.{parameter}" for parameter in parameters}
    assert {name for name, value in state.items() if value.dtype == torch.float32} == kept and len(kept) >= 16
    assert {state[name].dtype for name in state.keys() - kept} == {torch.float16}
    assert all(torch.equal(state[name], whole[name]) for name in kept)
    assert card["stored_as"].startswith("float16") and card["record"] == {"steps": 0, "seed": 0}
    assert path.stat().st_size < (tmp_path / "run/weights.safetensors").stat().st_size
    half, task = load_weights(path)
    a, b = torch.rand(2, 1, 1, 40, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert task == "ivf" and (half(a, b) - network()(a, b)).abs().max() < 2e-3


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    model = network()
    with torch.no_grad():
        model.embed.bias[0] = 1e6
    package_weights.save_weights(tmp_path / "w", model.state_dict(), model.options, "ivf")
    with pytest.raises(ValueError, match=r"embed\.bias exceeds half precision; release it without --half"):
        release_weights.write_half(tmp_path / "w", tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_nothing_is_released_where_scoring_fails(release, tmp_path, monkeypatch, capsys):
    write_ivf(tmp_path / "data", ("1",), (72, 80))
    path, _ = release(("ivf",), ("IVF",))
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    arguments = ["--run", tmp_path / "run", "--score_root", tmp_path / "data", "--datasets", "MEF"]
    assert release_weights.main([str(a) for a in (*arguments, "--data", "x", "--limits", "y", "--half")]) == 1
    assert "error: no source folders for MEF" in capsys.readouterr().err
    assert before == (path.read_bytes(), path.with_suffix(".json").read_bytes())


def test_weights_are_not_released_without_their_card(release, tmp_path, monkeypatch, capsys):
    write_ivf(tmp_path / "data", ("1",), (72, 80))
    path, _ = release(("ivf",), ("IVF",))
    before = path.read_bytes()
    monkeypatch.setattr(release_weights, "score", lambda args, weights: {"scores": {}})
    path.with_suffix(".json").unlink()
    path.with_suffix(".json").mkdir()
    arguments = ["--run", tmp_path / "run", "--score_root", tmp_path / "data", "--datasets", "IVF"]
    assert release_weights.main([str(a) for a in (*arguments, "--data", "x", "--limits", "y", "--half")]) == 1
    assert "not a regular file" in capsys.readouterr().err and path.read_bytes() == before


def test_a_file_made_from_released_weights_keeps_their_card(release, tmp_path, capsys):
    write_ivf(tmp_path / "data", ("1",), (72, 80))
    path, before = release(("ivf",), ("IVF",))
    model, _ = load_weights(path)
    with torch.no_grad():
        model.embed.bias += 0.01
    record = {"steps": 0, "seed": 0, "mean_of": []}
    package_weights.save_weights(tmp_path / "other.safetensors", model.state_dict(), model.options, "ivf", **record)
    arguments = ["--of", path.stem, "--file", tmp_path / "other.safetensors", "--score_root", tmp_path / "data"]
    arguments += ["--datasets", "IVF", "--data", "pairs, then mixed", "--limits", "Tiny."]
    assert release_weights.main([str(a) for a in arguments]) == 0
    after = json.loads(path.with_suffix(".json").read_text())
    assert after["sha256"] == file_sha256(path) != before["sha256"]
    assert (after["record"], after["data"]) == (record, "pairs, then mixed")
    assert {k: after[k] for k in ("options", "hardware", "licence")} == {
        k: before[k] for k in ("options", "hardware", "licence")
    }
    assert mix_weights.main([str(path), "--residual", "0", "--out", str(tmp_path / "other.safetensors")]) == 0
    assert release_weights.main([str(a) for a in arguments]) == 0
    bare = json.loads(path.with_suffix(".json").read_text())
    assert load_weights(path)[0].decode is None and bare["parameters"] < after["parameters"]
    package_weights.save_weights(tmp_path / "other.safetensors", model.state_dict(), model.options, "mef")
    assert release_weights.main([str(a) for a in arguments]) == 2
    assert "is for task 'mef'" in capsys.readouterr().err
    write_weights(tmp_path / "other.safetensors", "ivf", channels=16)
    assert release_weights.main([str(a) for a in arguments]) == 2
    assert "holds a network of another shape" in capsys.readouterr().err
    assert release_weights.main([str(a) for a in ("--of", "ivf_large", *arguments[2:])]) == 2
    assert f"--of ivf_large: no such released weights; there are {path.stem}" in capsys.readouterr().err
    assert json.loads(path.with_suffix(".json").read_text()) == bare


def test_scores_on_the_card_are_those_of_score_weights(release, tmp_path):
    write_ivf(tmp_path / "data", ("1",), (72, 80))
    path, card = release(("ivf",), ("IVF",), "--half")
    common = ["--weights", path, "--root_path", tmp_path / "data", "--datasets", "IVF", "--workers", 1]
    assert score_weights.main([str(a) for a in (*common, "--json", tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["sets"] == card["scores"]
