"""Checkpoints: the whole state of a run; a crash at any moment leaves a whole one behind."""

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adasffuse.files import replacing

MOST_STEPS = 10**9
_NAME = re.compile(r"step_(\d{1,12})\.pt")
_CONTENT = {
    "step": int,
    "model": dict,
    "average": dict,
    "optimizer": dict,
    "options": dict,
    "best": dict,
    "rng": Tensor,
}


class CheckpointError(ValueError):
    """A file is no checkpoint, or not of this network."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write `folder/step_<step>.pt` (temporary name, sync, rename), then drop all but the newest `keep`.

    Raises:
        OSError: the disk is full or the folder not writable; older checkpoints are untouched.
    """
    path = folder / f"step_{step:08d}.pt"
    content = io.BytesIO()
    torch.save(state, content)  # not to a file: for a full disk torch reports only an unexpected position
    try:
        with replacing(path, sync=True) as temporary:
            temporary.write_bytes(content.getbuffer())
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"cannot write checkpoint {path}: {reason}; earlier checkpoints are intact") from error
    for old in _checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint in `folder` with the most steps, None if there is none."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load the state of a checkpoint, on the CPU.

    Sizes and checksums are verified before the content is read, so a damaged file allocates no more than its own size.

    Raises:
        CheckpointError: it is damaged, holds something else, or is a pickle that would run code (which is not run).
    """
    try:
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        _check_content(state)
    except Exception as error:  # a damaged pickle can raise anything, even MemoryError and RecursionError
        raise unusable(path, error) from None
    return state


def unusable(path: Path, error: Exception) -> CheckpointError:
    """The error for a checkpoint that cannot be used, with its name, the reason, and what to do."""
    lines = str(error).strip().splitlines()
    reason = lines[0].split(". ")[0][:200] if lines else type(error).__name__
    return CheckpointError(f"{path} is no usable checkpoint ({reason}); remove it to continue from the one before")


def check_tensors(what: str, given: Any, wanted: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for a state dict of other names, shapes or types, or with values that are not finite.

    Raises:
        CheckpointError: names the first difference.
    """
    if not isinstance(given, dict) or given.keys() != wanted.keys():
        raise CheckpointError(f"its {what} is that of another network")
    for name, value in wanted.items():
        _check_tensor(f"{what} {name}", given[name], value)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Load Adam's moments; step size and other settings stay as they are.

    Raises:
        CheckpointError: they are not those of this network.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = state.get("state") if isinstance(state, dict) else None
    if not isinstance(moments, dict) or not moments.keys() <= set(range(len(parameters))):
        raise CheckpointError("its optimizer is that of another network")
    for index, moment in moments.items():
        shape = parameters[index].detach().cpu()
        check_tensors("optimizer", moment, {"step": torch.tensor(0.0), "exp_avg": shape, "exp_avg_sq": shape})
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _check_tensor(name: str, value: Any, wanted: Tensor) -> None:
    if not isinstance(value, Tensor) or isinstance(value, nn.UninitializedParameter) or value.layout != torch.strided:
        raise CheckpointError(f"{name} is no tensor")
    if (value.shape, value.dtype, value.device) != (wanted.shape, wanted.dtype, torch.device("cpu")):
        raise CheckpointError(f"{name} is {value.dtype} {list(value.shape)}, not {wanted.dtype} {list(wanted.shape)}")
    if not value.isfinite().all():
        raise CheckpointError(f"{name} holds values that are not finite")


def _check_archive(path: Path) -> None:
    """Raise an error unless the file is a whole zip archive of uncompressed files, as torch.save writes it."""
    if not path.is_file():
        raise CheckpointError("no regular file")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise CheckpointError("its content is compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise CheckpointError("its content is larger than the file")
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(f"{damaged} in it is damaged")


def _check_content(state: Any) -> None:
    """Raise CheckpointError unless the content has the keys and types that this trainer writes."""
    if not isinstance(state, dict) or not state.keys() >= _CONTENT.keys():
        raise CheckpointError("not written by this trainer")
    for name, kind in _CONTENT.items():
        if not isinstance(state[name], kind) or isinstance(state[name], bool):
            raise CheckpointError(f"its {name} is no {kind.__name__}")
    if not 0 <= state["step"] <= MOST_STEPS:
        raise CheckpointError(f"its step is {state['step']:.3g}")
    rng = torch.get_rng_state()
    if (state["rng"].dtype, state["rng"].shape) != (rng.dtype, rng.shape) or state["rng"].layout != torch.strided:
        raise CheckpointError("its rng is no state of random numbers")
    best = state["best"]
    wanted = {"name": str, "score": float, "step": int}
    if best and (best.keys() != wanted.keys() or any(not isinstance(best[k], kind) for k, kind in wanted.items())):
        raise CheckpointError("its best is no score")


def _checkpoints(folder: Path) -> list[Path]:
    """All checkpoints in a folder, by number of steps."""
    found = [path for path in folder.glob("step_*.pt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(_NAME.fullmatch(path.name)[1]))
