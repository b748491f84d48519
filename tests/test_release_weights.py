"""scripts/release_weights.py: the card of a released file says all that it has to."""

import json
from pathlib import Path

import mix_weights
import pytest
import release_weights
import score_weights
import torch
import update_cards
from safetensors.torch import load_file
from tiny import SHAPE, network, write_ivf, write_weights

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

    def call(tasks: tuple[str, ...], *arguments: str) -> tuple[Path, dict]:
        parts = [{"task": t, "data": {"root_path": f"{tmp_path}/train", "datasets": [t.upper()]}} for t in tasks]
        train = {"steps": 5, "init": f"{tmp_path}/checkpoint/before/weights.safetensors"}
        options = parse_options({"name": "r", "size": "small", "model": SHAPE, "parts": parts, "train": train})
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        write_weights(run / "weights.safetensors", options.task)
        (run / "options.json").write_text(json.dumps(options.to_dict()))
        status = release_weights.main(["--run", str(run), "--data", "pairs", "--limits", "Tiny.", *arguments])
        assert status == 0, capsys.readouterr().err
        path = released_weights(options.task, "small")  # the SHA-256 is checked here
        return path, json.loads(path.with_suffix(".json").read_text())

    return call


def test_the_card_of_one_task(release, tmp_path):
    path, card = release(("ivf",), "--hardware", "2 cores")
    assert path.read_bytes() == (tmp_path / "run/weights.safetensors").read_bytes()
    assert card["sha256"] == file_sha256(path) and card["task"] == "ivf" and card["size"] == "small"
    assert card["parameters"] == sum(p.numel() for p in network().parameters())
    assert card["record"] == {"steps": 0, "seed": 0} and card["options"]["train"]["steps"] == 5
    assert (card["data"], card["hardware"], card["limits"]) == ("pairs", "2 cores", "Tiny.")
    assert "RoadScene" in card["data_licence"] and "research terms" in card["licence"]
    assert card["stored_as"] == "float32" and card["scores"] == {}
    assert card["options"]["train"]["init"] == "before/weights.safetensors"
    assert str(tmp_path) not in json.dumps(card)
    assert [p.name for p in sorted(path.parent.iterdir())] == ["ivf_small.json", "ivf_small.safetensors"]


def test_the_card_of_general_weights(release):
    path, card = release(("ivf", "mff", "mif"))
    assert path.name == "general_small.safetensors" and card["task"] == "general"
    assert all(name in card["data_licence"] for name in ("RoadScene", "MFFW", "AANLIB"))
    assert card["hardware"] == "not recorded"
    assert card["limits"].startswith("Tiny. The PET-MRI split is not subject-independent")


def test_hardware_and_data_come_from_the_manifest(release, tmp_path):
    hardware = {"device": "x86_64", "cpu_cores": 2, "threads": 1, "processes": 1}
    start = {"hardware": hardware, "packages": {"torch": "2.x"}, "git_commit": "abc"}
    (tmp_path / "run").mkdir()
    (tmp_path / "run/manifest.json").write_text(json.dumps({"starts": [start], "data": {"sha256": "12", "files": []}}))
    _, card = release(("ivf",))
    assert card["hardware"] == "x86_64, 2 CPU cores, 1 process(es)"
    assert (card["torch"], card["git_commit"], card["data_sha256"]) == ("2.x", "abc", "12")


def test_half_precision(release, tmp_path):
    """Smaller, almost the same image, and what must stay float32 is bit for bit what it was."""
    path, card = release(("ivf",), "--half")
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


def test_weights_are_not_released_without_their_card(release, tmp_path, capsys):
    path, _ = release(("ivf",))
    before = path.read_bytes()
    path.with_suffix(".json").unlink()
    path.with_suffix(".json").mkdir()
    arguments = ["--run", str(tmp_path / "run"), "--data", "x", "--limits", "y", "--half"]
    assert release_weights.main(arguments) == 1
    assert "not a regular file" in capsys.readouterr().err and path.read_bytes() == before


def test_a_file_made_from_released_weights_keeps_their_card(release, tmp_path, capsys):
    path, before = release(("ivf",))
    model, _ = load_weights(path)
    with torch.no_grad():
        model.embed.bias += 0.01
    record = {"steps": 0, "seed": 0, "mean_of": []}
    package_weights.save_weights(tmp_path / "other.safetensors", model.state_dict(), model.options, "ivf", **record)
    arguments = ["--of", path.stem, "--file", str(tmp_path / "other.safetensors")]
    arguments += ["--data", "pairs, then mixed", "--limits", "Tiny."]
    assert release_weights.main(arguments) == 0
    after = json.loads(path.with_suffix(".json").read_text())
    assert after["sha256"] == file_sha256(path) != before["sha256"]
    assert (after["record"], after["data"]) == (record, "pairs, then mixed")
    assert {k: after[k] for k in ("options", "hardware", "licence")} == {
        k: before[k] for k in ("options", "hardware", "licence")
    }
    assert mix_weights.main([str(path), "--residual", "0", "--out", str(tmp_path / "other.safetensors")]) == 0
    assert release_weights.main(arguments) == 0
    bare = json.loads(path.with_suffix(".json").read_text())
    assert load_weights(path)[0].decode is None and bare["parameters"] < after["parameters"]
    package_weights.save_weights(tmp_path / "other.safetensors", model.state_dict(), model.options, "mef")
    assert release_weights.main(arguments) == 2
    assert "is for task 'mef'" in capsys.readouterr().err
    write_weights(tmp_path / "other.safetensors", "ivf", channels=16)
    assert release_weights.main(arguments) == 2
    assert "holds a network of another shape" in capsys.readouterr().err
    assert release_weights.main(["--of", "ivf_large", *arguments[2:]]) == 2
    assert f"--of ivf_large: no such released weights; there are {path.stem}" in capsys.readouterr().err
    assert json.loads(path.with_suffix(".json").read_text()) == bare


def test_scores_reach_the_card_of_a_file_and_go_when_it_is_replaced(release, tmp_path, monkeypatch, capsys):
    root = write_ivf(tmp_path / "data", ("1",), (72, 80))
    path, _ = release(("ivf",), "--half")
    monkeypatch.setattr(update_cards, "RELEASED", path.parent)
    common = ["--weights", path, "--root_path", root, "--datasets", "IVF", "--workers", 1, "--no_cache"]
    assert score_weights.main([str(a) for a in (*common, "--json", tmp_path / "s.json")]) == 0
    assert update_cards.main([str(tmp_path / "s.json")]) == 0, capsys.readouterr().err
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["scores"] == json.loads((tmp_path / "s.json").read_text())["sets"] and card["convention"] == "adasffuse"
    arguments = ["--of", path.stem, "--file", str(tmp_path / "run/weights.safetensors"), "--data", "x", "--limits", "y"]
    assert release_weights.main(arguments) == 0
    assert json.loads(path.with_suffix(".json").read_text())["scores"] == {}
