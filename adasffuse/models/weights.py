"""Weights files: safetensors with the model's shape, task, training record and a digest in the header.

Reading checks the header and the tensors' names, shapes and types against the network before memory is allocated, and
then the digest of the tensors.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adasffuse.arguments import checked
from adasffuse.choices import DEFAULT_SIZE
from adasffuse.files import write_bytes
from adasffuse.models.network import AdaSFFuse
from adasffuse.models.options import ModelOptions, without_idle
from adasffuse.options import build, shown
from adasffuse.tasks import GENERAL, TASKS

LARGEST_FILE = 2**32  # bytes of a weights file; the largest network needs fewer
_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # name in safetensors: name in torch

RUN_WEIGHTS = "weights.safetensors"  # written by training, beside its checkpoints


class WeightsError(ValueError):
    """A weights file is missing, damaged, foreign or of another size than asked for."""


@checked
def save_weights(path: str | Path, state: dict[str, Tensor], options: ModelOptions, task: str, **record) -> None:
    """Write `state` (a state dict of `AdaSFFuse`) with the options to rebuild the network; atomic.

    Args:
        state: tensors of float32, float16 or bfloat16.
        record: JSON values kept in the header, e.g. steps and seed.
    Raises:
        WeightsError: the tensors are not those of the network, the task is unknown, or the record is not JSON.
        OSError: the file cannot be written.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    for name, value in state.items():
        if _type(value) not in _TYPES.values():
            raise WeightsError(
                f"cannot write {path}: {name} is {_type(value)}; weights are {', '.join(_TYPES.values())}"
            )
    try:
        _check_task(task)
        with torch.device("meta"):
            _check_names(AdaSFFuse(options).state_dict(), state)
        header = {
            "format": "adasffuse",
            "task": task,
            "model": json.dumps(asdict(options)),
            "record": json.dumps(record),
        }
    except (TypeError, ValueError) as error:
        raise WeightsError(f"cannot write {path}: {error}") from None
    write_bytes(path, _ordered(save(state, metadata={**header, "digest": digest(state)})))


def _ordered(content: bytes) -> bytes:
    """A safetensors file with its header sorted by name: the library's order varies from run to run."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


@checked
def load_weights(path: str | Path) -> tuple[AdaSFFuse, str]:
    """Load the network of a weights file, in evaluation mode on the CPU, and the id of its task.

    Raises:
        WeightsError: no such file, not a whole safetensors file, not written by AdaSFFuse, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        known = "is no regular file" if path.exists() else "does not exist"
        raise WeightsError(f"weights file {path} {known}")
    if path.stat().st_size > LARGEST_FILE:
        raise WeightsError(
            f"{path} is no whole safetensors file of this project: it has more than {LARGEST_FILE} bytes"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            model, task = _described(path, header, {name: file.get_slice(name) for name in file.keys()})  # noqa: SIM118
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no whole safetensors file ({str(error)[:200]}); a checkpoint or a broken download? "
            "Training writes weights.safetensors beside its checkpoints"
        ) from None
    _check_digest(path, header, state)
    if not all(value.isfinite().all() for value in state.values()):
        raise WeightsError(f"{path} holds values that are not finite; the training run diverged")
    if not any(value.any() for value in state.values()):
        raise WeightsError(f"{path} holds nothing but zeros; take another file")
    # Tensors of safetensors are mapped from the file: uncopied they change with it, and on Windows it stays in use.
    parameters = {name: value.to(torch.float32, copy=True) for name, value in state.items()}
    model.load_state_dict(parameters, assign=True)
    model.task = task
    return model.eval(), task


