"""Texts of messages and tables: errors in one line with advice, names that are safe to print, lists cut short."""

import errno
import re
from collections.abc import Sequence

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_CURES = {  # advice about errors of the system
    **dict.fromkeys(DISK_FULL, "free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "change its permissions, or choose another place"),
    **dict.fromkeys(_IN_THE_WAY, "something else is in its place; choose another"),
    errno.EINVAL: "choose another name",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or choose another disk",
    errno.ENOENT: "check the name",
    errno.ELOOP: "it is a link that leads back to itself; remove it",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|Insufficient memory|out of memory")
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def in_latex(text: object) -> str:
    """A name as one line of LaTeX, special characters escaped."""
    return printable(text).translate(str.maketrans(_LATEX))


def in_markdown(text: object) -> str:
    """A name as one cell of a table in Markdown."""
    return printable(text).replace("|", "\\|")


def printable(text: object) -> str:
    """A name or message as one line for the terminal: line breaks, control characters and odd bytes are escaped."""
    shown = str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def first_of(names: Sequence[str], count: int = 3) -> str:
    """The first names of a list, and how many more there are: 'a, b, c and 2 more'."""
    listed = ", ".join(names[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count} more"


def counted(number: int, noun: str) -> str:
    """A number of things: '1 pair', '2 pairs', '1 box', '0 boxes'."""
    plural = f"{noun}es" if noun.endswith(("x", "s")) else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def not_written(what: object, error: OSError) -> str:
    """Message that something could not be written, with reason and advice.

    Args:
        what: the file, or 'to FOLDER'.
    """
    known = error.errno in (*DISK_FULL, *_IN_THE_WAY, errno.EINVAL, errno.EFBIG, errno.ENAMETOOLONG)
    cure = _CURES[error.errno] if known else "choose a folder that is writable"
    return f"cannot write {what}: {error.strerror or error}; {cure}"


def lacks_memory(error: BaseException) -> bool:
    """Whether memory is exhausted, as Python, NumPy, OpenCV and PyTorch say in different ways, on a GPU too."""
    if isinstance(error, MemoryError):
        return True
    of_library = not isinstance(error, ValueError | OSError)  # RuntimeError of PyTorch, and OpenCV's own
    return of_library and bool(_NO_MEMORY.search(str(error)))


def told(error: Exception) -> str:
    """An error in one line for the terminal; the system's errors with file and advice, without error numbers.

    Of an error that lists several faults, each in an indented line, the lines stay.
    """
    if lacks_memory(error):
        of_gpu = " of the GPU" if "CUDA" in str(error) else ""
        return f"out of memory{of_gpu}; a smaller --tile or --size tiny needs less, in training a smaller crop or batch"
    if not isinstance(error, OSError) or error.errno is None:
        return "\n  ".join(map(printable, str(error).split("\n  ")))
    reason = error.strerror or "cannot be read or written"
    cure = _CURES.get(error.errno, "")
    return printable(f"{error.filename2 or error.filename or 'a file'}: {reason}{'; ' if cure else ''}{cure}")
