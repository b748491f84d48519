"""Scenes that lie in many folders, named by patterns of paths: 'data/*/pet' and 'data/*/mri'."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from adasffuse.arguments import checked
from adasffuse.images.folders import ignored, images_of
from adasffuse.images.image import ImageError
from adasffuse.images.pairs import Scene, SceneError, SceneProblem, find_scenes
from adasffuse.images.patterns import is_tree
from adasffuse.images.read import IMAGE_SUFFIXES
from adasffuse.images.series import series_below
from adasffuse.images.volumes import is_volume
from adasffuse.messages import first_of
from adasffuse.tasks import guess_task

Groups = dict[tuple[str, ...], tuple[Path, ...]]  # files or folders of one scene or more, by what stands for each '*'
_OTHER_SIGNS = ("?", "[", "**")
_DEEPEST = 3  # folders between that of a tree and its sources


@checked
def find_groups(patterns: Sequence[str | Path]) -> tuple[Groups, list[SceneProblem]]:
    """Files or folders whose paths fit a pattern per source, by what stands for '*', and those without partner.

    Args:
        patterns: paths with as many '*' in each; a '*' stands for a part of one name and never reaches beyond a '/'.
    Raises:
        SceneError: a pattern that nothing fits, or nothing has a partner.
        ValueError: the patterns have other numbers of '*', or other signs than '*'.
    """
    patterns = [Path(pattern) for pattern in patterns]
    counts = [str(pattern).count("*") for pattern in patterns]
    if len(set(counts)) > 1:
        listed = " and ".join(f"{pattern} has {count}" for pattern, count in zip(patterns, counts))
        raise ValueError(f"the patterns of all sources have as many '*', for what these share, but {listed}")
    found = [dict(_fitting(pattern)) for pattern in patterns]
    for pattern, paths in zip(patterns, found):
        if not paths:
            raise SceneError(f"no file or folder is called like {pattern}")
    keys = sorted(set().union(*found))
    groups = {key: tuple(paths[key] for paths in found) for key in keys if all(key in paths for paths in found)}
    if not groups:
        named = ", ".join(str(next(iter(paths.values()))) for paths in found)
        raise SceneError(f"no path has a partner in which '*' stands for the same: {named}")
    problems = []
    for key in keys:
        lacking = [str(pattern) for pattern, paths in zip(patterns, found) if key not in paths]
        if lacking:
            there = next(paths[key] for paths in found if key in paths)
            reason = f"{there} has no partner in {' and '.join(lacking)}"
            problems.append(SceneProblem(_name_of(key), reason, "unpaired"))
    return groups, problems


def hold_volumes(groups: Groups) -> bool:
    """Whether groups are volumes, or folders of volumes: NIfTI files, or DICOM series."""
    return any(_is_or_holds_volume(path) for paths in groups.values() for path in paths)


@checked
def scenes_of_groups(
    groups: Groups, volumes: bool, within: float | None = None
) -> tuple[list[Scene], list[SceneProblem]]:
    """The scenes of groups, sorted by stem, and what belongs to none.

    Files are one scene, called by what stands for '*'.  So are folders with a DICOM series each, or a single file each,
    whatever it is called.  The files of other folders are paired by their names, which follow that of their group:
    'p1_slice7'.

    Args:
        volumes, within: as in `adasffuse.images.pairs.find_scenes`.
    Raises:
        SceneError: no scene is found, or two have one name.
    """
    scenes: list[Scene] = []
    problems: list[SceneProblem] = []
    for key, paths in groups.items():
        try:
            of_group, others = _scenes_of_group(_name_of(key), paths, volumes, within)
        except ImageError as error:
            problems.append(SceneProblem(_name_of(key), str(error), "unpaired"))
            continue
        scenes += of_group
        problems += others
    if not scenes:
        raise SceneError(problems[0].reason)
    twice = [stem for stem, count in Counter(scene.stem for scene in scenes).items() if count > 1]
    if twice:
        raise SceneError(f"several scenes are called {first_of(twice)}; fuse some of them at a time")
    return sorted(scenes, key=lambda scene: scene.stem), problems


@checked
def scenes_in(
    sources: Sequence[str | Path], patterns: Sequence[str | None] | None = None, within: float | None = None
) -> tuple[list[Scene], list[SceneProblem]]:
    """The scenes of folders, see `find_scenes`, or, where the sources are patterns of paths, of many folders.

    Raises:
        SceneError: as `find_scenes`, `find_groups` and `scenes_of_groups`; or the patterns name volumes.
        ValueError: as `find_scenes` and `find_groups`; or one source is a pattern of paths and another is none.
    """
    sources = [Path(source) for source in sources]
    trees = [source for source in sources if is_tree(source)]
    if not trees:
        return find_scenes(sources, patterns, within=within)
    if len(trees) < len(sources) or any(patterns or ()):
        raise ValueError(f"{trees[0]} is a pattern of paths; give one for each source, and no other pattern")
    groups, problems = find_groups(sources)
    if hold_volumes(groups):
        raise SceneError(f"{trees[0]} names volumes, where images are expected; only adasffuse fuse takes them")
    scenes, others = scenes_of_groups(groups, volumes=False, within=within)
    return scenes, [*problems, *others]


def tree_below(folder: Path) -> tuple[Path, ...]:
    """Patterns for both sources of a folder that holds no images, but a folder for each scene; () for other folders.

    In most of these folders are two names that tell a task, such as 'pet' and 'mri', or 'ir.png' and 'vis.png'.  They
    may lie deeper: 'set00/V000/lwir' and 'set00/V000/visible'.
    """
    if images_of(folder) or any(is_volume(path) for path in folder.iterdir()):
        return ()
    above, places = folder, [folder]
    for _ in range(_DEEPEST):
        places = [path for place in places for path in place.iterdir() if path.is_dir() and not ignored(path.name)]
        above = above / "*"
        names = Counter(path.name for place in places for path in place.iterdir() if _is_source(path))
        both = sorted(name for name, count in names.items() if 2 * count > len(places))
        ordered, known = in_order_of_task(both) if len(both) == 2 else ([], False)
        if known:
            return tuple(above / name for name in ordered)
    return ()


def in_order_of_task(names: Sequence[str]) -> tuple[list[str], bool]:
    """Two names of sources, in the order of the task that they tell, and whether they tell one."""
    first, second = names
    try:
        return [first, second], guess_task([first], [second]) is not None
    except ValueError:  # they tell one in the other order
        return [second, first], True


def _is_source(path: Path) -> bool:
    """Whether something may be a source, or hold the images of one."""
    return not ignored(path.name) and (path.is_dir() or is_volume(path) or path.suffix.lower() in IMAGE_SUFFIXES)


def _is_or_holds_volume(path: Path) -> bool:
    """Whether something is a volume, or a folder of volumes and of no images but slices."""
    if not path.is_dir():
        return is_volume(path)
    if any(image.suffix.lower() != ".dcm" for image in images_of(path)):
        return False
    return any(is_volume(inside) for inside in path.iterdir()) or any(series_below(path))


def _fitting(pattern: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """What stands for each '*', and the path, of all files and folders that fit a pattern."""
    fixed = next(number for number, part in enumerate(pattern.parts) if "*" in part)
    root, parts = Path(*pattern.parts[:fixed]), pattern.parts[fixed:]
    if any(sign in part for part in parts for sign in _OTHER_SIGNS):
        raise ValueError(
            f"{pattern}: '*' stands for a part of one name, and a pattern has none of {' '.join(_OTHER_SIGNS)}"
        )
    forms = [re.compile("(.+)".join(map(re.escape, _composed(part).split("*")))) for part in parts]
    for path in sorted(root.glob("/".join(parts))):
        names = path.parts[-len(parts) :]
        fits = [form.fullmatch(_composed(name)) for form, name in zip(forms, names)]
        if all(fits) and not any(ignored(name) for name in names):
            yield tuple(group for fit in fits for group in fit.groups()), path


def _composed(name: str) -> str:
    """A name in Unicode's composed form; macOS writes another one than Linux and Windows."""
    return unicodedata.normalize("NFC", name)


def _name_of(key: tuple[str, ...]) -> str:
    """The name of a group, by what stands for each '*'; once where it is alike, as in 'sub-*/anat/sub-*_T1w.nii.gz'."""
    return "_".join(dict.fromkeys(key))


def _scenes_of_group(
    name: str, paths: tuple[Path, ...], volumes: bool, within: float | None
) -> tuple[list[Scene], list[SceneProblem]]:
    """The scenes of one group, and what belongs to none; errors as of `find_scenes`."""
    inside = [_inside(path, volumes) for path in paths]
    if all(len(found) == 1 for found in inside):
        return [Scene(name, tuple(path for (path,) in inside))], []
    scenes, problems = find_scenes(paths, None, volumes, within)
    return [Scene(f"{name}_{scene.stem}", scene.paths) for scene in scenes], problems


def _inside(place: Path, volumes: bool) -> list[Path]:
    """A file, or folder with a DICOM series, itself, else the images or volumes that lie in a folder."""
    if not place.is_dir() or (volumes and any(series_below(place))):
        return [place]
    if not volumes:
        return images_of(place)
    return sorted(path for path in place.iterdir() if is_volume(path) and path.is_file() and not ignored(path.name))
