"""Finding the scenes of a data set: files of two or more folders that show the same, `<root>/<dataset>/<folder>`.

Files belong together where their stems are equal, or what stands for `*` in a pattern per source: `IR_*` and `VIS_*`.
"""

import itertools
import os
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adasffuse.arguments import checked
from adasffuse.files import real_path
from adasffuse.images.dicom import is_document
from adasffuse.images.formats import RAW_SUFFIXES
from adasffuse.images.image import Image, ImageError
from adasffuse.images.plane import check_same_places
from adasffuse.images.read import IMAGE_SUFFIXES, read_image
from adasffuse.images.volumes import holds_series, is_volume, series_below, stem_of
from adasffuse.messages import first_of
from adasffuse.tasks import TASKS, Sources, find_task

_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "@eadir", "__macosx"}  # what is hidden (.DS_Store) is ignored as well
_DICOM = ".dcm"
_AS_VOLUMES = "adasffuse fuse A B -o NAME.nii.gz"
_LOOKED_AT = 64  # names for which a pattern is looked for
_SEPARATORS = "_-. "  # between the common part of a name and what tells the sources apart
_WORDS = (re.compile(r"[^\W_]+"), re.compile(r"[^\W\d_]+|\d+"))  # of a name: between separators, or numbers apart
_DEEP = (".tif", ".tiff")  # more often of the thermal images than of the visible ones
_MOST_WORDS = 3  # at an end of a name, of which one tells the sources apart
_MOST_HEADS = 8  # beginnings, or ends, of names that are compared


@dataclass(frozen=True)
class Scene:
    """Files that show one scene."""

    stem: str  # the name that they share: file name without suffix, or what stands for `*` in the patterns; NFC
    paths: tuple[Path, ...]  # one per source, in the order of the folders


@dataclass(frozen=True)
class SceneProblem:
    """Something in the folders that belongs to no scene."""

    name: str  # the stem, or the folder where it is about several files
    reason: str  # a sentence for the user
    kind: str  # 'unpaired' or 'duplicate'; harmless: 'not_image', 'special', 'subfolder', 'other_name', 'slices'

    @property
    def harmless(self) -> bool:
        """Whether it is worth a notice only: no scene is missing because of it."""
        return self.kind not in ("unpaired", "duplicate")


@checked
@dataclass(frozen=True)
class SceneFolder:
    """The folders of one set of scenes."""

    name: str  # data set, and the subset where there is one: 'IVF_MSRS', 'MIF/PET-MRI'
    folders: tuple[Path, ...]  # one per source


def scene_of_files(stem: str, paths: Sequence[Path]) -> Scene:
    """A scene that is given by its files.

    Raises:
        ImageError: two of them are one file.
    """
    files = [real_path(path) for path in paths]
    twice = next((path for path, file in zip(paths, files) if files.count(file) > 1), None)
    if twice is not None:
        raise ImageError(f"two sources are one and the same file, {twice}; give a file for each source")
    return Scene(stem, tuple(paths))


class SceneError(ImageError):
    """Folders in which no scene is found as they were given; `folders`, `patterns` or `root`, where set, would help."""

    def __init__(
        self, message: str, folders: Sequence[Path] = (), patterns: Sequence[str] = (), root: Path | None = None
    ) -> None:
        super().__init__(message)
        self.folders, self.patterns, self.root = tuple(folders), tuple(patterns), root


