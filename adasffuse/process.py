"""Settings of a whole process: memory, printing, signals and exit.  Only programs call this; no import does."""

import ctypes
import errno
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from adasffuse.messages import lacks_memory, printable, told

_PACKAGE = Path(__file__).parent
_NOTICES = 10  # lines
SPINS = "2000"  # rounds of busy waiting before an OpenMP thread sleeps; the default is some billions

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


def world_size() -> int:
    """Number of processes started by torchrun; 1 unless all its variables are set.

    Clusters may set WORLD_SIZE alone, for programs that are started in another way.
    """
    by_torchrun = all(name in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"))
    return int(os.environ.get("WORLD_SIZE", 1)) if by_torchrun else 1


def process_rank() -> int:
    """Number of this process among those started by torchrun, from 0; 0 for a process alone, whatever RANK says."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


class Interrupted(KeyboardInterrupt):
    """SIGINT arrived.

    A class of our own, because Python ignores the exit status after a plain KeyboardInterrupt that passed through
    `exec` of a text, such as the making of a dataclass.
    """


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt it passes through every `except Exception`."""


def run_program(program: Callable[[], int], as_json: bool = False) -> int:
    """Run a command line program and return its exit status.

    Ctrl-C ends it with 130 and SIGTERM with 143, each with one line on standard error; a second signal kills.  Signals
    are handled only in the main thread.  If standard output cannot be written, e.g. on a full disk, the work is done,
    one line on standard error says so, and the status is 1 instead of 0.

    Nothing is begun in a folder that was removed: relative paths mean nothing there, and PyTorch's libraries cannot be
    loaded.

    Args:
        program: does all the work, PyTorch's import included, and returns an exit status.
        as_json: an end by a signal or an error that `program` lets through is also reported as a JSON object on
            standard output.
    """
    prepare_process()
    before = sys.stdout
    sys.stdout = output = _Output(before)
    try:
        with _signals_raise(), _warnings_are_notices():
            try:
                status = _without_folder(as_json) or program()
            except (KeyboardInterrupt, Terminated) as ending:
                by_term = isinstance(ending, Terminated)
                told_of = f"{'terminated' if by_term else 'interrupted'}; files written so far are whole"
                say(told_of, sys.stderr)
                if as_json:
                    say(json.dumps({"ok": False, "interrupted": True, "error": told_of}))
                status = 128 + (signal.SIGTERM if by_term else signal.SIGINT)
            except Exception as error:
                if not lacks_memory(error):
                    if as_json:
                        say(json.dumps({"ok": False, "error": f"{type(error).__name__}: {told(error)}"}))
                    raise
                status = say_error(error, as_json)
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


def wants_json(words: Sequence[str]) -> bool:
    """Whether words of a command line ask for a JSON report: --json, which argparse lets users shorten to --j."""
    options = words[: words.index("--")] if "--" in words else words
    return any(len(word) > 2 and "--json".startswith(word) for word in options)


def _without_folder(as_json: bool) -> int:
    """The exit status 1, and the error said, if the current folder was removed or cannot be read; else 0."""
    try:
        os.getcwd()
    except OSError as error:
        reason = f"the current folder is not there or cannot be read ({error.strerror}); change to another one by cd"
        return say_error(FileNotFoundError(reason), as_json)
    return 0


def run_script(work: Callable[[Any], int | None], args: Any) -> int:
    """`run_program` for a script: errors of what it is given, and of files, are one line on standard error.

    The exit status is then `status_of` the error.

    Args:
        work: takes `args`, does all the work, and returns an exit status, or None for 0.
    """

    def program() -> int:
        try:
            return work(args) or 0
        except (ValueError, OSError, FloatingPointError) as error:
            return say_error(error)

    return run_program(program)


class _Output:
    """A stream whose writes never fail; it remembers the error by which output was lost.

    A closed pipe is no error: the reader, such as `head`, has seen enough.
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
        """The error by which output was lost, or None."""
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
            _discard_output(self._stream)


def status_of(error: Exception) -> int:
    """The exit status of a program that an error ends: 2 where its arguments make no sense, else 1.

    For the former the package raises ValueError itself; errors of files, images, weights and so on have classes of
    their own.
    """
    return 2 if type(error) is ValueError else 1


def say_error(error: Exception, as_json: bool = False, advice: str = "") -> int:
    """Say an error on standard error; the exit status is `status_of` the error.

    Args:
        as_json: the error is also reported as a JSON object on standard output.
        advice: what follows its message on standard error.
    """
    say(f"error: {told(error)}{advice}", sys.stderr)
    if as_json:
        say(json.dumps({"ok": False, "error": told(error)}))
    return status_of(error)


def say_all_notices(texts: Iterable[object], stream: TextIO | None = None) -> None:
    """Print a line for each notice; `stream` as of `say`."""
    for text in texts:
        say(f"notice: {printable(text)}", stream)


def say_notices(texts: Sequence[object]) -> None:
    """Print the first notices to standard error, and the number of further ones."""
    for line in notice_lines(texts):
        say(line, sys.stderr)


def notice_lines(texts: Sequence[object], rest: str = "notices of this kind") -> list[str]:
    """A line for each of the first notices, and one with the number of further ones, called `rest`."""
    lines = [f"notice: {printable(text)}" for text in texts[:_NOTICES]]
    more = len(texts) - len(lines)
    return [*lines, f"notice: {more} more {rest}"] if more else lines


def say(text: object, stream: TextIO | None = None) -> None:
    """Print a text; never fails: if the output is closed or full the text is lost, which `run_program` reports.

    Args:
        text: one line or several, each made `printable`.  Pass names that may hold line breaks through `printable`
            first.
        stream: None for standard output.
    """
    stream = stream or sys.stdout
    try:
        print("\n".join(map(printable, str(text).split("\n"))), file=stream, flush=True)
    except OSError:
        _discard_output(stream)


def _discard_output(stream: TextIO) -> None:
    """Redirect a stream to the null device, so that flushing its buffer at exit cannot fail, either."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _warnings_are_notices() -> Iterator[None]:
    """Print warnings of this package like its notices, without the line of code, and others as Python does."""
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
    """Let SIGINT and SIGTERM raise an exception in the main thread, once; the old handlers are restored at the end."""
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
    """Set up memory, threads and output; call it before PyTorch is imported.

    Memory: by default large feature maps are returned to the system and faulted in again each time, which costs a
    network about half of its time (Linux, glibc).
    Threads: by default OpenMP's threads spin while they wait for each other.  When another thread, e.g. one that reads
    images, needs a core, all wait for the one that lost its core (GNU OpenMP).  A value of GOMP_SPINCOUNT is kept.
    Output: see `make_printing_safe`.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    keep_freed_memory(one_arena=True)
    make_printing_safe()
    show_messages()


def make_printing_safe() -> None:
    """Let standard output and error show '?' for characters that their encoding lacks, such as arrows in ASCII.

    If the process was started without one of them, it becomes the null device: libraries expect it, and the next opened
    file must not take its number.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (stays open)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def show_messages() -> None:
    """Show log messages of this package as lines on standard error.

    A program that has set up logging itself keeps its handlers and levels, and messages of other packages are not
    affected.
    """
    log = logging.getLogger("adasffuse")
    if log.level == logging.NOTSET and not logging.getLogger().handlers:
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)


def keep_freed_memory(one_arena: bool = False) -> bool:
    """Let glibc's malloc reuse freed blocks of any size, up to 512 MiB, instead of unmapping them.

    Args:
        one_arena: let all threads share one heap, which keeps the process smaller.
    Returns:
        Whether it took effect; False if the C library is not glibc.
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
    """Return the memory that glibc's malloc keeps for later to the system; does nothing elsewhere."""
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
