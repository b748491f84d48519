"""Weights files: safetensors with the model's shape, task and training record in the header."""

import hashlib
import json
import os
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from adasffuse.models.network import AdaSFFuse, ModelOptions

RUN_WEIGHTS = "weights.safetensors"  # what training writes beside its checkpoints


class WeightsError(ValueError):
    """A weights file is missing, damaged, foreign or of another size than asked for."""


def save_weights(path: str | Path, state: dict[str, torch.Tensor], options: ModelOptions, task: str, **record) -> None:
    """Write `state` (a state dict of `AdaSFFuse`) with what is needed to rebuild the network; atomic.

    Args:
        record: JSON values kept in the header, e.g. steps and seed.
    """
    path = Path(path)
    header = {"format": "adasffuse", "task": task, "model": json.dumps(asdict(options)), "record": json.dumps(record)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # `save_file` would make a file that nobody else may read.
        temporary.write_bytes(save({k: v.detach().cpu().contiguous() for k, v in state.items()}, metadata=header))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_weights(path: str | Path) -> tuple[AdaSFFuse, str]:
    """The network a weights file holds, in evaluation mode on the CPU, and the id of its task.

    Raises:
        WeightsError: no such file, not a whole safetensors file, not written by AdaSFFuse, or damaged; a network is
            never returned with parameters that the file does not give.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no whole safetensors file ({error}); a checkpoint or a broken download? "
            "Training writes weights.safetensors beside its checkpoints"
        ) from None
    if header.get("format") != "adasffuse":
        raise WeightsError(f"{path} was not written by AdaSFFuse; pass a weights.safetensors of this project's trainer")
    try:
        task = header["task"]
        model = AdaSFFuse(ModelOptions(**json.loads(header["model"])))
        model.load_state_dict({name: value.float() for name, value in state.items()})
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} does not fit the network that its header describes: {error}") from None
    if not all(value.isfinite().all() for value in state.values()):
        raise WeightsError(f"{path} holds values that are not finite; the training run diverged")
    return model.eval(), task


def find_weights(name: str | Path | None, task: str, size: str = "small") -> Path:
    """The weights file that a user names: every option that takes weights goes through here.

    Args:
        name: a weights file; a run's folder (its `weights.safetensors`); the name of released weights, whole
            ('ivf_small', 'general_base') or without the size ('general'); None or '' for those released for `task`.
        task: id of the task whose released weights are the default.
        size: 'small' or 'base', of released weights named without it.
    Raises:
        WeightsError: nothing of that name; says what is looked for.
    """
    if not name:
        return released_weights(task, size)
    released = [known.rsplit("_", 1) for known in released_names()]  # (what they serve, size)
    for serves, known_size in released:
        if str(name) == f"{serves}_{known_size}":
            return released_weights(serves, known_size)
        if str(name) == serves:
            return released_weights(serves, size)
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


def released_names() -> list[str]:
    """Names of the weights that ship with the package: 'ivf_small', 'general_base', ..."""
    return sorted(path.stem for path in _released_folder().glob("*.safetensors"))


def released_weights(task: str, size: str) -> Path:
    """Path of the weights that ship with the package, their SHA-256 checked against the card beside them.

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
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