@checked
def find_scenes(
    folders: Sequence[str | Path], patterns: Sequence[str | None] | None = None, volumes: bool = False
) -> tuple[list[Scene], list[SceneProblem]]:
    """Scenes sorted by stem, and what belongs to none.

    Names are compared in Unicode's composed form (NFC): macOS writes another one than Linux and Windows.  Hidden
    files, `Thumbs.db` and `desktop.ini` are passed over.  Anything else that is left out is named: files that are no
    images, pipes and devices, images in sub-folders and images of other names than the patterns.  Of DICOM files it is
    said that names alone pair them.

    Args:
        folders: one per source; one folder alone gives each of its images.
        patterns: per source a file name, with or without suffix, in which one `*` stands for what the sources of a
            scene share, e.g. "IR_*", "*_ir" or "*_co.png"; None is "*".  Capital letters count, but not in the suffix.
            With patterns all sources may lie in one folder; a file that fits several of its patterns belongs to the
            longest one.
        volumes: not images are looked for, but NIfTI files, DICOM files, and sub-folders with a DICOM series each, in
            them or below.
    Raises:
        SceneError: a folder is missing (the message says what is there instead) or holds no image, two sources are
            one folder, or no file has a partner.
        ValueError: patterns and folders differ in number, or a pattern has not one `*`.
    """
    folders = [Path(folder) for folder in folders]
    if patterns is not None and len(patterns) != len(folders):
        raise ValueError(f"{len(folders)} folders need as many patterns, got {len(patterns)}")
    given = patterns is not None and any(patterns)
    patterns = [pattern or "*" for pattern in patterns or [None] * len(folders)]
    for pattern in patterns:
        if pattern.count("*") != 1:
            raise ValueError(f"a pattern has one '*', for the name that the sources share, got {pattern!r}")
    groups, problems = _groups(folders, volumes)
    sources: list[dict[str, list[Path]]] = [{} for _ in folders]
    for numbers, listing in groups:
        if len({patterns[number] for number in numbers}) < len(numbers):
            raise _same_folder(folders[numbers[0]], listing, volumes)
        by_name, others = _by_shared_name(listing, [patterns[number] for number in numbers])
        problems += others
        for number, files in zip(numbers, by_name):
            sources[number] = files
    scenes, unmatched = _match(folders, sources)
    for folder, pattern, files in zip(folders, patterns, sources):
        if not files:
            raise _none_called(folder, pattern, volumes)
    if not scenes and all(problem.kind == "unpaired" for problem in unmatched):
        raise _nothing_matches(folders, sources, not given and len(folders) == 2, volumes)
    return scenes, unmatched + problems + ([] if volumes else _named_slices(folders, scenes))


def scene_folders(
    root: str | Path, dataset: str, a_dir: str | Path | None = None, b_dir: str | Path | None = None
) -> list[SceneFolder]:
    """The folders that hold a data set's sources: `<root>/<dataset>/<folder>`, for MIF one entry per subset found.

    Args:
        root: folder of data sets.
        dataset: TASK or TASK_NAME, e.g. 'IVF' (older name 'VIF') or 'IVF_MSRS', or one subset, e.g. 'MIF/CT-MRI', on
            any system also written 'MIF\\CT-MRI'.
        a_dir, b_dir: other names of the two folders, or full paths to them.
    Raises:
        SceneError: nothing found (the message lists what was looked for and what is there), or half a subset is.
        ValueError: `dataset` names no task.
    """
    root, dataset = Path(root), dataset.replace("\\", "/")
    base = _dataset_folder(root, dataset)
    found, missing = {}, []
    for source in _candidates(dataset):
        own = [base / source.subset / name for name in source.folders]
        folders = tuple(
            _resolve(base / source.subset, given) if given else folder for given, folder in zip((a_dir, b_dir), own)
        )
        present = [folder for folder in folders if folder.is_dir()]
        if len(present) == len(folders):
            below = folders[0].is_relative_to(base / source.subset)  # a full path has no subset
            name = (base.relative_to(root) / (source.subset if below else "")).as_posix()
            found.setdefault(folders, SceneFolder(name, folders))
        else:
            missing += [str(folder) for folder in folders if folder not in present]
            if present and source.subset and not (a_dir or b_dir):
                raise SceneError(
                    f"{present[0]} is there, its partner {missing[-1]} is not; add it, or rename the former"
                )
    if not found:
        raise _no_source_folders(dataset, root, base, missing)
    return list(found.values())


