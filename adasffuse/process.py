"""What belongs to a whole process: its memory, its printing and its end.  Programs call this, never an import."""

import ctypes
import errno
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from adasffuse.files import printable, told

_PACKAGE = Path(__file__).parent
_NOTICES = 10  # lines
SPINS = "2000"  # rounds of waiting before a thread sleeps; the default is some billions

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


def world_size() -> int:
    """How many processes the environment says that there are; 1 unless all is set that torchrun sets for them to meet.

    Clusters set WORLD_SIZE alone for programs that are started in another way.
    """
    together = all(name in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"))
    return int(os.environ.get("WORLD_SIZE", 1)) if together else 1


class Interrupted(KeyboardInterrupt):
    """SIGINT arrived.

    Of a plain KeyboardInterrupt that has passed through `exec` of a text, as of a dataclass that is being made, Python
    remembers that, and ends by the signal whatever exit status is returned.
    """


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt it passes through every `except Exception`."""


def run_program(program: Callable[[], int]) -> int:
    """Run a command line program to its end, whichever that is, and return the exit status.

    Ctrl-C ends it with 130 and SIGTERM with 143, each with one line on standard error; a second one kills.  Called in
    a thread that is not the main one, no signal is handled.  Where standard output cannot be written, as on a full
    disk, the work is done, one line on standard error says so, and success becomes 1.

    Args:
        program: does all the work, PyTorch's import included, and returns an exit status.
    """
    prepare_process()
    before = sys.stdout
    sys.stdout = output = _Output(before)
    try:
        with _signals_raise(), _warnings_are_notices():
            try:
                status = program()
            except KeyboardInterrupt:
                say("interrupted; files written so far are whole", sys.stderr)
                status = 128 + signal.SIGINT
            except Terminated:
                say("terminated; files written so far are whole", sys.stderr)
                status = 128 + signal.SIGTERM
            except SystemExit as ending:  # of argparse, after --help or impossible arguments
                if not output.lost():
                    raise
                status = ending.code or 0
        error = output.lost()
        if error is None:
            return status
        say(f"error: cannot write {told(OSError(error.errno, error.strerror, 'standard output'))}", sys.stderr)
        return status or 1
    finally:
        sys.stdout = before


class _Output:
    """A stream that takes everything, and remembers the error by which it lost something.

    A closed pipe is no error: who reads, as `head` does, has seen enough.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._losing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._losing():
            self._stream.flush()

    def lost(self) -> OSError | None:
        """Why something was lost, or None."""
        self.flush()
        return self._error

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            closed_pipe = error.errno == (errno.EINVAL if sys.platform == "win32" else errno.EPIPE)
            if not closed_pipe:
                self._error = self._error or error
            _lead_nowhere(self._stream)


def say_notices(texts: Sequence[object]) -> None:
    """Print the first notices to standard error, and how many more there are."""
    for line in notice_lines(texts):
        say(line, sys.stderr)


def notice_lines(texts: Sequence[object], rest: str = "notices of this kind") -> list[str]:
    """A line for each of the first notices, and one that says how many more of the `rest` there are."""
    lines = [f"notice: {printable(text)}" for text in texts[:_NOTICES]]
    more = len(texts) - len(lines)
    return [*lines, f"notice: {more} more {rest}"] if more else lines


def say(text: object, stream: TextIO | None = None) -> None:
    """Print a text that cannot fail: a closed or full output loses it, which `run_program` tells at its end.

    Args:
        text: one line or several; `printable` escapes the rest, so a name that may hold line breaks goes through it.
        stream: standard output where None.
    """
    stream = stream or sys.stdout
    try:
        print("\n".join(map(printable, str(text).split("\n"))), file=stream, flush=True)
    except OSError:
        _lead_nowhere(stream)


def _lead_nowhere(stream: TextIO) -> None:
    """Whatever is left in the stream's buffer, or written to it from now on, is lost, at the end of Python as well."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _warnings_are_notices() -> Iterator[None]:
    """Warnings of this package are printed as its notices are, without the line of code; others as Python does."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], filename: str, *place: Any, **more: Any) -> None:
        if Path(filename).is_relative_to(_PACKAGE):
            say(f"notice: {printable(message)}", sys.stderr)
        else:
            before(message, category, filename, *place, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGINT and SIGTERM raise an exception in the main thread, once; the handlers of before come back at the end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    endings = {signal.SIGINT: Interrupted, signal.SIGTERM: Terminated}

    def end(number: int, frame: object) -> None:
        for one in endings:
            signal.signal(one, signal.SIG_DFL)
        raise endings[number]

    before = {number: signal.signal(number, end) for number in endings}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def prepare_process() -> None:
    """All settings below; call it before PyTorch is loaded.

    Memory: large feature maps are otherwise returned to the system and faulted in again each time, which costs a
    network of large, short-lived tensors about half of its time (Linux, glibc).
    Threads: OpenMP's threads otherwise spin while they wait for each other, and when anything else needs a core, such
    as the threads that read and write images, all wait for the one that lost its core (GNU OpenMP).  The variable
    GOMP_SPINCOUNT, where set, keeps its value.
    Output: see `make_printing_safe`.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    keep_freed_memory(one_arena=True)
    make_printing_safe()
    show_messages()


def make_printing_safe() -> None:
    """Let standard output and error show '?' for what their encoding lacks, such as arrows in ASCII.

    One that the process was started without leads nowhere from now on: libraries expect it, and the next file that is
    opened must not take its place.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (stays open)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def show_messages() -> None:
    """Show what the package logs, such as the backend that was chosen for the scan, as lines on standard error.

    A program that has set up logging itself keeps its handlers and levels.  What other packages log is shown no more
    than without this.
    """
    log = logging.getLogger("adasffuse")
    if log.level == logging.NOTSET and not logging.getLogger().handlers:
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)


def keep_freed_memory(one_arena: bool = False) -> bool:
    """Ask glibc's malloc to reuse freed blocks of any size, up to 512 MiB, instead of unmapping them.

    Args:
        one_arena: also let all threads share one heap, which keeps the process smaller.
    Returns:
        Whether it took effect; False, without any change, where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 512 << 20} | ({_M_ARENA_MAX: 1} if one_arena else {})
    return all([mallopt(name, value) for name, value in settings.items()])


def release_freed_memory() -> None:
    """Give the system back what glibc's malloc keeps for later; elsewhere nothing."""
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