def read_record(path: str | Path) -> dict[str, Any]:
    """The training record of a weights file: steps, seed, name of the run.

    Raises:
        WeightsError: it is no weights file, or has no record.
    """
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["record"])
            if not isinstance(record, dict):
                raise ValueError("it is no JSON object")
            return record
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise WeightsError(f"{path} holds no training record ({str(error)[:200]})") from None


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, of the names, types, shapes and bytes of the tensors, sorted by name."""
    sha = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        sha.update(f"{name} {_type(value)} {list(value.shape)}\n".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _described(path: Path, header: Mapping[str, str], given: Mapping[str, Any]) -> tuple[AdaSFFuse, str]:
    """The network that a header describes, on the meta device, and its task.

    Args:
        given: the file's tensors, not read yet.
    Raises:
        WeightsError: the header describes no network, or the tensors do not fit it.
    """
    if header.get("format") != "adasffuse":
        raise WeightsError(f"{path} was not written by AdaSFFuse; pass a weights.safetensors of this project's trainer")
    try:
        task, values = header["task"], json.loads(header["model"])
        _check_task(task)
        options = build(ModelOptions, without_idle(values), "model")
        with torch.device("meta"):
            model = AdaSFFuse(options)
        _check_tensors(model.state_dict(), given)
    except (RuntimeError, TypeError, ValueError, KeyError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)[:500]
        raise WeightsError(
            f"{path} does not fit the network that its header describes: {reason}; it is damaged, or of another "
            "version of AdaSFFuse: take released weights, or that version"
        ) from None
    return model, task


def _check_task(task: str) -> None:
    if task not in (*TASKS, GENERAL):
        raise ValueError(f"unknown task {shown(task)}; it is one of {', '.join((*TASKS, GENERAL))}")


def _check_names(wanted: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
    """Refuse tensors of other names or shapes than a network's."""
    for words, names in (("missing", wanted.keys() - given.keys()), ("unexpected", given.keys() - wanted.keys())):
        if names:
            raise ValueError(f"{words} tensors {', '.join(sorted(names)[:5])}")
    for name, tensor in given.items():
        shape = tensor.shape if isinstance(tensor, Tensor) else tensor.get_shape()
        if list(shape) != list(wanted[name].shape):
            raise ValueError(f"{name} has the shape {list(shape)} instead of {list(wanted[name].shape)}")


def _check_tensors(wanted: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
    """Refuse tensors, not read yet, of other names, shapes or types than a network's."""
    _check_names(wanted, given)
    for name, tensor in given.items():
        if tensor.get_dtype() not in _TYPES:
            raise ValueError(f"{name} is {tensor.get_dtype()}; weights are {', '.join(_TYPES)}")


def _check_digest(path: Path, header: Mapping[str, str], state: Mapping[str, Tensor]) -> None:
    if "digest" not in header:
        raise WeightsError(f"{path} states no digest of its tensors; it was written by an older version: train again")
    if header["digest"] != digest(state):
        raise WeightsError(f"{path} is damaged: its tensors do not have the digest that it states; take a whole copy")


@checked
def find_weights(name: str | Path | None, task: str, size: str | None = None) -> Path:
    """Find a local or released weights file by name.

    Args:
        name: a weights file; the folder of a run, with `weights.safetensors`; the name of released weights, with size
            ('general_small', 'mff_base') or without ('general'); None: the default of `task`.
        task: id of the task.
        size: 'tiny', 'small' or 'base', for a name without size; None: small.
    Raises:
        WeightsError: nothing of that name.
    """
    size = DEFAULT_SIZE if size is None else size
    if name is None:
        return default_weights(task, size)
    if name == "":
        raise WeightsError("the name of the weights is empty; leave it out for the default ones")
    for released in released_names():
        released_task, released_size = released.rsplit("_", 1)
        if str(name) == released:
            return released_weights(released_task, released_size)
        if str(name) == released_task:
            return released_weights(released_task, size)
    path = Path(name)
    if path.is_dir():
        if not (path / RUN_WEIGHTS).is_file():
            raise WeightsError(f"folder {path} holds no {RUN_WEIGHTS}; give a run's folder or a weights file")
        return path / RUN_WEIGHTS
    if not path.is_file():
        raise WeightsError(
            f"weights file {path} does not exist; expected a weights file, a run's folder or released weights "
            f"({', '.join(released_names()) or 'none'})"
        )
    return path


def default_weights(task: str, size: str) -> Path:
    """Released weights of a task, or the general ones if it has none of its own.

    Raises:
        WeightsError: none are released of this size, or the file is damaged.
        ValueError: unknown task.
    """
    _check_task(task)
    own = f"{task}_{size}" in released_names()
    return released_weights(task if own else GENERAL, size)


def released_names() -> list[str]:
    """Names of the weights that ship with the package, e.g. 'general_small'."""
    return sorted(path.stem for path in _released_folder().glob("*.safetensors"))


def released_weights(task: str, size: str) -> Path:
    """Path of weights that ship with the package, after checking their SHA-256 against the card beside them.

    Raises:
        WeightsError: none are released for this task and size (lists those that are), or the file is damaged.
    """
    path = _released_folder() / f"{task}_{size}.safetensors"
    if not path.is_file():
        known = ", ".join(released_names()) or "none"
        raise WeightsError(f"no weights of size {size!r} are released for task {task!r}; released: {known}")
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if file_sha256(path) != card["sha256"]:
        raise WeightsError(f"{path} differs from the released file (SHA-256); reinstall the package")
    return path


def _released_folder() -> Path:
    return Path(str(resources.files("adasffuse") / "weights"))


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
