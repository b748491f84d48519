"""Saving results, whole or not at all, noting them in a journal, and what is said of those of earlier runs."""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np

from adasffuse.files import keeping_others_out, missing_folders, remove_abandoned
from adasffuse.images.image import ImageError
from adasffuse.images.metadata import Metadata
from adasffuse.images.pairs import Scene
from adasffuse.images.write import DEPTHS, write_image
from adasffuse.inference.journal import Journal, Stamp
from adasffuse.inference.work import RESULT_SUFFIXES, Work
from adasffuse.messages import DISK_FULL, counted, not_written

_HOPELESS = (*DISK_FULL, errno.EROFS)  # what no later file will be spared


class SaveError(OSError):
    """The folder of the results cannot be written: nothing more can be saved there."""


@contextmanager
def alone_in(work: Work, rank: int = 0) -> Iterator[None]:
    """`alone_in_folder` for the results of some scenes, without what a run that was killed has left of these.

    The first process locks the folder for all, and removes it if nothing was written; others may be done before that
    one has begun.  The folder of a single file is not locked.
    """
    with ExitStack() as stack:
        if rank == 0:
            stack.enter_context(alone_in_folder(work.save_dir, lock=work.file is None))
        else:
            _try_to_write(work.save_dir)
        remove_abandoned(path for scene in work.scenes for path in work.places(scene))
        yield


@contextmanager
def alone_in_folder(folder: Path, lock: bool = True) -> Iterator[None]:
    """Make a folder of results, and keep other runs out of it meanwhile, since their results would mix with these.

    A new folder in which nothing was written is removed at the end.

    Args:
        lock: whether others are kept out.
    Raises:
        SaveError: it cannot be written, or another run is writing there.
    """
    with ExitStack() as stack:
        stack.callback(_remove_empty, missing_folders(folder))
        _try_to_write(folder)
        try:
            stack.enter_context(keeping_others_out(folder) if lock else nullcontext())
        except BlockingIOError:
            raise SaveError(
                f"another run is writing results to {folder}; wait for it, or choose another folder"
            ) from None
        yield


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of some folders that are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _try_to_write(save_dir: Path) -> None:
    """Make the folder of the results, and raise SaveError unless files can be made in it."""
    try:
        save_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=save_dir):
            pass
    except OSError as error:
        raise SaveError(not_written(f"results to {save_dir}", error)) from error


def save_result(path: Path, fused: np.ndarray, depth: str, metadata: Metadata | None = None) -> None:
    """Write a result.

    Raises:
        SaveError: the disk is full, or cannot be written any more.
        ImageError: this file cannot be written.
    """
    with saving(path):
        write_image(path, fused, depth, metadata)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Within it a result is written; errors as of `save_result`."""
    try:
        yield
    except (ImageError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in _HOPELESS:
            raise SaveError(f"cannot write {path}: {cause.strerror}; results written before are whole") from error
        raise


def journal_of(save_dir: Path, settings: str, resume: bool, rank: int = 0) -> Journal:
    """The journal of a folder of results; raises SaveError where one cannot be read, or none be written."""
    try:
        return Journal(save_dir, settings, resume, rank)
    except OSError as error:
        raise SaveError(f"cannot keep a journal in {error.filename or save_dir}: {error.strerror or error}") from error


def note_result(journal: Journal, scene: Scene, sources: Sequence[Stamp], results: Sequence[Path]) -> None:
    """`Journal.note`; raises SaveError where that cannot be noted."""
    try:
        journal.note(scene, sources, results)
    except OSError as error:
        raise SaveError(not_written(f"the journal {error.filename or results[0].parent}", error)) from error


def outdated_notice(count: int) -> list[str]:
    """A notice of results that an earlier run had finished otherwise; [] for none."""
    if not count:
        return []
    return [
        f"{counted(count, 'result')} of an earlier run had other settings, weights or another version, and were not "
        "kept"
    ]


def stale_results(work: Work, failed: Iterable[str]) -> list[str]:
    """A notice of files that lie where scenes that failed would have theirs; [] for none."""
    places = dict.fromkeys(work.result(Scene(stem, ()), depth) for stem in failed for depth in DEPTHS)
    stale = [path for path in places if os.path.isfile(path)]
    if not stale:
        return []
    if len(stale) == 1:
        return [f"{stale[0]} is of an earlier run; its scene has failed now"]
    return [f"{len(stale)} files of an earlier run, such as {stale[0]}, stay where scenes have failed now"]


def former_results(results: Iterable[Path]) -> list[str]:
    """A notice of files beside results that have their names in another format, as an earlier run wrote them."""
    beside = [path.with_suffix(suffix) for path in results for suffix in RESULT_SUFFIXES if suffix != path.suffix]
    beside = sorted(path for path in set(beside) if os.path.isfile(path))  # a longer name may be too long
    if not beside:
        return []
    files = counted(len(beside), "file")
    return [
        f"{beside[0].parent}: {files} of an earlier run, such as {beside[0].name}, have the names of results "
        "in another format; remove what is not wanted, or choose another folder"
    ]
