"""What the arguments of `adasffuse fuse` name as sources."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adasffuse.cli.arguments import refuse_pairing_options
from adasffuse.images.folders import images_of
from adasffuse.images.formats import is_radiometric
from adasffuse.images.frames import ONLY_VIDEO_SUFFIXES
from adasffuse.images.image import ImageError
from adasffuse.images.pairs import SceneProblem, find_scenes
from adasffuse.images.patterns import is_tree
from adasffuse.images.trees import Groups, find_groups, hold_volumes, in_order_of_task, tree_below
from adasffuse.images.volumes import holds_volumes, volumes_of
from adasffuse.tasks import TASKS

_MAGIC = "*?["


@dataclass(frozen=True)
class Given:
    """What the arguments name as sources."""

    paths: tuple[Path, ...]  # files, or folders, one per source; of a tree the patterns
    patterns: tuple[str | None, ...]  # of the files in folders
    files: bool  # whether the paths are files
    camera: bool = False  # each file is a pair by itself, and the paths are equal
    tree: tuple[Groups, list[SceneProblem]] | None = None  # what lies in many folders, see `find_groups`


def find_given(args: argparse.Namespace) -> Given:
    """The files or folders that the arguments name.

    Raises:
        ImageError: nothing is there, or a video; files and folders are mixed; or there are more than two files.
        ValueError: an option, or a pattern, does not suit what is given.
    """
    patterns = [args.pattern_a, args.pattern_b]
    if any(map(is_tree, args.sources)):
        if any(patterns) or len(args.sources) < 2:
            raise ValueError(
                f"{next(filter(is_tree, args.sources))} is a pattern; give one for each source, and no other"
            )
        return Given(tuple(args.sources), (None,) * len(args.sources), files=False, tree=find_groups(args.sources))
    paths, found = [], []
    for number, path in enumerate(args.sources):
        option = patterns[number] if number < 2 else None
        if not path.exists() and any(sign in str(path) for sign in _MAGIC):
            if not _is_pattern(path.name) or (any(s in str(path.parent) for s in _MAGIC) and not path.parent.is_dir()):
                raise ValueError(
                    f"{path}: a pattern has one '*', in the name of the files, and no other sign of {_MAGIC}"
                )
            if option:
                raise ValueError(f"{path} is a pattern itself; leave --pattern_{'ab'[number]} out")
            path, option = path.parent, path.name
        if not path.exists():
            raise ImageError(f"{path}: no such file or folder")
        if path.is_file() and path.suffix.lower() in ONLY_VIDEO_SUFFIXES:
            raise ImageError(f"{path} is a video: adasffuse video A B -o OUT.mp4")
        paths.append(path)
        found.append(option)
    if len(paths) == 1:
        given = _given_by_one(paths[0], found[0], patterns[1])
        if given.files:
            refuse_pairing_options(args)
        if given.camera and args.within is not None:
            raise ValueError(
                f"--within pairs the files of two sources; each radiometric JPEG in {paths[0]} is a pair by itself"
            )
        return given
    folders = [path.is_dir() for path in paths]
    if any(folders) and not all(folders):
        file, folder = paths[folders.index(False)], paths[folders.index(True)]
        raise ImageError(f"{file} is a file and {folder} a folder; give two files or two folders")
    if all(folders):
        return Given(tuple(paths), tuple(found), files=False)
    if len(paths) > 2:
        raise ImageError(
            f'got {len(paths)} files; quote patterns ("cam/*.png") so that the shell leaves them alone, give two '
            "folders, or fuse a stack with adasffuse stack"
        )
    refuse_pairing_options(args)
    return Given(tuple(paths), tuple(found), files=True)


def are_volumes(given: Given) -> bool:
    """Whether folders hold volumes and no images, or a tree any volumes."""
    if given.tree is not None:
        return hold_volumes(given.tree[0])
    return not given.files and any(map(_holds_only_volumes, given.paths))


def _given_by_one(place: Path, pattern: str | None, other: str | None) -> Given:
    """What one file or folder holds; errors as `find_given`.

    Args:
        pattern, other: of the files of source A and of source B.
    """
    if not place.is_dir():
        if not is_radiometric(place):
            raise ImageError(
                f"{place} is one file; give two files, two folders, or a folder and two patterns; only a FLIR "
                "radiometric JPEG is a pair by itself"
            )
        return Given((place, place), (None, None), files=True, camera=True)
    if not (pattern or other):
        sets = _source_folders(place)
        if len(sets) == 1:
            return Given(sets[0], (None, None), files=False)
        _refuse_several_sets(place)
        _refuse_a_tree(place)
        _refuse_unknown_sources(place)
    if not other and not _holds_only_volumes(place) and _holds_camera_pairs(place, pattern):
        return Given((place, place), (pattern, None), files=False, camera=True)
    images = images_of(place)
    sources = images or list(volumes_of(place))
    if len(sources) == 2 and not (pattern or other):
        names = " ".join(map(shlex.quote, in_order_of_task([str(path) for path in sources])[0]))
        noun = "images" if images else "volumes"
        raise ImageError(f"{place} holds two {noun}; name them, in order: {names}")
    return Given((place, place), (pattern, other), files=False)


def _holds_camera_pairs(folder: Path, pattern: str | None) -> bool:
    """Whether the images of a folder that fit the pattern are FLIR's radiometric JPEGs, each a pair by itself.

    Empty files say nothing; they fail by name where the others are fused.

    Raises:
        ImageError: some are and others are not.
    """
    files = [scene.paths[0] for scene in find_scenes((folder,), (pattern,))[0]]
    files = [path for path in files if path.stat().st_size]
    other = [path for path in files if not is_radiometric(path)]
    if other and len(other) < len(files):
        one = next(path for path in files if path not in other)
        raise ImageError(
            f"{folder}: {len(files) - len(other)} of its images are radiometric JPEGs ({one.name}), each a pair by "
            f"itself, {len(other)} are not ({other[0].name}); name the former by a pattern in quotes, such as "
            f'"{folder}/FLIR*.jpg", or the files of both sources by --pattern_a and --pattern_b'
        )
    return bool(files) and not other


def _holds_only_volumes(folder: Path) -> bool:
    """Whether a folder holds volumes, and no images."""
    return not images_of(folder) and holds_volumes(folder)


def _source_folders(folder: Path) -> list[tuple[Path, ...]]:
    """The folders of a task's sources in the folder of a data set: infrared and visible, for one."""
    names = dict.fromkeys(sources.folders for task in TASKS.values() for sources in task.sources)
    sets = [tuple(folder / name for name in group) for group in names]
    return [paths for paths in sets if all(path.is_dir() for path in paths)]


