"""Settings of the whole process that make PyTorch fast on CPUs; programs choose them, importing the package never does.

Memory: large feature maps are otherwise returned to the system and faulted in again each time, which costs a network of
large, short-lived tensors about half of its time (Linux, glibc).
Threads: OpenMP's threads otherwise spin while they wait for each other, and when anything else needs a core, such as
the threads that read and write images, all wait for the one that lost its core (GNU OpenMP).
"""

import ctypes
import logging
import os
import sys

SPINS = "2000"  # rounds of waiting before a thread sleeps; the default is some billions

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # malloc.h


def prepare_process() -> None:
    """Both settings, and `show_messages`.

    Call it before PyTorch is loaded; the variable GOMP_SPINCOUNT, where set, keeps its value.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    keep_freed_memory()
    show_messages()


def show_messages() -> None:
    """Show what the package logs, such as the backend that was chosen for the scan, as lines on standard error.

    A program that has set up logging itself keeps its handlers and levels.
    """
    log = logging.getLogger("adasffuse")
    if log.level == logging.NOTSET and not logging.getLogger().handlers:
        logging.basicConfig(format="%(message)s")
        log.setLevel(logging.INFO)


def keep_freed_memory() -> bool:
    """Ask glibc's malloc to reuse freed blocks of any size instead of unmapping them; call it before large tensors.

    Returns:
        Whether it took effect; False, without any change, where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1), (_M_TOP_PAD, 64 << 20), (_M_TRIM_THRESHOLD, 2**31 - 1))
    return all([mallopt(name, value) for name, value in settings])