def read_scene(
    scene: Scene,
    ranges: Sequence[tuple[float, float] | None] | None = None,
    no_data: Sequence[float | None] | None = None,
    thermal: Sequence[bool] | None = None,
    one_size: bool = True,
    levels: bool = False,
    options: tuple[str, str] = ("--range_a", "--range_b"),
) -> list[Image]:
    """The images of a scene, in the order of its sources.

    Args:
        ranges, no_data, thermal: one entry per source, or None for none; as in `adasffuse.images.read.read_image`.
        levels: as in `read_image`, for all sources.
        one_size: refuse images of different height or width, and DICOM slices of different places, see
            `check_same_places`; False where they are registered afterwards.
        options: what gives the range of the first source and that of the others, for errors and notices.
    Raises:
        ImageError: a file cannot be read, the images differ in height or width, or slices in their places.
    """
    none = [None] * len(scene.paths)
    readings = zip(ranges or none, no_data or none, thermal or none, strict=True)
    images = [
        read_image(path, value_range, missing, bool(hot), levels, option=options[1 if number else 0])
        for number, (path, (value_range, missing, hot)) in enumerate(zip(scene.paths, readings, strict=True))
    ]
    if one_size and len({image.pixels.shape[:2] for image in images}) > 1:
        sizes = [f"{p} is {i.pixels.shape[1]}x{i.pixels.shape[0]}" for p, i in zip(scene.paths, images)]
        ways = "--align or --calibration of adasffuse fuse, or write aligned files first: adasffuse align A B -o DIR"
        cure = f"register them by {ways}"
        if all(image.plane is not None for image in images):
            cure = f"register them by --resample b (by where their files say that they lie), {ways}"
        elif len({tuple(sorted(image.pixels.shape[:2])) for image in images}) == 1:
            cure = "some lie on their side; files are turned as EXIF says: add or remove its orientation, or turn them"
        raise ImageError(f"sizes differ: {', '.join(sizes)} pixels; {cure}")
    if one_size:
        check_same_places(scene.paths, images)
    return images


def folder_and_pattern(place: str | Path) -> tuple[Path, str | None]:
    """A folder, and how its files are called where the place ends in a pattern: 'results/*_fused.png'."""
    path = Path(place)
    return (path.parent, path.name) if "*" in path.name and not path.exists() else (path, None)


def pattern_for(stems: Sequence[str], names: Sequence[str]) -> str:
    """The pattern under which most names fit a stem, '' where no name does."""
    found = Counter(
        "*".join((name[: name.index(stem)], name[name.index(stem) + len(stem) :]))
        for name in names[:_LOOKED_AT]
        for stem in stems
        if stem in name and stem != name
    )
    return max(found, key=lambda pattern: (found[pattern], -len(pattern)), default="")


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


@dataclass(frozen=True)
class _Listing:
    """What one folder holds."""

    folder: Path
    images: list[Path]  # or volumes


def _groups(
    folders: Sequence[Path], volumes: bool = False
) -> tuple[list[tuple[list[int], _Listing]], list[SceneProblem]]:
    """Each different folder once, with the numbers of the sources that lie in it; links do not make a difference."""
    for folder in folders:
        if folder.is_file():
            raise SceneError(f"{folder} is a file, where a folder is expected; give folders only, or files only")
        if not folder.is_dir():
            kind = "file or folder" if folder.suffix.lower() in IMAGE_SUFFIXES else "folder"
            raise SceneError(f"no {kind} {folder}; {_contents(_nearest_folder(folder))}")
    numbers: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, folder in enumerate(folders):
        numbers[_identity(folder)].append(number)
    groups, problems, empty = [], [], {}
    for members in numbers.values():
        listing, others, below = _look_into(folders[members[0]], volumes)
        problems += others
        if not listing.images:
            empty[listing.folder] = below
        groups.append((members, listing))
    if empty:
        raise _no_volumes(next(iter(empty))) if volumes else _no_images(folders, empty, problems)
    return groups, problems


def _look_into(folder: Path, volumes: bool = False) -> tuple[_Listing, list[SceneProblem], Counter[Path]]:
    """Images of a folder; what else is in it, as problems; and how many images lie in which folder below it.

    Args:
        volumes: those of the folder are listed instead, and nothing is said of what lies below it.
    """
    images, foreign, problems = [], [], []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SceneError(f"cannot look into {folder}: {error.strerror}") from error
    for path in entries:
        if ignored(path.name):
            continue
        if path.is_dir():
            if volumes and any(series_below(path)):
                images.append(path)
            continue
        wanted = is_volume(path) or path.suffix.lower() == _DICOM if volumes else path.suffix.lower() in IMAGE_SUFFIXES
        if not wanted:
            foreign.append(path.name)
        elif os.path.isfile(path):
            images.append(path)
        else:
            reason = f"{path} is no regular file ({_kind(path)}), it is left out"
            problems.append(SceneProblem(path.stem, reason, "special"))
    if foreign:
        noun = "volume" if volumes else "image"
        some = f"{first_of(foreign)}, no {noun if len(foreign) == 1 else noun + 's'} by name"
        problems.append(SceneProblem(str(folder), f"{folder} also holds {some}", "not_image"))
    below = Counter() if volumes else _images_below(folder)
    if images and below:
        places = ", ".join(f"{count} in {place}" for place, count in below.items())
        reason = f"images in sub-folders of {folder} are left out: {places}; give such a folder itself to use them"
        problems.append(SceneProblem(str(folder), reason, "subfolder"))
    return _Listing(folder, images), problems, below


