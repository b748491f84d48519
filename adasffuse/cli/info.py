"""`adasffuse info`: what this installation is, and what files are."""

import argparse
import importlib
import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from adasffuse.cli.arguments import ReportingParser, add_json_option
from adasffuse.cli.shared import say_report
from adasffuse.installation import install_command
from adasffuse.messages import printable, told
from adasffuse.process import say

DESCRIPTION = """Say what this installation is, or what files hold: images, videos, volumes (also folders of a DICOM
series), weights (a file, the folder of a training run, or the name of released weights), checkpoints and options of
training runs, calibrations.

  adasffuse info
  adasffuse info thermal.tif general_small
"""


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    parser = ReportingParser(prog, description=DESCRIPTION)
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="image, video, volume, weights, or what belongs to a training run"
    )
    add_json_option(parser)
    return parser


def run(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Print what is asked for; the exit status: 1 where a file cannot be read."""
    args = make_parser(prog).parse_args(argv)
    from adasffuse.cli.describe import describe  # here: arguments are read without what reads files

    described, failed = [], []
    for name in args.files:
        try:
            described.append({"file": name, **describe(name)})
        except (ValueError, OSError) as error:
            failed.append((name, told(error)))
    values = {"files": described} if args.files else installation()
    if args.json:
        say_report(values, failed)
    else:
        for one in described if args.files else [values]:
            say(_lines(one))
    for _, reason in failed:
        say(f"error: {printable(reason)}", sys.stderr)
    return int(bool(failed))


def installation() -> dict[str, Any]:
    """Versions, devices and optional packages of this installation."""
    import torch

    from adasffuse.device import pick_device, pick_precision
    from adasffuse.models.weights import released_names

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
        if match and match[2] != "dev" and match[1] not in found:  # of several extras the first is the smallest
            try:
                found[match[1]] = metadata.version(match[1])
            except metadata.PackageNotFoundError:
                found[match[1]] = f"absent; {install_command(match[2])}"
    return found


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
