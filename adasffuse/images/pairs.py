"""Finding the scenes of a data set: files of two or more folders that show the same, `<root>/<dataset>/<folder>`.

Files belong together where their stems are equal, or what stands for `*` in a pattern per source: `IR_*` and `VIS_*`;
or, of cameras that are not synchronised, where the times in these names are nearest.
"""

import os
import shlex
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from adasffuse.arguments import checked
from adasffuse.files import real_path
from adasffuse.images.dicom import is_document
from adasffuse.images.folders import (
    count_images_below,
    describe_folder,
    identity_of,
    ignored,
    kind_of_entry,
    nearest_folder,
    other_files,
)
from adasffuse.images.formats import HEAD, cure_of
from adasffuse.images.image import Image, ImageError
from adasffuse.images.patterns import patterns_in, shared_name, suggest_patterns
from adasffuse.images.plane import check_same_places
from adasffuse.images.read import IMAGE_SUFFIXES, read_image
from adasffuse.images.series import holds_series, series_below
from adasffuse.images.times import EXAMPLES, NANOSECONDS, nearest_pairs, time_in
from adasffuse.images.volumes import is_volume
from adasffuse.messages import counted, first_of

_DICOM = ".dcm"
_AS_VOLUMES = "adasffuse fuse A B -o NAME.nii.gz"
_FARTHEST = 60 * NANOSECONDS  # between times that may be meant to be one


@dataclass(frozen=True)
class Scene:
    """Files that show one scene."""

    stem: str  # the name that they share: file name without suffix, or what stands for `*` in the patterns; NFC; of
    # files that are paired by their times that of the second source
    paths: tuple[Path, ...]  # one per source, in the order of the folders


