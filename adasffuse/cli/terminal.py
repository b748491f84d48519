"""What every command does alike: printing that cannot fail, and an orderly end on Ctrl-C and SIGTERM."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from adasffuse.files import printable

INTERRUPTED, TERMINATED = 130, 143  # exit statuses: 128 + SIGINT, 128 + SIGTERM
_PLAIN = str.maketrans({"↑": "^", "↓": "v", "…": "..."})


def show(text: str, stream: TextIO | None = None) -> None:
    """Print text whatever the stream's encoding is, and whether or not anybody still reads it.

    Characters that the encoding lacks are replaced, control characters escaped.

    Args:
        text: one or more lines.
        stream: standard output by default.
    """
    stream = stream or sys.stdout
    if stream is None:  # a program without a terminal
        return
    text = printable(text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:  # nobody reads any more; the interpreter flushes once more at its end, which must not fail
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError as error:
        if stream is not sys.stderr:
            show(f"error: cannot print ({error.strerror or error})", sys.stderr)


def end_well(command: Callable[[], int]) -> int:
    """Run a command; Ctrl-C gives status 130 and SIGTERM 143, one line each, after everything has been cleaned up.

    Args:
        command: returns its exit status.
    Returns:
        The command's status, 130 or 143.
    """

    def terminate(*_: object) -> None:
        raise SystemExit(TERMINATED)

    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, terminate) if in_main_thread else None
    try:
        return command()
    except KeyboardInterrupt:
        show("interrupted", sys.stderr)
        return INTERRUPTED
    except SystemExit as end:
        if end.code != TERMINATED:
            raise
        show("terminated", sys.stderr)
        return TERMINATED
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)
