"""`adasffuse info`: what this installation is, and what files of weights and images hold."""

import argparse
import importlib
import io
import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ImageCms

from adasffuse.device import pick_device, pick_precision
from adasffuse.files import printable
from adasffuse.images.formats import is_radiometric, open_image
from adasffuse.images.image import ImageError
from adasffuse.images.read import valid_mask
from adasffuse.images.volumes import is_volume
from adasffuse.models.weights import (
    RUN_WEIGHTS,
    WeightsError,
    file_sha256,
    find_weights,
    load_weights,
    read_record,
    released_names,
)
from adasffuse.process import say
from adasffuse.tasks import GENERAL

DESCRIPTION = """Say what this installation is, or what files hold: images, and weights (a file, the folder of a
training run, or the name of released weights).

  adasffuse info
  adasffuse info thermal.tif general_small
"""
_UPRIGHT = "upright"
_TURNED = {
    2: "mirrored",
    3: "upside down",
    4: "upside down, mirrored",
    5: "on its side, mirrored",
    6: "on its side",
    7: "on its side, mirrored",
    8: "on its side",
}


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    prog = prog or "adasffuse info"
    parser = argparse.ArgumentParser(
        prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="images, or weights")
    parser.add_argument("--json", action="store_true", help="as JSON on standard output")
    return parser


def run(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Print what is asked for; the exit status: 1 where a file cannot be read."""
    args = make_parser(prog).parse_args(argv)
    described, failed = [], False
    for name in args.files:
        try:
            described.append({"file": name, **describe(name)})
        except (ValueError, OSError) as error:
            described.append({"file": name, "error": str(error)})
            failed = True
    values = {"files": described} if args.files else installation()
    if args.json:
        say(json.dumps(values))
    for one in described:
        if "error" in one:
            say(f"error: {printable(one['error'])}", sys.stderr)
        elif not args.json:
            say(_lines(one))
    if not args.files and not args.json:
        say(_lines(values))
    return int(failed)


def installation() -> dict[str, Any]:
    """Versions, devices and optional packages of this installation."""
    device = pick_device("auto")
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())] if device.type == "cuda" else []
    return {
        "adasffuse": importlib.import_module("adasffuse").__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "device": str(device),
        "gpus": gpus,
        "precision": pick_precision("auto", device),
        "threads": torch.get_num_threads(),
        "released weights": released_names(),
        "optional packages": optional_packages(),
    }


def optional_packages() -> dict[str, str]:
    """Of each package that an extra asks for, its version, or the command that installs it."""
    try:
        wanted = metadata.requires("adasffuse") or []
    except metadata.PackageNotFoundError:  # run from its folder, never installed
        return {}
    found = {}
    for line in wanted:
        match = re.fullmatch(r"\s*([\w.-]+).*;.*extra\s*==\s*['\"]([\w-]+)['\"].*", line)
        if match and match[2] != "dev":
            try:
                found[match[1]] = metadata.version(match[1])
            except metadata.PackageNotFoundError:
                found[match[1]] = f"absent; pip install 'adasffuse[{match[2]}]'"
    return found


def describe(name: str) -> dict[str, Any]:
    """What a weights file or an image holds; errors, of type ValueError or OSError, name it."""
    path = Path(name)
    serves = {known.rsplit("_", 1)[0] for known in released_names()}
    is_weights = path.suffix == ".safetensors" or (path / RUN_WEIGHTS).is_file()
    if is_weights or (not path.exists() and (name in released_names() or name in serves)):
        return _weights(find_weights(name, GENERAL))
    return _image(path)


def _weights(path: Path) -> dict[str, Any]:
    model, task = load_weights(path)
    options = model.options
    values = {
        "what": "weights",
        "path": str(path),
        "task": task,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": path.stat().st_size,
        "shape": f"patch {options.patch}, {options.channels} channels, output {options.output}",
        "kinds": list(options.kinds),
        "sha256": file_sha256(path),
    }
    try:
        values["training"] = read_record(path)
    except WeightsError:
        values["training"] = None
    values["licence"] = _licence(path)
    return values


def _licence(path: Path) -> str | None:
    """What the card beside a weights file says: released weights have a JSON file, folders for the Hub a README.md."""
    card, readme = path.with_suffix(".json"), path.with_name("README.md")
    if card.is_file():
        return json.loads(card.read_text(encoding="utf-8")).get("licence")
    if readme.is_file():
        match = re.search(r"^licen[cs]e:\s*(.+)$", readme.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        return match[1].strip() if match else None
    return None


def _image(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise ImageError(f"{path}: a folder, and no run's; adasffuse check says what images it holds")
    if is_volume(path) and path.exists():
        raise ImageError(f"{path}: a volume; info describes images and weights, adasffuse fuse takes volumes")
    with open_image(path) as file:
        stored = file.decode()
        valid = valid_mask(stored, None, False)
    used = stored.values if valid is None else stored.values[valid]
    height, width = file.height, file.width
    if file.orientation > 4:
        height, width = width, height
    values = {
        "what": "image",
        "width": width,
        "height": height,
        "depth": file.depth,
        "type": str(stored.values.dtype),
        "channels": 1 if stored.values.ndim == 2 else stored.values.shape[2],
        "space": stored.space,
        "values": [_number(used.min()), _number(used.max())] if used.size else None,
        "black and white": [_number(value) for value in stored.span] if stored.span else None,
        "profile": _profile_name(stored.profile),
        "no data": stored.no_data,
        "share without data": 0.0 if valid is None else round(float(1 - valid.mean()), 6),
        "stored": _TURNED.get(file.orientation, _UPRIGHT),
        "notices": list(stored.notices),
    }
    if is_radiometric(path):
        values["temperatures"] = "FLIR radiometric JPEG: fusing reads its temperatures, not these values"
    return values


def _number(value: Any) -> int | float:
    return value.item() if isinstance(value, np.generic) else value


def _profile_name(profile: bytes | None) -> str | None:
    if profile is None:
        return None
    try:
        return (ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.profile_description or "unnamed").strip()
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return "broken"


def _lines(values: Mapping[str, Any]) -> str:
    """A line for every value; tables below each other, indented."""
    width = max(map(len, values))
    lines = []
    for name, value in values.items():
        if isinstance(value, Mapping) and name == "optional packages":
            lines.append(f"{name}:" + ("" if value else " unknown: the package runs without being installed by pip"))
            lines += [f"  {package}: {version}" for package, version in value.items()]
        else:
            lines.append(printable(f"{name:<{width}}  {_shown(value)}"))
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, Mapping):
        return json.dumps(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