@dataclass(frozen=True)
class SceneProblem:
    """Something in the folders that belongs to no scene."""

    name: str  # the stem, or the folder where it is about several files
    reason: str  # a sentence for the user
    kind: str  # 'unpaired' or 'duplicate'; harmless: 'not_image', 'special', 'subfolder', 'other_name', 'slices',
    # 'times'

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
    folders: Sequence[str | Path],
    patterns: Sequence[str | None] | None = None,
    volumes: bool = False,
    within: float | None = None,
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
        within: seconds; not equal names belong together, but of each source the names that state the times nearest to
            those of the second source, at most so much apart; each file belongs to one scene, see `nearest_pairs`.
    Raises:
        SceneError: a folder is missing (the message says what is there instead) or holds no image, two sources are
            one folder, no file has a partner, or no name states a time.
        ValueError: patterns and folders differ in number, a pattern has not one `*`, or `within` is not above 0 or
            there is one source.
    """
    folders = [Path(folder) for folder in folders]
    if patterns is not None and len(patterns) != len(folders):
        raise ValueError(f"{len(folders)} folders need as many patterns, got {len(patterns)}")
    given = patterns is not None and any(patterns)
    patterns = [pattern or "*" for pattern in patterns or [None] * len(folders)]
    for pattern in patterns:
        if pattern.count("*") != 1:
            raise ValueError(f"a pattern has one '*', for the name that the sources share, got {pattern!r}")
    if within is not None and not (within > 0 and len(folders) > 1):
        raise ValueError(f"within is a number of seconds above 0, between files of two folders or more, got {within}")
    problems: list[SceneProblem] = []
    sources: list[dict[str, list[Path]]] = [{} for _ in folders]
    for numbers, listing in _list_folders(folders, volumes):
        problems += listing.problems
        if len({patterns[number] for number in numbers}) < len(numbers):
            raise _same_folder(folders[numbers[0]], listing, volumes)
        by_name, others = _by_shared_name(listing, [patterns[number] for number in numbers])
        problems += others
        for number, files in zip(numbers, by_name):
            sources[number] = files
    for folder, pattern, files in zip(folders, patterns, sources):
        if not files:
            raise _none_called(folder, pattern, volumes)
    if within is None:
        scenes, unmatched = _match(folders, sources)
    else:
        timed, untimed = _by_time(sources)
        problems += untimed
        scenes, unmatched = _match(folders, *_named_like_the_second(folders, timed, within), "state one time")
    if not scenes and all(problem.kind == "unpaired" for problem in unmatched):
        if within is not None:
            raise SceneError(f"no images are taken within {within:g} s of each other: {unmatched[0].reason}")
        raise _nothing_matches(folders, sources, not given and len(folders) == 2, volumes)
    if within is None and sum(problem.kind == "unpaired" for problem in unmatched) > len(scenes):
        hint = _hint_of_times(sources)
        problems += [SceneProblem(str(folders[0]), hint, "times")] if hint else []
    return scenes, unmatched + problems + ([] if volumes else _named_slices(folders, scenes))


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


@dataclass(frozen=True)
class _Listing:
    """What one folder holds."""

    folder: Path
    images: list[Path]  # or volumes
    below: Counter[Path]  # how many images lie in which folder below it; of volumes not looked for
    problems: list[SceneProblem]  # what else is in it


def _list_folders(folders: Sequence[Path], volumes: bool) -> list[tuple[list[int], _Listing]]:
    """Each different folder once, with the numbers of the sources that lie in it; links do not make a difference.

    Raises:
        SceneError: a folder is missing, or holds no image, or volume.
    """
    for folder in folders:
        if folder.is_file():
            raise SceneError(f"{folder} is a file, where a folder is expected; give folders only, or files only")
        if not folder.is_dir():
            kind = "file or folder" if folder.suffix.lower() in IMAGE_SUFFIXES else "folder"
            if "*" in str(folder.parent):
                raise SceneError(
                    f"no {kind} {folder}; adasffuse fuse, align, score and compare take a '*' in the names of folders"
                )
            raise SceneError(f"no {kind} {folder}; {describe_folder(nearest_folder(folder))}")
    numbers: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, folder in enumerate(folders):
        numbers[identity_of(folder)].append(number)
    listings = [(members, _look_into(folders[members[0]], volumes)) for members in numbers.values()]
    empty = {listing.folder: listing.below for _, listing in listings if not listing.images}
    if empty and volumes:
        raise _no_volumes(next(iter(empty)))
    if empty:
        raise _no_images(folders, empty, [problem for _, listing in listings for problem in listing.problems])
    return listings


def _look_into(folder: Path, volumes: bool) -> _Listing:
    """What a folder holds.

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
        elif not _is_called_like_one(path, volumes):
            foreign.append(path.name)
        elif os.path.isfile(path):
            images.append(path)
        else:
            reason = f"{path} is no regular file ({kind_of_entry(path)}), it is left out"
            problems.append(SceneProblem(path.stem, reason, "special"))
    if foreign:
        noun = "volume" if volumes else "image"
        some = f"{first_of(foreign)}, no {noun if len(foreign) == 1 else noun + 's'} by name"
        problems.append(SceneProblem(str(folder), f"{folder} also holds {some}", "not_image"))
    below = Counter() if volumes else count_images_below(folder)
    if images and below:
        places = ", ".join(f"{count} in {place}" for place, count in below.items())
        reason = f"images in sub-folders of {folder} are left out: {places}; give such a folder itself to use them"
        problems.append(SceneProblem(str(folder), reason, "subfolder"))
    return _Listing(folder, images, below, problems)


def _is_called_like_one(path: Path, volumes: bool) -> bool:
    """Whether a file's name is that of an image, or of a volume."""
    if volumes:
        return is_volume(path) or path.suffix.lower() == _DICOM
    return path.suffix.lower() in IMAGE_SUFFIXES