def _refuse_several_sets(folder: Path) -> None:
    """Raises ImageError for a folder of data sets, such as DATA/test."""
    places = sorted(path for depth in ("*/", "*/*/") for path in folder.glob(depth))  # MIF/CT-MRI lies deeper
    below = [path for path in places if _source_folders(path)]
    if below:
        names = ", ".join(path.relative_to(folder).as_posix() for path in below)
        patterns = _in_quotes(tree_below(folder))
        every = f", or their sources by patterns: {patterns}" if patterns else ""
        raise ImageError(f"{folder} is a folder of data sets ({names}); give one of them, such as {below[0]}{every}")


def _refuse_a_tree(folder: Path) -> None:
    """Raises ImageError for a folder of a folder for each scene, such as data/p1/{pet,mri}."""
    words = _in_quotes(tree_below(folder))
    if words:
        raise ImageError(
            f"{folder} holds a folder for each scene; name both sources by patterns in quotes, in order: {words}"
        )


def _refuse_unknown_sources(folder: Path) -> None:
    """Raises ImageError for a folder whose images lie in two folders or more below it, such as rig/{thermal,rgb}."""
    holding = (path for path in folder.glob("*/") if images_of(path) or holds_volumes(path))
    below = [] if images_of(folder) or holds_volumes(folder) else sorted(holding)
    if len(below) > 1:
        places = list(map(str, below))
        names = " ".join(map(shlex.quote, in_order_of_task(places)[0] if len(places) == 2 else places))
        stacks = (
            f"; if each is a stack of one scene: adasffuse stack {shlex.quote(str(folder))}" if len(below) > 2 else ""
        )
        raise ImageError(f"{folder} holds no images itself; name the folders of the sources, in order: {names}{stacks}")


def _in_quotes(patterns: Sequence[Path]) -> str:
    return " ".join(f'"{pattern}"' for pattern in patterns)


def _is_pattern(name: str) -> bool:
    return name.count("*") == 1 and not any(sign in name for sign in "?[")