def ignored(name: str) -> bool:
    """Whether a file or folder of this name is not the user's, but hidden or made by a system or an archive."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _identity(path: str | Path) -> tuple[int, int]:
    """What is equal for all names of one file or folder."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _kind(path: Path) -> str:
    """What a directory entry is that is neither a file nor a folder."""
    if path.is_fifo():
        return "a pipe"
    if path.is_socket():
        return "a socket"
    if path.is_char_device() or path.is_block_device():
        return "a device"
    return "a link to nothing" if path.is_symlink() else "unreadable"


def _images_below(folder: Path) -> Counter[Path]:
    """Number of image files in each folder below, by names alone; links are followed, each folder counts once."""
    counts: Counter[Path] = Counter()
    seen = set()
    for place, names, files in os.walk(folder, followlinks=True):
        if _identity(place) in seen:
            names.clear()
            continue
        seen.add(_identity(place))
        names[:] = sorted(name for name in names if not ignored(name))
        if Path(place) != folder:
            count = sum(not ignored(name) and Path(name).suffix.lower() in IMAGE_SUFFIXES for name in files)
            if count:
                counts[Path(place)] = count
    return counts


def _by_shared_name(
    listing: _Listing, patterns: Sequence[str]
) -> tuple[list[dict[str, list[Path]]], list[SceneProblem]]:
    """Per pattern the images that fit it, by the part of the name that stands for `*`; the longest pattern first."""
    order = sorted(range(len(patterns)), key=lambda number: -len(patterns[number]))
    sources: list[dict[str, list[Path]]] = [defaultdict(list) for _ in patterns]
    others = []
    for path in listing.images:
        shared = {number: _shared_name(path, patterns[number]) for number in order}
        fitting = [number for number in order if shared[number]]
        if fitting:
            sources[fitting[0]][shared[fitting[0]]].append(path)
        else:
            others.append(path.name)
    if not others:
        return sources, []
    reason = f"{listing.folder} also holds {first_of(others)}, not called like {' or '.join(map(repr, patterns))}"
    return sources, [SceneProblem(str(listing.folder), reason, "other_name")]


def _named_slices(folders: Sequence[Path], scenes: Sequence[Scene]) -> list[SceneProblem]:
    """That DICOM files, which say where they lie, are paired by their names; [] where there are none."""
    holding = []
    for number, folder in enumerate(folders):
        slices = [scene for scene in scenes if scene.paths[number].suffix.lower() == _DICOM]
        if len(folders) > 1 and len(slices) > 1:
            holding.append(str(folder))
    if not holding:
        return []
    cure = "check that files of one name show the same slice"
    if len(holding) == len(folders) == 2:
        cure += f", or fuse both as volumes, by position: {_AS_VOLUMES}"
    reason = f"DICOM files in {' and '.join(holding)} are paired by their names, not by where their slices lie; {cure}"
    return [SceneProblem(holding[0], reason, "slices")]


def _shared_name(path: Path, pattern: str) -> str:
    """What stands for `*` where a file's name fits the pattern, else ''."""
    name = stem_of(path)
    if Path(pattern).suffix.lower() in IMAGE_SUFFIXES or is_volume(pattern):
        name += path.name[len(name) :].lower()
        pattern = stem_of(pattern) + pattern[len(stem_of(pattern)) :].lower()
    name, pattern = (unicodedata.normalize("NFC", text) for text in (name, pattern))
    before, after = pattern.split("*")
    if len(name) <= len(before) + len(after) or not (name.startswith(before) and name.endswith(after)):
        return ""
    return name[len(before) : len(name) - len(after)]