def _by_shared_name(
    listing: _Listing, patterns: Sequence[str]
) -> tuple[list[dict[str, list[Path]]], list[SceneProblem]]:
    """Per pattern the images that fit it, by the part of the name that stands for `*`; the longest pattern first."""
    longest_first = sorted(range(len(patterns)), key=lambda number: -len(patterns[number]))
    sources: list[dict[str, list[Path]]] = [defaultdict(list) for _ in patterns]
    others = []
    for path in listing.images:
        shared = {number: shared_name(path, patterns[number]) for number in longest_first}
        fitting = [number for number in longest_first if shared[number]]
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
    holding = list(dict.fromkeys(holding))
    if not holding:
        return []
    cure = "check that files of one name show the same slice"
    if len(holding) == 2 and len(folders) == 2:
        cure += f", or fuse both as volumes, by position: {_AS_VOLUMES}"
    reason = f"DICOM files in {' and '.join(holding)} are paired by their names, not by where their slices lie; {cure}"
    return [SceneProblem(holding[0], reason, "slices")]


def _by_time(
    sources: Sequence[dict[str, list[Path]]],
) -> tuple[list[dict[int, tuple[str, list[Path]]]], list[SceneProblem]]:
    """Of each source the times that its names state, each with the first such name and all its files.

    Raises:
        SceneError: no name of a source states a time.
    """
    timed, problems = [], []
    for files in sources:
        found: dict[int, tuple[str, list[Path]]] = {}
        for name, paths in sorted(files.items()):
            time = time_in(name)
            if time is None:
                reason = f"{paths[0]} states no time in its name, or several; one is expected, such as {EXAMPLES}"
                problems.append(SceneProblem(name, reason, "unpaired"))
            else:
                found.setdefault(time, (name, []))[1].extend(paths)
        if not found:
            raise SceneError(f"{problems[-1].reason}; without --within equal names are paired")
        timed.append(found)
    return timed, problems


def _named_like_the_second(
    folders: Sequence[Path], timed: Sequence[dict[int, tuple[str, list[Path]]]], within: float
) -> tuple[list[dict[str, list[Path]]], dict[str, str]]:
    """The files of each source by the names of the second source's that are nearest in time, others by their own.

    Args:
        timed: as of `_by_time`.
        within: seconds.
    Returns:
        The files, and of names without partner the reason.
    """
    named: list[dict[str, list[Path]]] = []
    reasons: dict[str, str] = {}

    def blame(time: int, source: int, other: int, times: Sequence[int]) -> None:
        """Note why a file has no partner in another source, whose times are given in order."""
        name, (path, *_) = timed[source][time]
        place = bisect_left(times, time)
        nearest = min(times[max(0, place - 1) : place + 1], key=lambda one: abs(one - time))
        apart = abs(nearest - time) / NANOSECONDS
        taken = ", and has a partner that is nearer" if apart <= within else ""
        reasons[name] = (
            f"{path} has no partner in {folders[other]} within {within:g} s; the nearest, "
            f"{timed[other][nearest][1][0].name}, is {apart:.3f} s apart{taken}"
        )

    leading = sorted(timed[1])
    for number, found in enumerate(timed):
        if number == 1:
            named.append({name: paths for name, paths in found.values()})
            continue
        times = sorted(found)
        partners = {times[k]: leading[n] for k, n in nearest_pairs(times, leading, round(within * NANOSECONDS))}
        named.append({timed[1].get(partners.get(time), one)[0]: one[1] for time, one in found.items()})
        for time in found.keys() - partners.keys():
            blame(time, number, 1, leading)
        for time in set(leading) - set(partners.values()):
            blame(time, 1, number, times)
    return named, reasons


def _hint_of_times(sources: Sequence[dict[str, list[Path]]]) -> str:
    """That names state times, where all of two sources do, and how far apart the nearest are; '' where they do not."""
    times = [[time_in(name) for name in files] for files in sources]
    if len(times) != 2 or None in times[0] or None in times[1]:
        return ""
    pairs = nearest_pairs(*times, _FARTHEST)
    if not pairs:
        return ""
    half = median(abs(times[0][k] - times[1][n]) for k, n in pairs) / NANOSECONDS
    return (
        "names state times: --within SECONDS pairs the nearest of them, in place of equal names; half of the nearest "
        f"are at most {half:.3f} s apart"
    )


