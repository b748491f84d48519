"""Reports of commands whose work several processes may share: only the main one reports, a few lines of each kind."""

from __future__ import annotations  # names of `inference` load PyTorch where they are used

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from adasffuse import inference
from adasffuse.images.notices import few_of_each
from adasffuse.images.pairs import SceneError
from adasffuse.inference.results import SaveError
from adasffuse.messages import printable
from adasffuse.process import say, say_error, status_of


def better_sources(error: Exception) -> str:
    """The arguments that would help, behind an error's message, where the error knows better folders or patterns."""
    if not isinstance(error, SceneError) or not (error.folders or error.patterns):
        return ""
    words = [shlex.quote(str(folder)) for folder in error.folders]
    words += [f"--pattern_{side} {shlex.quote(pattern)}" for side, pattern in zip("ab", error.patterns)]
    return f"; try {' '.join(words)}"


def ended_by(error: Exception, as_json: bool = False, advice: Callable[[Exception], str] = better_sources) -> int:
    """`say_error`; the exit status is `status_of` the error.

    Args:
        as_json: the error is also reported as a JSON object on standard output.
        advice: what follows an error's message.
    """
    return say_error(error, as_json, advice(error))


def run_shared(
    work: Callable[[inference.Ranks], int],
    as_json: bool = False,
    advice: Callable[[Exception], str] = better_sources,
) -> int:
    """Do the work together with the processes that torchrun has started, if it has; the exit status, see `status_of`.

    A result that could not be saved is told by every process, since it may be this one's disk.

    Args:
        as_json, advice: as in `ended_by`.
    """
    with inference.join_ranks() as ranks:
        try:
            return work(ranks)
        except (ValueError, OSError) as error:
            if ranks.main or isinstance(error, SaveError):
                ended_by(error, ranks.main and as_json, advice)
            ranks.leave(failed=True)
            return status_of(error)


def say_few(heading: str, said: Iterable[tuple[str, str]]) -> None:
    """Print lines 'HEADING: NAME: TEXT' of names and texts, a few of each kind, see `few_of_each`."""
    for line in few_of_each(said):
        say(printable(f"{heading}: {line}"))


def say_report(values: Mapping[str, Any], failed: Iterable[tuple[str, str]] = (), notices: Iterable[str] = ()) -> None:
    """Print what --json prints of work that was done: `ok`, the command's own values, `failed` and `notices`."""
    say(json.dumps(report_of(values, failed, notices)))


def report_of(values: Mapping[str, Any], failed: Iterable[tuple[str, str]], notices: Iterable[str]) -> dict[str, Any]:
    """What `say_report` prints."""
    lost = failures(failed)
    return {"ok": not lost, **values, "failed": lost, "notices": list(dict.fromkeys(notices))}


def failures(failed: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """JSON values of what failed, by names and reasons."""
    return [{"name": name, "reason": reason} for name, reason in failed]