def _match(folders: Sequence[Path], sources: Sequence[dict[str, list[Path]]]) -> tuple[list[Scene], list[SceneProblem]]:
    """Scenes, and the names that are missing from a source or stand for several of its files."""
    scenes, problems = [], []
    for stem in sorted(set().union(*sources)):
        files = [source.get(stem, []) for source in sources]
        lacking = [str(folder) for folder, there in zip(folders, files) if not there]
        if lacking:
            there = next(paths[0] for paths in files if paths)
            if there.suffix.lower() == _DICOM and is_document(there):
                reason = f"{there} is a DICOM file without an image, it is left out"
                problems.append(SceneProblem(stem, reason, "not_image"))
            else:
                problems.append(SceneProblem(stem, f"{there} has no partner in {' and '.join(lacking)}", "unpaired"))
        for paths in files:
            if len(paths) > 1:
                names = " and ".join(path.name for path in paths)
                reason = f"{names} in {paths[0].parent} share one stem; keep one of them"
                problems.append(SceneProblem(stem, reason, "duplicate"))
        if all(len(paths) == 1 for paths in files):
            scenes.append(Scene(stem, tuple(paths[0] for paths in files)))
    return scenes, problems


def _no_images(
    folders: Sequence[Path], empty: dict[Path, Counter[Path]], problems: Sequence[SceneProblem]
) -> SceneError:
    """The error for folders without images, which names those below them that have some."""
    for folder, below in empty.items():
        if holds_series(folder):
            return SceneError(
                f"{folder} holds DICOM files whose names do not end in .dcm, a series as scanners export it; fuse "
                f"series as volumes: {_AS_VOLUMES}"
            )
        volumes = sorted(path.name for path in folder.iterdir() if is_volume(path))
        if volumes:
            return SceneError(
                f"{folder} holds volumes, {first_of(volumes)}, where images are expected; only adasffuse fuse takes "
                "them"
            )
        if not below:
            others = "".join(f"; {problem.reason}" for problem in problems)
            return SceneError(f"no images in {folder}; put files ending in {_suffixes()} there{others}")
    folder, below = next(iter(empty.items()))
    listed = [f"{place} holds {count}" for place, count in below.items()]
    message = f"no images in {folder} itself; {first_of(listed, 6)}"
    # Of several sub-folders, the first one whose name all sources have.
    choices = {path: {place.relative_to(path) for place in below} for path, below in empty.items()}
    common = sorted(set.intersection(*choices.values()))
    if not common:
        return SceneError(f"{message}: give the sub-folder in its place")
    better = [path / common[0] if path in empty else path for path in folders]
    return SceneError(f"{message}: give {better[folders.index(folder)]} in its place", folders=better)


def _no_volumes(folder: Path) -> SceneError:
    return SceneError(
        f"no volumes in {folder}; put NIfTI files there, or folders with a DICOM series each; {_contents(folder)}"
    )


def _no_source_folders(dataset: str, root: Path, base: Path, missing: Sequence[str]) -> SceneError:
    """The error for a data set without the folders looked for: of another root, or with all images in one folder."""
    place = base if base.is_dir() else root
    looked = ", ".join(dict.fromkeys(missing))
    message = f"no source folders for {dataset}: looked for {looked}; {_contents(place)}"
    for other in _folders_around(root):
        if any(all((other / dataset / s.subset / f).is_dir() for f in s.folders) for s in _candidates(dataset)):
            return SceneError(f"{message}; as folder of data sets give {other}", root=other)
    images = _look_into(place)[0].images if place.is_dir() else []
    patterns, count = patterns_in(images)
    if not count:
        return SceneError(message)
    message += (
        f"; give {place} for both sources, with patterns: {patterns[0]!r} and {patterns[1]!r} match {count} pairs"
    )
    return SceneError(message, (place, place), patterns)


def _same_folder(folder: Path, listing: _Listing, volumes: bool) -> SceneError:
    message = f"two sources are one and the same folder, {folder}; give a folder for each source"
    patterns, count = patterns_in(listing.images)
    if count:
        message += f"; or the patterns {patterns[0]!r} and {patterns[1]!r} would tell {count} pairs of its files apart"
    elif not volumes:
        message += f"; exposures or focus settings of one scene are a stack: adasffuse stack {shlex.quote(str(folder))}"
    return SceneError(message, patterns=patterns)


