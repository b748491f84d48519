"""One process at a time in a folder of runs."""

import os
import socket
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from adasffuse.files import PARTIAL

try:
    import fcntl
except ModuleNotFoundError:  # Windows: runs are not locked there
    fcntl = None

LOCK_FILE = "lock"


class InUseError(OSError):
    """Another process works in this folder."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of an existing folder of runs; the system releases it when this process ends, however it ends.

    Processes that this one forks, such as those of a loader, do not hold it: they can outlive this one by seconds.  The
    file `lock` names the last process that held it.  It is never removed: if it were while another process opens it,
    two processes could hold the lock.

    Raises:
        InUseError: another process holds it; the message names the process.
    """
    if fcntl is None:
        yield
        return
    with open(folder / LOCK_FILE, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(200).strip() or "an unknown process"
            raise InUseError(
                f"{folder} is in use by another training, {holder}; wait for it, or choose another folder or name"
            ) from None
        except OSError as error:  # some network file systems have no locks
            warnings.warn(
                f"{folder} cannot be locked ({error}); make sure that nothing else trains there", stacklevel=3
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        os.register_at_fork(after_in_child=partial(_close, weakref.ref(file)))
        yield


def _close(reference: weakref.ref) -> None:
    """Close a file, if it is still there, in a forked process: the lock is held as long as any process has it open."""
    file = reference()
    if file is not None:
        file.close()


def remove_partial(folder: Path) -> None:
    """Remove unfinished files of a killed process; call this only while holding the folder's lock."""
    for path in folder.glob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)
