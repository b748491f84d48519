"""Networks as folders, read without any network; the Hub itself is played by a stand-in."""

import json
import re
import socket
import sys
from pathlib import Path

import pytest
import torch
from tiny import network

from adasffuse.inference import load_fuser
from adasffuse.installation import install_command
from adasffuse.models import AdaSFFuse
from adasffuse.models.weights import WeightsError, load_weights, read_record

huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub (extra 'hub')")


@pytest.fixture(autouse=True)
def no_connections(monkeypatch):
    def refuse(*_):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_saved_folder_gives_the_network_its_task_and_its_record(tmp_path):
    model = network(patch=2)
    model.save_pretrained(tmp_path / "mine", "mef", {"steps": 7})
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "README.md",
        "config.json",
        "weights.safetensors",
    ]
    assert json.loads((tmp_path / "mine/config.json").read_text())["model"]["patch"] == 2
    loaded = AdaSFFuse.from_pretrained(tmp_path / "mine")
    assert same(loaded, model) and loaded.options == model.options and not loaded.training
    assert load_weights(tmp_path / "mine/weights.safetensors")[1] == "mef"
    assert read_record(tmp_path / "mine/weights.safetensors") == {"steps": 7}
    assert load_fuser("mef", weights=tmp_path / "mine", device="cpu").task.id == "mef"
    with pytest.raises(WeightsError, match="was trained for task 'mef', not 'ivf'"):
        load_fuser("ivf", weights=tmp_path / "mine")


def test_a_task_that_no_fuser_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown task 'ifv'; choose one of general, ivf"):
        network().save_pretrained(tmp_path / "mine", "ifv")
    assert not (tmp_path / "mine").exists()


def test_a_network_that_was_loaded_keeps_its_task(tmp_path):
    network().save_pretrained(tmp_path / "first", "mef")
    AdaSFFuse.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    load_fuser("mef", weights=tmp_path / "first").model.save_pretrained(tmp_path / "third")
    network().save_pretrained(tmp_path / "new")
    assert load_weights(tmp_path / "third/weights.safetensors")[1] == "mef"
    assert [load_weights(tmp_path / name / "weights.safetensors")[1] for name in ("second", "new")] == [
        "mef",
        "general",
    ]


def test_a_card_that_is_there_stays(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    network().save_pretrained(tmp_path, "general")
    assert (tmp_path / "README.md").read_text() == "mine"


def test_released_weights_by_name():
    assert AdaSFFuse.from_pretrained("general_tiny").options.channels == 16


def test_a_damaged_folder_is_refused(tmp_path):
    network().save_pretrained(tmp_path, "general")
    path = tmp_path / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="is damaged: its tensors do not have the digest"):
        AdaSFFuse.from_pretrained(tmp_path)


def test_the_hub_is_asked_for_names_of_two_parts_only(monkeypatch, tmp_path):
    asked = []

    def download(name: str, file: str, **options) -> str:
        asked.append((name, file, options["revision"]))
        network().save_pretrained(tmp_path / "cache", "general")
        return str(tmp_path / "cache" / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    assert same(AdaSFFuse.from_pretrained("lab/fusion", revision="v1"), network())
    assert load_fuser("mff", weights="lab/fusion", device="cpu").task.id == "mff"
    assert asked == [("lab/fusion", "weights.safetensors", "v1"), ("lab/fusion", "weights.safetensors", None)]
    (tmp_path / "runs").mkdir()
    for path in ("runs/ivf", "lab/w.safetensors", "/lab/fusion", "general_huge", "a/b/c"):
        with pytest.raises(WeightsError, match=f"weights file {path} does not exist"):
            AdaSFFuse.from_pretrained(path)
    assert len(asked) == 2


def test_without_a_connection_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    with pytest.raises(
        WeightsError, match=r"lab/fusion does not exist; .* nor could weights.safetensors of .* be loaded"
    ) as e:
        AdaSFFuse.from_pretrained("lab/fusion", cache_dir=tmp_path, local_files_only=True)
    assert "\n" not in str(e.value)


def test_without_the_package_folders_work_and_the_hub_names_the_command(monkeypatch, tmp_path):
    network().save_pretrained(tmp_path / "mine", "general")
    monkeypatch.delitem(sys.modules, "huggingface_hub", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Absent(), *sys.meta_path])
    assert same(AdaSFFuse.from_pretrained(tmp_path / "mine"), network())
    with pytest.raises(WeightsError, match=re.escape(install_command("hub")) + "$"):
        AdaSFFuse.from_pretrained("lab/fusion")
    with pytest.raises(ModuleNotFoundError, match=re.escape(install_command("hub")) + "$"):
        network().push_to_hub("lab/fusion", "general")


class _Absent:
    """Finds no `huggingface_hub`."""

    def find_spec(self, name, path=None, target=None):
        if name == "huggingface_hub":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_uploading_sends_the_saved_folder(monkeypatch):
    sent = {}

    class Api:
        def __init__(self, token: str | None) -> None:
            sent["token"] = token

        def create_repo(self, name: str, **options) -> None:
            sent["made"] = name, options

        def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> str:
            sent["files"] = sorted(path.name for path in Path(folder_path).iterdir())
            sent["model"] = AdaSFFuse.from_pretrained(folder_path)
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert network().push_to_hub("lab/fusion", "ivf", private=True, token="t") == "https://hub/lab/fusion"
    assert sent["token"] == "t" and sent["made"] == ("lab/fusion", {"private": True, "exist_ok": True})
    assert sent["files"] == ["README.md", "config.json", "weights.safetensors"] and same(sent["model"], network())