def _none_called(folder: Path, pattern: str, volumes: bool) -> SceneError:
    """The error for a pattern that no image, or volume, of a folder fits."""
    noun = "volume" if volumes else "image"
    named = [] if volumes else [path.name for path in other_files(folder) if _shared_name(path, pattern)]
    if not named:
        return SceneError(f"no {noun} in {folder} is called like {pattern!r}; {_contents(folder)}")
    if holds_series(folder):
        cure = (
            f"DICOM files end in .dcm here: rename them, or fuse folders with a series each as volumes: {_AS_VOLUMES}"
        )
    else:
        cure = f"images end in {_suffixes()}"
    return SceneError(
        f"no image in {folder} is called like {pattern!r}, but {first_of(named)}, no image by name; {cure}"
    )


def _nothing_matches(
    folders: Sequence[Path], sources: Sequence[dict[str, list[Path]]], suggest: bool, volumes: bool
) -> SceneError:
    named = ", ".join(f"{next(iter(files.values()))[0].name} in {folder}" for folder, files in zip(folders, sources))
    message = f"no {'volume' if volumes else 'image'} has a partner of the same name: {named}"
    patterns, count = _suggest([list(files) for files in sources]) if suggest else ((), 0)
    if count:
        message += f"; the patterns {patterns[0]!r} and {patterns[1]!r} would match {count} of them"
    elif set.intersection(*({stem.casefold() for stem in files} for files in sources)):
        message += "; some names differ in capital letters only: rename one of both"
    else:
        message += "; partners share a name, whatever its suffix, or what stands for * in a pattern: rename them"
    if all(path.suffix.lower() == _DICOM for source in sources for paths in source.values() for path in paths):
        message += f"; DICOM series are fused by position, whatever their names: {_AS_VOLUMES}"
    return SceneError(message, patterns=patterns)


def _suggest(names: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], int]:
    """Patterns under which most names of two sources match, and how many do; () and 0 where none would.

    The names of each source share a beginning (IR_, VIS_) or an end; what both sources' shares have in common is left
    to the `*`.
    """
    best: tuple[tuple[str, ...], int] = ((), 0)
    for backwards in (False, True):
        turned = [[name[::-1] if backwards else name for name in group] for group in names]
        shares = [_common_start(group) for group in turned]
        tail = len(_common_start([share[::-1] for share in shares]))
        heads = [share[: len(share) - tail] for share in shares]
        between = shares[0][len(heads[0]) :]
        between = between[: len(between) - len(between.lstrip(_SEPARATORS))]
        heads = [head + between for head in heads]
        kept = [{name[len(head) :] for name in group} - {""} for head, group in zip(heads, turned)]
        count = len(kept[0] & kept[1])
        if count > best[1]:
            patterns = tuple("*" + head[::-1] if backwards else head + "*" for head in heads)
            best = patterns, count
    return best


def _common_start(names: Sequence[str]) -> str:
    """The longest string that all names begin with."""
    first, last = min(names), max(names)
    length = next((n for n, (one, other) in enumerate(zip(first, last)) if one != other), min(len(first), len(last)))
    return first[:length]


