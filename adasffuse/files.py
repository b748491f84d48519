"""Atomic writing of files, and checks of the paths that a user gives."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from adasffuse.messages import not_written

try:
    import fcntl
except ModuleNotFoundError:  # Windows: files are not locked there
    fcntl = None

NO_ADDRESS = "files are read and written on this computer, not at addresses; give a path"
LOCK_FILE = "lock"  # in folders of trainings and comparisons, see `keeping_others_out`
PARTIAL = ".part-"  # beginning of the names of unfinished files
_ENDINGS = """
png jpg jpeg jpe jfif jls tif tiff bmp webp gif pgm ppm pnm pbm pam pfm jp2 j2k jxl avif heic heif hif exr hdr svg psd
dcm 3fr arw cr2 cr3 dng nef nrw orf pef raf raw rw2 srw
mp4 mkv mov m4v avi webm wmv flv mpg mpeg ts mts m2ts ogv 3gp mxf vob y4m mp3 wav flac ogg m4a aac
nii gz mha mhd nrrd fits mat npy npz h5 hdf5 pkl pt pth pt2 onnx ckpt safetensors
txt log md rst csv tsv json yaml yml toml ini xml html htm tex latex pdf doc docx odt xls xlsx ods ppt pptx py sh
zip tar tgz bz2 xz 7z rar
"""
FILE_ENDINGS = frozenset(f".{ending}" for ending in _ENDINGS.split())  # what no folder and no other file is called like
_PARTIAL_NAME = re.compile(re.escape(PARTIAL) + r"[0-9a-f]{24}(\..{0,7})?")


@contextmanager
def replacing(path: str | Path, sync: bool = False) -> Iterator[Path]:
    """A temporary file beside `path` to write to, which replaces `path` in one step at the end of the block.

    If the block fails or is interrupted, `path` is unchanged, the temporary file and new folders are removed, and the
    error names `path`, not the temporary file.  Folders are made if needed.  The temporary file has a short name,
    however long `path`'s is.  A link stays a link: its target is replaced.

    Args:
        path: the file to be written or replaced.
        sync: wait until the content is on the disk, for files that must survive a power failure.
    Raises:
        OSError: folder or file cannot be written, the disk is full, or `path` is a folder, a device or a pipe.
    """
    path = real_path(path)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    new_folders = missing_folders(path.parent)
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
            with suppress(OSError):  # not empty, as after success
                folder.rmdir()


@contextmanager
def _new_file_beside(path: Path) -> Iterator[Path]:
    """An empty temporary file beside `path`, removed at the end.

    It is locked, so that `remove_abandoned` leaves it alone.  Errors of the block name `path`.
    """
    try:
        temporary, file = _make_file_beside(path)
    except OSError as error:  # which names the temporary file
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
            file.close()  # open files cannot be moved on Windows
            return temporary, file
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, file
        file.close()  # another process removed it as abandoned, just before it was locked


def _partial_of(path: Path) -> str:
    """Beginning of the names of unfinished files of `path` that this machine writes."""
    key = f"{socket.gethostname()}/{path.name}"
    return PARTIAL + hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:8]


def remove_abandoned(paths: Iterable[str | Path]) -> None:
    """Remove temporary files that killed processes of this machine left while `replacing` these files.

    Files of living processes are locked and stay; without file locks all stay.
    """
    if fcntl is None:
        return
    folders: dict[Path, set[str]] = defaultdict(set)
    for path in map(Path, paths):
        real = real_path(path) if path.is_symlink() else path
        folders[real.parent].add(real.name)
    for folder, names in folders.items():
        left = [path for path in folder.glob(f"{PARTIAL}*") if _PARTIAL_NAME.fullmatch(path.name)]
        beginnings = {_partial_of(folder / name) for name in names} if left else set()
        for path in left:
            if path.name[: len(PARTIAL) + 8] in beginnings:
                with suppress(OSError), open(path, "rb+") as file:  # NFS locks only files open for writing
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


class InUseError(BlockingIOError):
    """Another run works in this folder."""


@contextmanager
def keeping_others_out(folder: Path, lock_file: str = "") -> Iterator[None]:
    """Let no other run work in an existing folder meanwhile; it is unlocked when this process ends, however it ends.

    Processes that this one forks, such as those of a loader, do not hold the lock: they can outlive this one by
    seconds.  Nothing is locked without file locks.

    Args:
        lock_file: name of a file in the folder that is locked, on network file systems, too.  It names the last process
            that held it, and is never removed: if it were while another process opens it, two could hold the lock.
            '': the folder itself is locked, and nothing is written.
    Raises:
        InUseError: another run works there; with a lock file, the message names the process.
    """
    if fcntl is None:
        yield
        return
    held = [os.open(folder / lock_file, os.O_RDWR | os.O_CREAT if lock_file else os.O_RDONLY, 0o666)]
    os.register_at_fork(after_in_child=partial(_close_all, held))
    try:
        try:
            fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(held[0], 200, 0).decode(errors="replace").strip() if lock_file else ""
            raise InUseError(
                f"{folder} is in use by another run, {holder or 'an unknown process'}; wait for it, or choose another "
                "folder or name"
            ) from None
        except OSError as error:  # some network file systems have no locks
            if lock_file:
                warnings.warn(
                    f"{folder} cannot be locked ({error}); make sure that nothing else runs there", stacklevel=3
                )
        if lock_file:
            os.ftruncate(held[0], 0)
            os.pwrite(held[0], f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        _close_all(held)


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _name(error: OSError | ValueError, temporary: Path, path: Path) -> None:
    """Let an error of writing name `path` instead of the temporary file or no file."""
    if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(temporary)):
        with suppress(AttributeError):  # the file name of PyAV's errors is read-only
            error.filename = str(path)
    error.args = tuple(one.replace(str(temporary), str(path)) if isinstance(one, str) else one for one in error.args)


@contextmanager
def replacing_all() -> Iterator[Callable[[Path], Path]]:
    """`replacing` for files that belong together: at the end of the block all are replaced, or none.

    Yields a function from the file to be written or replaced to the temporary file to write to.
    """
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(replacing(path))


class InputError(ValueError):
    """A file that is given does not hold what is needed of it."""


class OutputError(ValueError):
    """An output cannot be written where an option says."""


def check_outputs(
    files: Mapping[str, Path | None] | None = None,
    folders: Mapping[str, Path | None] | None = None,
    inputs: Iterable[Path] = (),
) -> None:
    """Refuse outputs that cannot be written, before any work; nothing is created.

    Args:
        files: option to the output file that it names; None: it was not given.
        folders: option to the output folder that it names, which need not exist.
        inputs: files that must not be overwritten, and folders that are read, in which no output may lie.
    Raises:
        OutputError: the path is something else, nothing can be written there, the name is too long, or an output is an
            input or lies among the inputs.
        ValueError: two options name one file, or a folder as `refuse_file_name`.
    """
    named: dict[str, str] = {}
    kept = set(map(os.path.realpath, inputs))
    for option, path in (files or {}).items():
        if path is None:
            continue
        real = os.path.realpath(path)
        if os.path.exists(real) and not os.path.isfile(real):
            kind = "a folder" if os.path.isdir(real) else "a device or a pipe"
            raise OutputError(f"{option} {path}: is {kind}, and a file is written here; choose another name")
        if real in kept:
            raise OutputError(f"{option} {path}: would overwrite an input; choose another name")
        if os.path.dirname(real) in kept and os.path.isdir(os.path.dirname(real)):
            raise OutputError(f"{option} {path}: would lie among the inputs in {path.parent}; choose another folder")
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
            raise OutputError(f"{option} {path}: is {kind}, and a folder is needed here; choose another name")
        if real in kept:
            raise OutputError(f"{option} {path}: holds inputs, and outputs would lie among them; choose another folder")
        refuse_file_name(path, f"{option} ")
        _check_place(option, path, Path(real))


def ends_like_a_file(folder: Path) -> bool:
    """Whether what is to become a folder has a name that ends like a file's, as one of `FILE_ENDINGS`.

    Other names may have dots, such as run.v2 and fused.tiny, and a folder that exists may be called anything.
    """
    return folder.suffix.lower() in FILE_ENDINGS and not folder.is_dir()


def refuse_file_name(folder: Path, option: str = "") -> None:
    """Raise ValueError where `ends_like_a_file`."""
    if ends_like_a_file(folder):
        raise ValueError(
            f"{option}{folder}: a folder is written here, and {folder.suffix!r} is the ending of a file; leave it out, "
            "or make that folder first"
        )


def _check_place(option: str, path: Path, folder: Path, name: str = "") -> None:
    """Raise OutputError unless a file (called `name`, if given) can be made in a folder, which need not exist."""
    new_folders = missing_folders(folder)
    place = new_folders[-1].parent if new_folders else folder
    if not place.is_dir():
        raise OutputError(f"{option} {path}: {place} is no folder; choose another place")
    try:
        for part in (*(new.name for new in new_folders), name):
            with suppress(FileNotFoundError):
                os.lstat(place / part)  # too long a name is an error
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError(f"{option} {path}: {error.strerror}; choose a shorter name") from error
        raise OutputError(f"{option} {path}: {not_written(f'to {place}', error)}") from error


def missing_folders(folder: Path) -> list[Path]:
    """The folders of a path that do not exist, the innermost first."""
    missing = []
    while not os.path.exists(folder) and folder != folder.parent:  # on Windows, a drive may be missing, too
        missing.append(folder)
        folder = folder.parent
    return missing


def is_address(path: str | Path) -> bool:
    """Whether a path is the address of something on the network, such as https://host/a.png; `Path` drops a slash."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)))


def real_path(path: str | Path) -> Path:
    """The absolute path without links.

    In place of `Path.resolve`, which until Python 3.13 raises RuntimeError for a link that leads back to itself.
    """
    return Path(os.path.realpath(path))


def name_of(folder: str | Path) -> str:
    """Name of a folder, also of '.' and '..'; for a link its own name, not its target's."""
    return os.path.basename(os.path.abspath(folder))


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


def link_or_copy(source: Path, path: Path) -> None:
    """Make a new file a link to another, or a copy where links are impossible: on FAT, or on Windows without the right.

    Raises:
        OSError: it cannot be written.
    """
    try:
        path.symlink_to(real_path(source))
    except OSError:
        shutil.copyfile(source, path)
