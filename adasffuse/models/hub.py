"""Networks as folders, local or on the Hugging Face Hub: weights, their shape as `config.json`, and a card.

`huggingface_hub` (extra `hub`) downloads and uploads.  Its mixin class for models is not used: it would make the
package a requirement, and it does not store the task, the training record and the digest of a weights file.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from adasffuse.arguments import checked
from adasffuse.choices import DEFAULT_SIZE
from adasffuse.files import write_text
from adasffuse.installation import install_command
from adasffuse.models.network import AdaSFFuse
from adasffuse.models.options import size_of
from adasffuse.models.weights import (
    RUN_WEIGHTS,
    WeightsError,
    default_weights,
    find_weights,
    load_weights,
    save_weights,
)
from adasffuse.tasks import GENERAL, TASKS

CONFIG = "config.json"  # the Hub counts its downloads
CARD = "README.md"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # organisation or user, and repository


@checked
def find_pretrained(
    name: str | Path,
    task: str = GENERAL,
    size: str | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Find a weights file by name, local or, as 'organisation/repository', on the Hub.

    Local files come first; the Hub is asked only for a name of two parts that is no path.

    Args:
        name, task, size: as in `adasffuse.models.weights.find_weights`.
        revision, token, cache_dir, local_files_only: as in `huggingface_hub.hf_hub_download`.
    Raises:
        WeightsError: nothing of that name, local or on the Hub, or no connection.
    """
    try:
        return find_weights(name, task, size)
    except WeightsError as error:
        path = Path(name)
        if path.exists() or path.parent.is_dir() or path.suffix == ".safetensors" or not _NAME.fullmatch(str(name)):
            raise
        absent = str(error)
    try:
        hub = _huggingface_hub()
    except ModuleNotFoundError as error:
        raise WeightsError(f"{absent}; or {error}") from None
    try:
        found = hub.hf_hub_download(
            str(name),
            RUN_WEIGHTS,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
    except (OSError, ValueError) as error:  # what the package raises without a connection, repository or file
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{absent}; nor could {RUN_WEIGHTS} of {name} be loaded from the Hub: {reason}") from error
    return Path(found)


@checked
def load_network(
    task: str, weights: str | Path | None = None, size: str | None = None, default: str = DEFAULT_SIZE
) -> tuple[AdaSFFuse, Path]:
    """Load the network of a task; every command and function that takes weights and a size calls this.

    Args:
        task: 'ivf', 'mef', 'mff' or 'mif'.
        weights: as `name` in `find_pretrained`; None: the best released weights for the task.
        size: size of the network.  None: that of the weights.
        default: size of released weights if neither `size` nor the name gives one.
    Returns:
        the network and its weights file.
    Raises:
        WeightsError: no such weights, damaged or foreign ones, made for another task, or of another size.
    """
    wanted = default if size is None else size
    path = default_weights(task, wanted) if weights is None else find_pretrained(weights, task, wanted)
    model, made_for = load_weights(path)
    if made_for not in (task, GENERAL):
        raise WeightsError(f"{path} was trained for task {made_for!r}, not {task!r}")
    found = size_of(model.options)
    if size is not None and found != size:
        of_size = f"of size {found!r}" if found else f"of a size of its own ({model.options.channels} channels)"
        raise WeightsError(
            f"{path} holds a network {of_size}, not {size!r}; leave out size (--size): it is that of the weights"
        )
    return model, path


@checked
def save_pretrained(
    model: AdaSFFuse, folder: str | Path, task: str | None = None, record: Mapping[str, Any] | None = None
) -> None:
    """Write a network to a folder: weights.safetensors, config.json, and a card unless there is a README.md.

    Args:
        task: the task that the network was trained for: 'ivf', 'mef', 'mff', 'mif', or 'general' for all.  None:
            `model.task`.
        record: JSON values kept in the weights file, e.g. steps and seed.
    Raises:
        ValueError: unknown task.
        OSError: the folder cannot be written.
    """
    task = task or model.task
    if task not in (GENERAL, *TASKS):
        raise ValueError(f"unknown task {task!r}; choose one of {GENERAL}, {', '.join(TASKS)}")
    folder = Path(folder)
    save_weights(folder / RUN_WEIGHTS, model.state_dict(), model.options, task, **(record or {}))
    config = {"library_name": "adasffuse", "task": task, "model": asdict(model.options)}
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    if not (folder / CARD).exists():
        write_text(folder / CARD, _card(model, task))


@checked
def push_to_hub(
    model: AdaSFFuse,
    name: str,
    task: str | None = None,
    record: Mapping[str, Any] | None = None,
    *,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Upload a network to the Hub as 'organisation/repository', which is created if needed.

    Args:
        task, record: as in `save_pretrained`.
        private, token: as in `huggingface_hub.HfApi.create_repo`.
    Returns:
        The address of the commit.
    Raises:
        ModuleNotFoundError: `huggingface_hub` is not installed.
        OSError: no connection, or no permission.
    """
    api = _huggingface_hub().HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, task, record)
        try:
            api.create_repo(name, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload AdaSFFuse weights"))
        except (OSError, ValueError):  # errors of huggingface_hub itself are clear enough
            raise
        except Exception as error:  # errors of whichever HTTP client it uses
            raise OSError(f"cannot upload to {name} on the Hub: {' '.join(str(error).split())[:200]}") from error


def _huggingface_hub() -> ModuleType:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise ModuleNotFoundError(f"the Hugging Face Hub needs: {install_command('hub')}", name=error.name) from None
    return huggingface_hub


def _card(model: AdaSFFuse, task: str) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    call = "ivf" if task == GENERAL else task
    return f"""---
library_name: adasffuse
pipeline_tag: image-to-image
tags: [image-fusion, {task}]
---
# AdaSFFuse, {task}: {count} parameters

Fuses registered images of one scene into one (architecture: arXiv 2508.15505).

```python
from adasffuse import load_fuser
fused = load_fuser("{call}", weights="FOLDER_OR_REPOSITORY")(a, b)
```

Say here on which data these weights were trained, and under which licence they may be used.
"""