def patterns_in(files: Sequence[Path]) -> tuple[tuple[str, ...], int]:
    """Patterns that split the files of one folder in two sources, and how many pairs they make; () and 0 for none.

    The names of each source begin, or end, with the same few words, of which one tells the sources apart, or is
    missing from one of them; or suffixes tell them apart, but for a camera's raw files, which show what others show.
    At least half of all files belong to a pair, and one pair alone has words that tell a task.  Of several such splits
    the one of most pairs, and of words that tell a task, is taken.
    """
    stems = [stem_of(path) for path in files]
    found: list[tuple[int, bool, tuple[str, ...]]] = []  # pairs, whether words tell a task, patterns
    for form, backwards, count in itertools.product(_WORDS, (False, True), range(1, _MOST_WORDS + 1)):
        rests: dict[str, set[str]] = defaultdict(set)  # of the names that have a beginning, or end, in common
        for stem in stems:
            words = list(form.finditer(stem))
            if len(words) > count:
                cut = words[-count - 1].end() if backwards else words[count].start()
                head, rest = (stem[cut:], stem[:cut]) if backwards else (stem[:cut], stem[cut:])
                rests[head].add(rest)
        common = sorted(rests, key=lambda head: (-len(rests[head]), head))[:_MOST_HEADS]
        if count == 1:
            rests[""] = set(stems)
            common.append("")
        for one, other in itertools.combinations(common, 2):
            heads, known = _told_apart(one, other, form)
            if heads:
                patterns = tuple("*" + head if backwards else head + "*" for head in heads)
                found.append((len(rests[one] & rests[other]), known, patterns))
    suffixes: dict[str, set[str]] = defaultdict(set)
    for path, stem in zip(files, stems):
        suffixes[path.name[len(stem) :]].add(stem)
    kinds = sorted(suffixes, key=lambda suffix: (suffix.lower() not in _DEEP, suffix))
    for one, other in itertools.combinations((kind for kind in kinds if kind.lower() not in RAW_SUFFIXES), 2):
        found.append((len(suffixes[one] & suffixes[other]), False, ("*" + one, "*" + other)))
    found = [split for split in found if 4 * split[0] >= len(stems) and (split[0] > 1 or split[1])]
    pairs, _, patterns = max(found, key=lambda split: split[:2], default=(0, False, ()))
    return patterns, pairs


def _told_apart(one: str, other: str, form: re.Pattern) -> tuple[tuple[str, ...], bool]:
    """Two parts of names that differ in one word, in the order of a task, and whether the words tell a task.

    () where they differ in more, or in a number: numbers tell scenes apart, not sources.
    """
    words, others = (form.findall(part.lower()) or [""] for part in (one, other))
    differing = [both for both in itertools.zip_longest(words, others, fillvalue="0") if both[0] != both[1]]
    if len(differing) != 1 or any(word.isdigit() for word in differing[0]):
        return (), False
    if len({re.sub(r"\d", "", word) for word in differing[0]}) == 1:
        return (), False
    sources = [task.words for task in TASKS.values()]

    def place(word: str) -> tuple[int, str]:
        first = any(word in a for a, _ in sources)
        return (0 if first else 2 if any(word in b for _, b in sources) else 1, word)

    (word_a, head_a), (word_b, head_b) = sorted(zip(differing[0], (one, other)), key=lambda part: place(part[0]))
    return (head_a, head_b), any(word_a in a and word_b in b for a, b in sources)


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _nearest_folder(path: Path) -> Path:
    """The closest folder above a missing path that exists."""
    return next((parent for parent in path.parents if parent.is_dir()), Path())


def _contents(folder: Path) -> str:
    """What a folder holds, for an error message."""
    if not folder.is_dir():
        return f"{folder} does not exist"
    items = [item for item in folder.iterdir() if not item.name.startswith(".")]
    names = sorted(f"{item.name}/" if item.is_dir() else item.name for item in items)
    return f"{folder} holds {first_of(names, 12)}" if names else f"{folder} is empty"


def _folders_around(root: Path) -> list[Path]:
    """The folder above and those directly below; a folder of data sets is easily given a level too high or low."""
    below = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    return [root.absolute().parent, *sorted(below)]


def _dataset_folder(root: Path, dataset: str) -> Path:
    """`<root>/<dataset>`, or the folder under the other of the two names VIF and IVF where only that exists."""
    base = root / dataset
    other = {"VIF": "IVF", "IVF": "VIF"}.get(dataset[:3].upper())
    if other and not base.is_dir() and (root / (other + dataset[3:])).is_dir():
        return root / (other + dataset[3:])
    return base


def _candidates(dataset: str) -> list[Sources]:
    """Where a task's sources may lie: in its subsets, and any of them directly in the data set's folder."""
    sources = find_task(Path(dataset).parts[0] if dataset else "").sources
    return list(dict.fromkeys([*sources, *(Sources("", source.folders) for source in sources)]))


def _resolve(base: Path, name: str | Path) -> Path:
    """A folder given by name below `base`, or as a path of its own."""
    return base / name if (base / name).is_dir() or not Path(name).is_dir() else Path(name)
