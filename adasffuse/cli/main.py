"""The `adasffuse` command: one noun, and a verb for each thing that it does.

A verb is a module of `adasffuse.cli` with `make_parser(prog)`, which makes its argument parser, and `run(argv, prog)`,
which does the work and returns the exit status.  Only the module of the verb that was asked for is loaded,
and PyTorch only when the work begins: help and wrong arguments are told at once.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from adasffuse.process import run_program, say, wants_json

_TORCHRUN = "TORCHELASTIC_RUN_ID"  # of the environment: set by torchrun; WORLD_SIZE alone may be a cluster's


@dataclass(frozen=True)
class Command:
    """A verb."""

    module: str  # of `adasffuse.cli`
    summary: str  # what it does, a line
    shares: bool = False  # whether several processes of torchrun share its work
    reports: bool = False  # whether its --json prints a report, also where the work is interrupted


COMMANDS = {
    "fuse": Command("fuse", "fuse two files, two folders, or pairs in one folder", shares=True, reports=True),
    "stack": Command(
        "stack", "fuse exposure brackets and focus stacks, one folder per stack", shares=True, reports=True
    ),
    "video": Command("video", "fuse two videos or folders of frames; --show: live", reports=True),
    "align": Command("align", "register images that do not lie on each other, and save how", reports=True),
    "extract": Command("extract", "take temperatures and photographs out of FLIR's radiometric JPEG files"),
    "compare": Command("compare", "draw methods side by side, with crops and differences"),
    "check": Command("check", "say what a folder of images holds, and what is wrong with it"),
    "data": Command("data", "lay a published data set out for training and scoring"),
    "score": Command("score", "score folders of fused images"),
    "train": Command("train", "train a network", shares=True),
    "downstream": Command("downstream", "does fusion help a detector or a segmenter? trains and compares", shares=True),
    "export": Command("export", "write a network as ONNX or torch.export file", reports=True),
    "completion": Command("completion", "print the completion of this command for bash, zsh, fish or tcsh"),
    "demo": Command("demo", "a web page on this computer to try fusion on"),
    "info": Command(
        "info", "say what this installation or a file is: image, video, weights, checkpoint, ...", reports=True
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0 success, 1 something failed, 2 impossible arguments."""
    words = list(sys.argv[1:] if argv is None else argv)
    reports = bool(words) and words[0] in COMMANDS and COMMANDS[words[0]].reports
    return run_program(lambda: _run(words), as_json=reports and wants_json(words) and _is_first())


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        say(usage())
        return 0 if words else 2
    if words[0] == "--version":
        say(f"adasffuse {importlib.import_module('adasffuse').__version__}")
        return 0
    verb = words[0]
    if verb not in COMMANDS:
        near = get_close_matches(verb, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(COMMANDS)}"
        say(f"error: unknown command {verb!r}; {hint}", sys.stderr)
        return 2
    world = os.environ.get("WORLD_SIZE", "1")
    if _TORCHRUN in os.environ and world != "1" and not COMMANDS[verb].shares:
        if _is_first():  # once
            shared = ", ".join(name for name, command in COMMANDS.items() if command.shares)
            say(
                f"error: each of these {world} processes would do all that {verb!r} does; torchrun is for {shared}; "
                "call the others without it",
                sys.stderr,
            )
        return 2
    module = importlib.import_module(f"adasffuse.cli.{COMMANDS[verb].module}")
    end = words.index("--") if "--" in words else len(words)  # behind it are names of files
    return module.run([*map(_underscored, words[1:end]), *words[end:]], prog=f"adasffuse {verb}")


def _is_first() -> bool:
    """Whether this is the first process of those that torchrun has started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _underscored(word: str) -> str:
    """An option as it is called here, however it was typed: --dry-run is --dry_run."""
    if not word.startswith("--") or len(word) == 2:
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def usage() -> str:
    """All verbs, a line for each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {verb:<{width}}  {command.summary}" for verb, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: adasffuse COMMAND ...",
            "",
            "Fuse images of one scene: infrared + visible, exposures, focus settings, CT, PET or SPECT + MRI.",
            "",
            *lines,
            "",
            "adasffuse COMMAND --help says more; adasffuse --version.  Options may be typed with - or _: --dry-run.",
        ]
    )
