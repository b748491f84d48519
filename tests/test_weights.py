"""Weights files: what was saved comes back, and nothing else is ever taken for weights."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import SHAPE, network, write_weights

from adasffuse.models import RELEASED_SIZES, SIZES, ModelOptions, weights
from adasffuse.models.weights import (
    WeightsError,
    digest,
    file_sha256,
    find_weights,
    load_weights,
    read_record,
    released_names,
    released_weights,
    save_weights,
)
from adasffuse.tasks import TASKS


def rewrite(path, change_state=lambda state: state, **header):
    """The same file with other tensors, their digest, or header entries (None removes one)."""
    with safe_open(path, framework="pt") as file:
        state = change_state({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (not a dict)
        header = {**file.metadata(), "digest": digest(state), **header}
    save_file(state, path, metadata={k: v for k, v in header.items() if v is not None})
    return path


@pytest.fixture
def path(tmp_path):
    return write_weights(tmp_path / "w.safetensors", "mif", output="direct")


def test_the_same_weights_are_the_same_bytes(tmp_path):
    state, options = network().state_dict(), network().options
    for name in "ab":
        save_weights(tmp_path / name, state, options, "ivf", steps=3, name="Zürich", seed=0)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes() and int.from_bytes(content[:8], "little") % 8 == 0
    assert read_record(tmp_path / "a") == {"steps": 3, "name": "Zürich", "seed": 0}
    assert all(torch.equal(value, state[name]) for name, value in load_weights(tmp_path / "a")[0].state_dict().items())


def test_round_trip(path):
    model, task = load_weights(path)
    expected = network(output="direct")
    assert task == "mif" and model.options == ModelOptions(**SHAPE, output="direct") and not model.training
    assert model.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(v, expected.state_dict()[k]) for k, v in model.state_dict().items())
    a, b = torch.rand(2, 1, 1, 9, 14)
    with torch.no_grad():
        assert torch.equal(model(a, b), expected(a, b))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_header_keeps_the_record(tmp_path):
    model = network()
    save_weights(tmp_path / "w", model.state_dict(), model.options, "ivf", steps=12, seed=3, run="r")
    with safe_open(tmp_path / "w", framework="pt") as file:
        assert json.loads(file.metadata()["record"]) == {"steps": 12, "seed": 3, "run": "r"}


def test_half_precision_files_load_as_float32(path):
    model, _ = load_weights(rewrite(path, lambda state: {k: v.half() for k, v in state.items()}))
    assert {v.dtype for v in model.state_dict().values()} == {torch.float32}


def test_loaded_weights_do_not_change_with_their_file(path):
    model, _ = load_weights(path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with open(path, "rb+") as file:  # in place, as cp does
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_failed_save_keeps_the_older_file(path, monkeypatch):
    before = path.read_bytes()

    def full_disk(temporary, data):
        temporary.touch()
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_weights(path, network().state_dict(), ModelOptions(**SHAPE), "mif")
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"weights file .*none\.safetensors does not exist"):
        load_weights(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, 2000, -1])
def test_truncated_file(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        WeightsError, match=r"w\.safetensors is no whole safetensors file \(.+\); a checkpoint or a broke"
    ):
        load_weights(path)


def test_a_checkpoint_is_no_weights_file(path):
    torch.save(network().state_dict(), path)
    with pytest.raises(WeightsError, match=r"no whole safetensors file .* Training writes weights\.safetensors beside"):
        load_weights(path)


def test_a_foreign_safetensors_file(path):
    save_file({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"w\.safetensors was not written by AdaSFFuse"):
        load_weights(path)


def wider(state):
    return {k: torch.cat([v, v]) if k == "embed.bias" else v for k, v in state.items()}


def without_bias(state):
    return {k: v for k, v in state.items() if k != "embed.bias"}


def with_another(state):
    return {**state, "extra": torch.zeros(1)}


@pytest.mark.parametrize(
    "change, header, reason",
    [
        (wider, {}, r"embed.bias has the shape \[16\] instead of \[8\]"),
        (without_bias, {}, "missing tensors embed.bias"),
        (with_another, {}, "unexpected tensors extra"),
        (dict, {"model": json.dumps({**SHAPE, "channels": 16, "output": "direct"})}, "has the shape .* instead of"),
        (dict, {"model": json.dumps({**SHAPE, "channels": 7})}, "model.channels must be a multiple of 4"),
        (dict, {"model": json.dumps({"chanels": 8})}, "unknown option model.chanels; did you mean 'channels'"),
        (dict, {"model": "[1]"}, "model must be a JSON object, got list"),
        (dict, {"model": "{"}, "Expecting property name"),
        (dict, {"model": None}, "'model'"),
        (dict, {"task": None}, "'task'"),
        (dict, {"task": "\x1b[31m"}, "unknown task"),
        (
            dict,
            {"model": json.dumps({**SHAPE, "full_blocks": 10**9})},
            "model.full_blocks must lie in 0 .. 16, got 10",
        ),
        (dict, {"model": json.dumps({**SHAPE, "channels": 10**12})}, "model.channels must lie in 4 .. 512"),
        (dict, {"model": json.dumps({**SHAPE, "channels": "8"})}, "model.channels must be int, got '8'"),
        (dict, {"model": "[" * 10**5}, "recursion"),
        (lambda s: {k: v.to(torch.float8_e4m3fn) for k, v in s.items()}, {}, "is F8_E4M3; weights are F32, F16, BF16"),
        (lambda s: {k: v.double() for k, v in s.items()}, {}, "is F64; weights are F32, F16, BF16"),
        (lambda s: {k: v.int() for k, v in s.items()}, {}, "is I32; weights are F32, F16, BF16"),
    ],
)
def test_a_file_that_does_not_fit_its_own_header(path, change, header, reason):
    rewrite(path, change, **header)
    with pytest.raises(WeightsError, match=rf"(?s)w\.safetensors does not fit the network that its header .*{reason}"):
        load_weights(path)


def test_a_file_of_an_earlier_version_may_name_options_that_do_nothing(path):
    rewrite(path, model=json.dumps({**SHAPE, "output": "direct", "dark": True, "targets": True}))
    assert load_weights(path)[0].options == ModelOptions(**SHAPE, output="direct")


def test_weights_of_a_diverged_run(path):
    rewrite(path, lambda state: {**state, "embed.bias": torch.full_like(state["embed.bias"], torch.nan)})
    with pytest.raises(WeightsError, match="holds values that are not finite; the training run diverged"):
        load_weights(path)


def test_a_changed_tensor_is_noticed(path):
    """One bit of one parameter, in a file that is whole in every other way."""
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.safetensors is damaged: its tensors do not have the digest"):
        load_weights(path)


def test_a_file_without_a_digest(path):
    rewrite(path, digest=None)
    with pytest.raises(WeightsError, match=r"w\.safetensors states no digest of its tensors"):
        load_weights(path)


def test_a_digest_depends_on_names_types_shapes_and_values():
    tensors = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3.0)}
    same = {"b": torch.tensor(3.0), "a": torch.tensor([1.0, 0.0, 2.0])[::2]}
    assert digest(tensors) == digest(same)
    others = (
        {"c": tensors["a"], "b": tensors["b"]},
        {**tensors, "a": tensors["a"].half()},
        {**tensors, "a": tensors["a"][None]},
        {**tensors, "a": tensors["a"].flip(0)},
        {"a": tensors["a"]},
    )
    assert len({digest(some) for some in (tensors, *others)}) == 1 + len(others)


def test_nothing_but_zeros_is_refused(path):
    rewrite(path, lambda state: {name: torch.zeros_like(value) for name, value in state.items()})
    with pytest.raises(WeightsError, match=r"w\.safetensors holds nothing but zeros"):
        load_weights(path)


def test_only_types_that_load_are_written(tmp_path):
    model = network()
    state = {name: value.double() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match=r"embed\.bias is float64; weights are float32, float16, bfloat16"):
        save_weights(tmp_path / "w", {"embed.bias": state["embed.bias"]}, model.options, "ivf")
    assert not (tmp_path / "w").exists()


def test_loading_leaves_random_numbers_and_the_default_type_alone(path, monkeypatch):
    expected = {name: value.clone() for name, value in load_weights(path)[0].state_dict().items()}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        loaded = load_weights(path)[0].state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(before, torch.get_rng_state())
    assert all(value.dtype == torch.float32 and torch.equal(value, expected[name]) for name, value in loaded.items())


def test_what_is_no_regular_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.safetensors", tmp_path / "zero.safetensors", tmp_path):
        with pytest.raises(WeightsError, match="is no regular file"):
            load_weights(path)


@pytest.fixture
def release(tmp_path, monkeypatch):
    """A package folder with released weights for MEF in the size small."""
    monkeypatch.setattr(weights.resources, "files", lambda package: tmp_path)
    (tmp_path / "weights").mkdir()
    path = write_weights(tmp_path / "weights/mef_small.safetensors", "mef")
    path.with_suffix(".json").write_text(json.dumps({"sha256": file_sha256(path)}))
    return path


def test_released_weights_match_their_card(release):
    assert released_weights("mef", "small") == release


def test_a_changed_release_is_refused(release):
    write_weights(release, "mef", seed=1)
    with pytest.raises(
        WeightsError, match=r"mef_small\.safetensors differs from the released file \(SHA-256\); reinst"
    ):
        released_weights("mef", "small")


def test_a_name_stands_for_a_file_a_run_or_released_weights(release, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(WeightsError, match=r"folder .*run holds no weights\.safetensors"):
        find_weights(run, "mef")
    own = write_weights(run / "weights.safetensors", "mef")
    assert find_weights(run, "mef") == find_weights(str(own), "mef") == own
    assert find_weights("mef_small", "ivf") == find_weights("mef", "ivf") == release
    with pytest.raises(WeightsError, match=r"weights file mef_bas does not exist; expected .* \(mef_small\)"):
        find_weights("mef_bas", "mef")


def test_what_is_not_released_is_never_made_up(release):
    with pytest.raises(
        WeightsError, match="no weights of size 'base' are released for task 'mef'; released: mef_small"
    ):
        released_weights("mef", "base")
    release.unlink()
    with pytest.raises(WeightsError, match="task 'mef'; released: none"):
        released_weights("mef", "small")


@pytest.mark.parametrize("task", TASKS)
def test_the_default_weights_are_the_task_s_own_or_those_for_all_tasks(release, task):
    general = write_weights(release.with_name("general_small.safetensors"), "general")
    general.with_suffix(".json").write_text(json.dumps({"sha256": file_sha256(general)}))
    assert find_weights(None, task) == (release if task == "mef" else general)
    with pytest.raises(WeightsError, match="no weights of size 'tiny' are released for task 'general'"):
        find_weights(None, task, "tiny")


def test_every_size_is_released_for_all_tasks_and_loads():
    assert {f"general_{size}" for size in RELEASED_SIZES} <= set(released_names())
    for name in released_names():
        path = find_weights(name, "ivf")
        model, made_for = load_weights(path)
        serves, size = name.split("_")
        assert made_for == serves and (serves != "general" or model.options == SIZES[size])
        card = json.loads(path.with_suffix(".json").read_text())
        assert card["task"] == made_for and card["parameters"] == sum(p.numel() for p in model.parameters())


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_weights_are_as_readable_as_other_files(tmp_path):
    other = tmp_path / "other"
    other.touch()
    assert write_weights(tmp_path / "w.safetensors", "ivf").stat().st_mode == other.stat().st_mode


def test_weights_by_name_run_folder_and_file(release, path, tmp_path):
    """One function for every option that takes weights."""
    for name in (None, "mef", "mef_small"):
        assert find_weights(name, "mef") == release
    with pytest.raises(WeightsError, match="the name of the weights is empty; leave it out"):
        find_weights("", "mef")
    assert find_weights(path, "mef") == path and find_weights(str(path), "mef", "base") == path
    run = tmp_path / "runs/night"
    run.mkdir(parents=True)
    with pytest.raises(
        WeightsError, match=r"night holds no weights\.safetensors; give a run's folder or a weights file"
    ):
        find_weights(run, "mef")
    path.rename(run / "weights.safetensors")
    assert find_weights(run, "mef") == run / "weights.safetensors"


def test_weights_that_are_nowhere_name_the_released_ones(release):
    with pytest.raises(WeightsError, match=r"weights file ivf_huge does not exist; .* released weights .mef_small"):
        find_weights("ivf_huge", "ivf")
    with pytest.raises(WeightsError, match="no weights of size 'base' are released for task 'mef'"):
        find_weights("mef", "mef", "base")
