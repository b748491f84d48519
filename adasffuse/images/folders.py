"""What lies in a folder: its image files, what else is in it, and what lies below."""

import os
import re
from collections import Counter
from pathlib import Path

from adasffuse.images.read import IMAGE_SUFFIXES
from adasffuse.messages import first_of

PANELS = "panels"  # folder below results, in which sources and result lie side by side
_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "@eadir", "__macosx"}  # what is hidden (.DS_Store) is ignored as well


def images_of(folder: Path) -> list[Path]:
    """The image files of a folder, by their names, 2 before 10; hidden ones and what is below are passed over."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not ignored(path.name))
    return sorted((path for path in found if path.is_file()), key=lambda path: (in_order(path.name), path.name))


def other_files(folder: Path) -> list[Path]:
    """The files of a folder that are no images by their names; hidden ones and what is below are passed over."""
    found = (path for path in folder.iterdir() if path.suffix.lower() not in IMAGE_SUFFIXES and not ignored(path.name))
    return sorted(path for path in found if path.is_file())


def in_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which name 2 comes before name 10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part]


def ignored(name: str) -> bool:
    """Whether a file or folder of this name is not the user's, but hidden or made by a system or an archive."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def identity_of(path: str | Path) -> tuple[int, int]:
    """What is equal for all names of one file or folder."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def kind_of_entry(path: Path) -> str:
    """What a directory entry is that is neither a file nor a folder."""
    if path.is_fifo():
        return "a pipe"
    if path.is_socket():
        return "a socket"
    if path.is_char_device() or path.is_block_device():
        return "a device"
    return "a link to nothing" if path.is_symlink() else "unreadable"


def count_images_below(folder: Path) -> Counter[Path]:
    """Number of image files in each folder below, by names alone; links are followed, each folder counts once.

    Panels that fusing has written beside its results do not count.
    """
    counts: Counter[Path] = Counter()
    seen = set()
    for place, names, files in os.walk(folder, followlinks=True):
        if identity_of(place) in seen:
            names.clear()
            continue
        seen.add(identity_of(place))
        names[:] = sorted(name for name in names if not ignored(name))
        if Path(place) not in (folder, folder / PANELS):
            count = sum(not ignored(name) and Path(name).suffix.lower() in IMAGE_SUFFIXES for name in files)
            if count:
                counts[Path(place)] = count
    return counts


def nearest_folder(path: Path) -> Path:
    """The closest folder above a missing path that exists."""
    return next((parent for parent in path.parents if parent.is_dir()), Path())


def describe_folder(folder: Path) -> str:
    """What a folder holds, for an error message."""
    if not folder.is_dir():
        return f"{folder} does not exist"
    items = [item for item in folder.iterdir() if not item.name.startswith(".")]
    names = sorted(f"{item.name}/" if item.is_dir() else item.name for item in items)
    return f"{folder} holds {first_of(names, 12)}" if names else f"{folder} is empty"
