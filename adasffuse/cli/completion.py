"""`adasffuse completion SHELL`: the script that lets a shell complete this command."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adasffuse.cli.arguments import given_path
from adasffuse.installation import install_command
from adasffuse.process import say

SHELLS = ("bash", "zsh", "fish", "tcsh")
DESCRIPTION = """Print a shell's completion of the adasffuse command (needs the package shtab: extra 'completion').

  adasffuse completion bash > ~/.local/share/bash-completion/completions/adasffuse
  adasffuse completion fish > ~/.config/fish/completions/adasffuse.fish
  adasffuse completion zsh > ~/.zfunc/_adasffuse            with fpath+=~/.zfunc before compinit in ~/.zshrc
"""


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    prog = prog or "adasffuse completion"
    parser = argparse.ArgumentParser(
        prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=SHELLS, help="shell to complete the command in")
    return parser


def run(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Print the script; the exit status."""
    args = make_parser(prog).parse_args(argv)
    try:
        import shtab
    except ModuleNotFoundError:
        say(f"error: shell completion needs: {install_command('completion')}", sys.stderr)
        return 1
    say(shtab.complete(whole_parser(shtab.FILE), args.shell))
    return 0


def whole_parser(files: Any) -> argparse.ArgumentParser:
    """One parser of the whole command, with the verbs as sub-commands; `files` is how shtab completes paths."""
    from adasffuse.cli.main import COMMANDS

    parser = argparse.ArgumentParser("adasffuse")
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(dest="command")
    for verb, command in COMMANDS.items():
        own = importlib.import_module(f"adasffuse.cli.{command.module}").make_parser(f"adasffuse {verb}")
        for action in own._actions:  # argparse has no public list of them; shtab reads the same one
            if action.type in (Path, given_path) or action.dest in ("files", "weights"):
                action.complete = files
        verbs.add_parser(verb, parents=[own], add_help=False, help=command.summary)
    return parser
