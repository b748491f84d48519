"""The manifest of a run: options, data fingerprint, package versions, commit, hardware, and times of its starts."""

import functools
import hashlib
import json
import os
import platform
import subprocess
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from adasffuse.data.mixture import MixedCrops
from adasffuse.files import write_text
from adasffuse.messages import first_of
from adasffuse.models.weights import file_sha256
from adasffuse.training.resume import Changes
from adasffuse.training.run import Run, weights_of

MANIFEST = "manifest.json"  # its name in the folder of a run
_PACKAGES = ["adasffuse", "numpy", "scipy", "opencv-python-headless", "pillow", "safetensors", "mamba-ssm", "triton"]


def write_manifest(path: Path, run: Run, data: MixedCrops, changes: Changes) -> None:
    """Write the manifest of a run, or add a start to it if the run continues; warn about data or weights that changed.

    Changed images and teachers alter the rest of the run; changed weights of `train.init` do not, as they were read at
    the beginning.

    Args:
        changes: options that differ from those of the previous start; they are listed with this start.
    """
    hash_of = functools.cache(file_sha256)
    files = sorted(data_files(run, data, hash_of), key=lambda file: (file["name"], file["role"], file["part"]))
    repeated = trained_on(data, hash_of)
    if repeated:
        warnings.warn(
            f"the same images are trained on and held out, under another name, in another data set or in another part: "
            f"{first_of(repeated)}; their validation scores say little about other images",
            stacklevel=2,
        )
    fingerprint = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    before = _read(path) if run.step else {}
    if before and before["data"]["sha256"] != fingerprint:
        warnings.warn(
            f"the images differ from those that run {run.options.name!r} was started with "
            f"(see {path}); it will not end as it would have",
            stacklevel=2,
        )
    weights = {
        option: {"file": str(one), "sha256": file_sha256(one)} for option, one in weights_of(run.options).items()
    }
    began = before.get("weights", {})
    for option in weights.keys() & began.keys():
        if weights[option]["sha256"] != began[option]["sha256"]:
            end = "it goes on from its checkpoint" if option == "train.init" else "it will not end as it would have"
            warnings.warn(
                f"the weights of {option}, {weights[option]['file']}, differ from those that run {run.options.name!r} "
                f"was started with (see {path}); {end}",
                stacklevel=2,
            )
    if "train.init" in began:  # read once, when the run began
        weights["train.init"] = began["train.init"]
    manifest: dict[str, Any] = {
        "options": run.options.to_dict(),
        "seed": run.options.train.seed,
        "saved": run.step > 0,  # whether a checkpoint was written
        "weights": weights,
        "starts": [*before.get("starts", []), _start(run, changes)],
        "data": {"sha256": fingerprint, "files": files},
    }
    _write(path, manifest)


def note_saved(path: Path) -> None:
    """Note in a run's manifest that a checkpoint was written; from then on weights need one beside them."""
    manifest = _read(path)
    if manifest and not manifest.get("saved"):
        _write(path, manifest | {"saved": True})


def was_saved(path: Path) -> bool:
    """Whether a checkpoint of a run was written, by its manifest; True without a readable manifest."""
    return bool(_read(path).get("saved", True))


def _write(path: Path, manifest: dict[str, Any]) -> None:
    write_text(path, json.dumps(manifest, indent=2) + "\n")


def data_files(run: Run, data: MixedCrops, hash_of: Callable[[Path], str]) -> Iterator[dict[str, Any]]:
    """Every image file of a run: its part, role ('training' or 'validation'), name below the root, size and hash."""
    for label, options, part in zip(run.options.labels, run.options.parts, data.parts):
        for role, scenes in (("training", [*part.pairs, *part.sharp]), ("validation", part.validation)):
            for path in (path for scene in scenes for path in scene.paths):
                name = Path(os.path.relpath(path, options.data.root_path)).as_posix()
                size = path.stat().st_size
                yield {"part": label, "role": role, "name": name, "bytes": size, "sha256": hash_of(path)}


def trained_on(data: MixedCrops, hash_of: Callable[[Path], str]) -> list[str]:
    """Names of held-out pairs all of whose files are, byte for byte, among those that the run trains on."""
    trained = {hash_of(path) for part in data.parts for scene in [*part.pairs, *part.sharp] for path in scene.paths}
    return [pair.name for _, pair in data.validation if trained.issuperset(map(hash_of, pair.paths))]


def _start(run: Run, changes: Changes) -> dict[str, Any]:
    """When, where and with which software the run started or continued."""
    device = run.processes.device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": run.step,
        "changed": {key: {"before": before, "now": now} for key, (before, now) in changes.items()},
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {"torch": torch.__version__} | {name: v for name in _PACKAGES if (v := _version(name))},
        "hardware": {
            "system": platform.platform(),
            "device": gpu or platform.machine(),
            "cpu_cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "processes": run.processes.world,
        },
    }


def git_commit() -> str | None:
    """Commit of the source tree of this package, with '+' if files have changed since; None without git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True, timeout=20).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit.strip()}+" if changes.strip() else commit.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path) -> dict[str, Any]:
    """An earlier manifest, empty if there is none or it cannot be read."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        weights = [one["sha256"] for one in manifest.get("weights", {}).values()]
        known = "sha256" in manifest["data"] and isinstance(manifest["starts"], list)
        return manifest if known and all(isinstance(one, str) for one in weights) else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
