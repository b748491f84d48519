"""Keep freed memory in the process (glibc): large feature maps are otherwise returned and faulted in again each time.

On Linux CPUs that costs a network of large, short-lived tensors about half of its time.  It is a setting of the whole
process, so programs choose it: the scripts of this project do, importing the package never does.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # malloc.h


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
