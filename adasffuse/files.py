"""Files that are whole or not there at all, and names that are safe to show."""

import errno
import hashlib
import os
import re
import secrets
import socket
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ModuleNotFoundError:  # Windows: files are not locked there
    fcntl = None

NO_ADDRESS = "files are read and written on this computer, not at addresses; give a path"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
PARTIAL = ".part-"  # how the names of unfinished files begin
_PARTIAL_NAME = re.compile(re.escape(PARTIAL) + r"[0-9a-f]{24}(\..{0,7})?")
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_CURES = {  # what to do about errors of the system
    **dict.fromkeys(DISK_FULL, "free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "change its permissions, or choose another place"),
    **dict.fromkeys(_IN_THE_WAY, "something else is in its place; choose another"),
    errno.EINVAL: "choose another name",
    errno.ENOENT: "check the name",
    errno.ELOOP: "it is a link that leads back to itself; remove it",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@contextmanager
def replacing(path: str | Path, sync: bool = False) -> Iterator[Path]:
    """A new file beside `path` to write to; at the end of the block it takes the place of `path`, in one step.

    Where the block fails, or is interrupted, `path` stays as it was, and the new file and folders are removed; its
    error names `path`, not the new file.  Folders are made where needed.  The new file has a short name of its own,
    whatever the length of `path`'s.  A link stays a link: what it points to is replaced.

    Args:
        path: the file to be written or replaced.
        sync: also wait until the content lies on the disk, for what must outlive a power cut.
    Raises:
        OSError: folder or file cannot be written, the disk is full, or `path` is a folder, a device or a pipe.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    _, new_folders = _place_of(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _new_file_beside(path) as temporary:
            yield temporary
            if sync:
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        for folder in new_folders:
            with suppress(OSError):  # it holds something, as after success
                folder.rmdir()


@contextmanager
def _new_file_beside(path: Path) -> Iterator[Path]:
    """An empty file for what `path` will hold, removed at the end.

    Its lock is held, so that it does not look abandoned.  Errors of the block name `path`.
    """
    try:
        temporary, file = _make_file_beside(path)
    except OSError as error:  # of a name that nobody has asked for
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        yield temporary
    except (OSError, ValueError) as error:
        _name(error, temporary, path)
        raise
    finally:
        file.close()
        with suppress(OSError):
            temporary.unlink()


def _make_file_beside(path: Path) -> tuple[Path, BinaryIO]:
    while True:
        temporary = path.with_name(f"{_partial_of(path)}{secrets.token_hex(8)}{path.suffix[:8]}")
        file = temporary.open("xb")
        if fcntl is None:
            file.close()  # one that is open cannot be moved there
            return temporary, file
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, file
        file.close()  # another process took it for abandoned, just before it was locked


def _partial_of(path: Path) -> str:
    """How the names of unfinished files of `path` begin that this machine writes."""
    key = f"{socket.gethostname()}/{path.name}"
    return PARTIAL + hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:8]


def remove_abandoned(paths: Iterable[str | Path]) -> None:
    """Remove what processes of this machine that were killed have left of `replacing` these files.

    What a living process writes is locked, and stays; so does all where files cannot be locked.
    """
    if fcntl is None:
        return
    folders: dict[Path, set[str]] = defaultdict(set)
    for path in map(Path, paths):
        real = Path(os.path.realpath(path)) if path.is_symlink() else path
        folders[real.parent].add(real.name)
    for folder, names in folders.items():
        left = [path for path in folder.glob(f"{PARTIAL}*") if _PARTIAL_NAME.fullmatch(path.name)]
        beginnings = {_partial_of(folder / name) for name in names} if left else set()
        for path in left:
            if path.name[: len(PARTIAL) + 8] in beginnings:
                with suppress(OSError), open(path, "rb+") as file:  # NFS locks what is open for writing
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def _name(error: OSError | ValueError, temporary: Path, path: Path) -> None:
    """Let an error of writing name the file that was asked for, not the new one, nor none."""
    if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(temporary)):
        with suppress(AttributeError):  # PyAV's errors do not let themselves be renamed
            error.filename = str(path)
    error.args = tuple(one.replace(str(temporary), str(path)) if isinstance(one, str) else one for one in error.args)


@contextmanager
def replacing_all() -> Iterator[Callable[[Path], Path]]:
    """As `replacing`, for files that belong together: at the end of the block all take their places, or none does.

    Yields a function that takes the file to be written or replaced and returns the new one to write to.
    """
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(replacing(path))


def check_outputs(
    files: Mapping[str, Path | None] | None = None,
    folders: Mapping[str, Path | None] | None = None,
    inputs: Iterable[Path] = (),
) -> None:
    """Refuse what cannot be written, before any work; nothing is left behind.

    Args:
        files: option to the file that it names; None: it was not given.
        folders: option to the folder that gets files, made where there is none.
        inputs: files that must stay as they are.
    Raises:
        ValueError: something else is in the place, nothing can be written there, the name is too long, two options name
            one file, or a file is an input.
    """
    named: dict[str, str] = {}
    kept = set(map(os.path.realpath, inputs))
    for option, path in (files or {}).items():
        if path is None:
            continue
        real = os.path.realpath(path)
        if os.path.exists(real) and not os.path.isfile(real):
            kind = "a folder" if os.path.isdir(real) else "a device or a pipe"
            raise ValueError(f"{option} {path}: is {kind}, and a file is written here; choose another name")
        if real in kept:
            raise ValueError(f"{option} {path}: would overwrite an input; choose another name")
        if real in named:
            raise ValueError(f"{named[real]} and {option} name one file, {path}; each needs its own")
        named[real] = option
        _check_place(option, path, Path(real).parent, Path(real).name)
    for option, path in (folders or {}).items():
        if path is None:
            continue
        real = os.path.realpath(path)
        if real in named or (os.path.exists(real) and not os.path.isdir(real)):
            kind = f"the file of {named[real]}" if real in named else "no folder"
            raise ValueError(f"{option} {path}: is {kind}, and a folder is needed here; choose another name")
        _check_place(option, path, Path(real))


def _check_place(option: str, path: Path, folder: Path, name: str = "") -> None:
    """Raise ValueError unless a file, of this name where one is given, can be made in a folder, made where needed."""
    place, new_folders = _place_of(folder)
    if not place.is_dir():
        raise ValueError(f"{option} {path}: {place} is no folder; choose another place")
    try:
        for part in (*(new.name for new in new_folders), name):
            with suppress(FileNotFoundError):
                os.lstat(place / part)  # too long a name is an error
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{option} {path}: {error.strerror}; {_CURES[error.errno]}") from error
        raise ValueError(f"{option} {path}: {not_written(f'to {place}', error)}") from error


def _place_of(folder: Path) -> tuple[Path, list[Path]]:
    """What is there of a folder's path, and the folders that are missing, the innermost first."""
    missing = []
    while not os.path.exists(folder):
        missing.append(folder)
        folder = folder.parent
    return folder, missing


def is_address(path: str | Path) -> bool:
    """Whether a path is the address of something on the network, such as https://host/a.png; `Path` drops a slash."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)))


def name_of(folder: str | Path) -> str:
    """What a folder is called where it was named, also '.' and '..'; of a link its own name, not its target's."""
    return os.path.basename(os.path.abspath(folder))


def not_written(what: object, error: OSError) -> str:
    """Why a file, or something to a folder, could not be written, and what to do."""
    known = error.errno in (*DISK_FULL, *_IN_THE_WAY, errno.EINVAL, errno.ENAMETOOLONG)
    cure = _CURES[error.errno] if known else "choose a folder that is writable"
    return f"cannot write {what}: {error.strerror or error}; {cure}"


def told(error: Exception) -> str:
    """An error in one line for the terminal; of the system's own errors, the file and what to do, without numbers."""
    if not isinstance(error, OSError) or error.errno is None:
        return printable(error)
    reason = error.strerror or "cannot be read or written"
    cure = _CURES.get(error.errno, "")
    return printable(f"{error.filename2 or error.filename or 'a file'}: {reason}{'; ' if cure else ''}{cure}")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all; errors as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write UTF-8 text, lines ending as given, whole or not at all; errors as `replacing`."""
    write_bytes(path, content.encode("utf-8", "surrogateescape"))


def write_with(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write(temporary)` make the file, whole or not at all; errors as `replacing` and those of `write`."""
    with replacing(path) as temporary:
        write(temporary)


def in_latex(text: object) -> str:
    """A name as one line of LaTeX that shows it."""
    return printable(text).translate(str.maketrans(_LATEX))


def in_markdown(text: object) -> str:
    """A name as one cell of a table in Markdown."""
    return printable(text).replace("|", "\\|")


def printable(text: object) -> str:
    """A name or message as one line for the terminal: line breaks, control characters and odd bytes are escaped."""
    shown = str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
