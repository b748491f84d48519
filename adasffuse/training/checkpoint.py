"""Checkpoints: the whole state of a run, written so that a crash at any moment leaves a whole one behind."""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch

_NAME = re.compile(r"step_(\d+)\.pt")
_CONTENT = {"step", "model", "average", "optimizer", "options"}


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write `folder/step_<step>.pt` (temporary name, sync, rename), then drop all but the newest `keep`.

    Raises:
        OSError: the disk is full or the folder not writable; older checkpoints are untouched.
    """
    path = folder / f"step_{step:08d}.pt"
    write_state(path, state)
    for _, old in _checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state so that `path` holds a whole one at any moment, the old or the new.

    Raises:
        OSError: the disk is full or the folder not writable; what was there is untouched.
    """
    temporary = path.parent / ".checkpoint.part"  # one name for all: what a killed process leaves is overwritten
    try:
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as RuntimeError
        raise OSError(f"cannot write checkpoint {path}: {error}; earlier checkpoints are intact") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """State of the newest checkpoint in `folder`, None where there is none.

    Raises:
        ValueError: it is damaged, holds something else, or is a pickle that would run code (which is not run).
    """
    found = _checkpoints(folder)
    if not found:
        return None
    path = found[-1][1]
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict) or not state.keys() >= _CONTENT:
            raise ValueError("not written by this trainer")
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = str(error).split(".")[0] or type(error).__name__
        raise ValueError(
            f"{path} is no usable checkpoint ({reason}); remove it to continue from the one before"
        ) from None
    return state


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.glob("step_*.pt"))
    return sorted((int(match[1]), path) for match, path in matches if match)