def _match(
    folders: Sequence[Path],
    sources: Sequence[dict[str, list[Path]]],
    reasons: Mapping[str, str] | None = None,
    alike: str = "share one stem",
) -> tuple[list[Scene], list[SceneProblem]]:
    """Scenes, and the names that are missing from a source or stand for several of its files.

    Args:
        sources: names, and their files, of each folder.
        reasons: name to why it is missing from a source, where more is known than that it is.
        alike: what several files of one name do.
    """
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
                reason = (reasons or {}).get(stem, f"{there} has no partner in {' and '.join(lacking)}")
                problems.append(SceneProblem(stem, reason, "unpaired"))
        for paths in files:
            if len(paths) > 1:
                names = " and ".join(path.name for path in paths)
                reason = f"{names} in {paths[0].parent} {alike}; keep one of them"
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
            if cure := _cure_of_other(folder):
                return SceneError(f"no images in {folder}, but {cure}")
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


def _cure_of_other(folder: Path) -> str:
    """What the first file of a folder of a known kind that is not read is, and what to do; '' where there is none."""
    for path in other_files(folder):
        with suppress(OSError), path.open("rb") as file:
            if cure := cure_of(file.read(HEAD)):
                return f"{path.name}: {cure}"
    return ""


def _no_volumes(folder: Path) -> SceneError:
    """The error for a folder without volumes."""
    return SceneError(
        f"no volumes in {folder}; put NIfTI files there, or folders with a DICOM series each; {describe_folder(folder)}"
    )


def _same_folder(folder: Path, listing: _Listing, volumes: bool) -> SceneError:
    """The error for two sources in one folder, with what could tell them apart."""
    message = f"two sources are one and the same folder, {folder}; give a folder for each source"
    if volumes:
        names = first_of([path.name for path in listing.images])
        message = f"{folder} holds {names}; name a volume, or a folder of volumes, for each source"
    patterns, count = patterns_in(listing.images)
    if count:
        pairs = counted(count, "pair")
        message += f"; or the patterns {patterns[0]!r} and {patterns[1]!r} would tell {pairs} of its files apart"
    elif not volumes:
        message += f"; exposures or focus settings of one scene are a stack: adasffuse stack {shlex.quote(str(folder))}"
    return SceneError(message, patterns=patterns)


def _none_called(folder: Path, pattern: str, volumes: bool) -> SceneError:
    """The error for a pattern that no image, or volume, of a folder fits."""
    noun = "volume" if volumes else "image"
    named = [] if volumes else [path.name for path in other_files(folder) if shared_name(path, pattern)]
    if not named:
        return SceneError(f"no {noun} in {folder} is called like {pattern!r}; {describe_folder(folder)}")
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
    """The error for sources without a common name.

    Args:
        sources: names, and their files, of each folder.
        suggest: whether patterns would help.
    """
    named = ", ".join(f"{next(iter(files.values()))[0].name} in {folder}" for folder, files in zip(folders, sources))
    message = f"no {'volume' if volumes else 'image'} has a partner of the same name: {named}"
    patterns, count = suggest_patterns([list(files) for files in sources]) if suggest else ((), 0)
    if count:
        message += f"; the patterns {patterns[0]!r} and {patterns[1]!r} would match {count} of them"
    elif hint := _hint_of_times(sources):
        message += f"; {hint}"
    elif set.intersection(*({stem.casefold() for stem in files} for files in sources)):
        message += "; some names differ in capital letters only: rename one of both"
    else:
        message += "; partners share a name, whatever its suffix, or what stands for * in a pattern: rename them"
    if all(path.suffix.lower() == _DICOM for source in sources for paths in source.values() for path in paths):
        message += f"; DICOM series are fused by position, whatever their names: {_AS_VOLUMES}"
    return SceneError(message, patterns=patterns)


def _suffixes() -> str:
    """The suffixes of image files, for a message."""
    return ", ".join(sorted(IMAGE_SUFFIXES))
