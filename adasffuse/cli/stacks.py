"""The stacks that the arguments of `adasffuse stack` name."""

import argparse
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from adasffuse.files import ends_like_a_file, name_of, real_path
from adasffuse.images.folders import ignored, images_of, in_order, other_files
from adasffuse.images.formats import file_of
from adasffuse.images.image import ImageError
from adasffuse.images.metadata import exposure_of
from adasffuse.images.pages import stacks_in
from adasffuse.images.pairs import Scene, SceneFolder
from adasffuse.inference.work import RESULT_SUFFIXES, Work, refuse_to_overwrite
from adasffuse.messages import counted, first_of, told

_SAME_BIAS = 0.25  # EV: cameras count in thirds
_SAME_LIGHT = 0.5  # EV: times are rounded, and each shot may be measured anew
_BRACKET = 1.0  # EV that exposures which are no bracket stay below, as of focus settings while a cloud passes


def work_of_stacks(args: argparse.Namespace) -> tuple[Work, list[tuple[str, str]], list[str]]:
    """The stacks that the arguments name, what is none, and notices."""
    places = [path for place in args.stacks for path in _listed(place)]
    files = [path for path in places if path.is_file()]
    if files and len(files) < len(places):
        raise ImageError(f"{files[0]} is a file and others are folders; give files of one stack, or folders")
    if files and not (files := _called_like(args.pattern, files)):
        raise ImageError(f"none of {counted(len(places), 'file')} is called like {args.pattern!r} (--pattern)")
    one_file = args.out.suffix.lower() in RESULT_SUFFIXES and not args.out.is_dir()
    failed: list[tuple[str, str]] = []
    notices: list[str] = []
    scenes: list[Scene] = []
    others: list[Path] = []
    if files == sorted(files):  # as a shell lists them
        files.sort(key=lambda path: (path.parent, in_order(path.name), path.name))
    if files:
        name = files[0].stem if len(files) == 1 else name_of(files[0].parent)
        scenes = stacks_of(args.out.stem if one_file else name, files, args.images_per_stack, failed)
    wanted = f" called like {args.pattern!r}" if args.pattern else ""
    for folder in [] if files else places:
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not ignored(path.name))
        inside = {place: _called_like(args.pattern, images_of(place)) for place in (folder, *below)}
        beside = [place for place in below if inside[place]] if inside[folder] else []
        left_out = _left_out(folder, beside) if beside else ""
        if not below and not inside[folder]:
            reason = f"no images{wanted} in {folder} or in the folders below it{_instead(folder)}"
            failed.append((name_of(folder), reason))
        for place in [folder] if inside[folder] else below:
            images = inside[place]
            if not images:
                reason = f"{place} holds no images{wanted}; a stack has two or more{_instead(place)}"
                failed.append((name_of(place), reason))
                continue
            others += other_files(place)
            stacks = stacks_of(name_of(place), images, args.images_per_stack, failed, left_out)
            notices += [left_out] if left_out and stacks else []
            scenes += stacks
    if others:
        kinds = ", ".join(sorted({path.suffix.lower() or path.name for path in others}))
        notices.append(f"files that are no images by name are left out: {kinds}; {others[0]} for one")
    if not scenes:
        more = f" (and {len(failed) - 1} more are no stacks either)" if len(failed) > 1 else ""
        raise ImageError(f"{failed[0][1]}{more}" if failed else f"no images in {places[0]} or in the folders below it")
    scenes = _called_apart(scenes)
    if not one_file and ends_like_a_file(args.out):
        suffixes = ", ".join(RESULT_SUFFIXES)
        raise ValueError(f"-o {args.out}: one stack is written to a file ending in {suffixes}, several to a folder")
    if not files:
        _refuse_to_add(args.out, places, one_file)
    if one_file and len(scenes) > 1:
        raise ValueError(f"-o {args.out} is one file, but there are {len(scenes)} stacks; give a folder")
    folder = SceneFolder("stacks", tuple(dict.fromkeys(path.parent for scene in scenes for path in scene.paths)))
    save_dir = args.out.parent if one_file else args.out
    work = Work(folder, tuple(scenes), (), save_dir, args.out if one_file else None)
    refuse_to_overwrite(work)
    return work, failed, notices


def _called_apart(scenes: Sequence[Scene]) -> list[Scene]:
    """Stacks of which those of one name have the names of the folders that they lie in before it, as far as needed.

    Raises:
        ImageError: some are called alike, since they lie in one folder.
    """
    names = [scene.stem for scene in scenes]
    above = [list(file_of(scene.paths[0]).absolute().parent.parts[1:]) for scene in scenes]
    for name, folders in zip(names, above):
        if folders and folders[-1] == name:
            folders.pop()  # the stack is called by its folder
    twice = {name for name, count in Counter(names).items() if count > 1}
    alike = [number for number, name in enumerate(names) if name in twice]
    while alike:
        if not all(above[number] for number in alike):
            raise ImageError(f"several stacks are called {', '.join(sorted(twice))}; fuse them one by one")
        for number in alike:
            names[number] = f"{above[number].pop()}_{names[number]}"
        counts = Counter(names)
        alike = [number for number, name in enumerate(names) if counts[name] > 1]
    return [replace(scene, stem=name) for scene, name in zip(scenes, names)]


def _called_like(pattern: str | None, images: Sequence[Path]) -> list[Path]:
    """The images whose names, with or without suffix, fit a pattern, in which capital letters do not matter."""
    if pattern is None:
        return list(images)
    whole = pattern.casefold()
    names = ((path, (path.name.casefold(), path.stem.casefold())) for path in images)
    return [path for path, both in names if any(fnmatchcase(name, whole) for name in both)]


def _listed(place: Path) -> list[Path]:
    """A file or folder, or, of a pattern that the shell has left alone, those that it stands for."""
    if place.exists():
        return [place]
    found = sorted(place.parent.glob(place.name)) if "*" in place.name else []
    found = [path for path in found if not path.name.startswith(".")]
    if not found and "*" in str(place.parent):
        raise ValueError(
            f"{place}: a pattern is for the files of one folder; for those of many folders give the folder that holds "
            f"them, and --pattern {shlex.quote(place.name)}"
        )
    if not found:
        raise ImageError(f"{place}: no such file or folder")
    return found


def stacks_of(
    name: str, images: Sequence[Path], number: int | None, failed: list[tuple[str, str]], remark: str = ""
) -> list[Scene]:
    """The stack of some images, or those of `number` images each, or, of TIFF files of several pages, one each.

    What is none is added to `failed`.
    """
    try:
        inside = {path: stacks_in(path) for path in images}
    except ImageError as error:
        failed.append((name, told(error)))
        return []
    if all(inside.values()) and number is None:
        one = len(images) == 1
        return [
            Scene((name if one else path.stem) + channel, pages)
            for path, stacks in inside.items()
            for channel, pages in stacks.items()
        ]
    several = next((path for path, stacks in inside.items() if stacks), None)
    alike = _called_alike(images)
    if several is not None:
        pages = len(next(iter(inside[several].values())))
        beside = "which --images_per_stack does not cut" if number else "and other files beside it have one page"
        reason = f"{several} is a stack of {pages} pages, {beside}; take it out"
    elif len(images) < 2:
        reason = f"{images[0]} is one image; a stack has two or more"
    elif alike:
        one, other = alike
        reason = (
            f"{one} and {other.name} are called alike, as one image in two formats; take one of them, in all folders, "
            f"by --pattern {shlex.quote('*' + one.suffix)} or --pattern {shlex.quote('*' + other.suffix)}"
        )
    elif number and (lost := _lost_shot(images, number)):
        reason = lost
    elif number and len(images) % number:
        reason = (
            f"the {len(images)} images of {images[0].parent} are not a whole number of stacks of {number} "
            "(--images_per_stack); take out what belongs to none"
        )
    elif number:
        starts = range(0, len(images), number)
        return [Scene(images[start].stem, tuple(images[start : start + number])) for start in starts]
    else:
        return [Scene(name, tuple(images))]
    failed.append((name, f"{reason}; {remark}" if remark else reason))
    return []


def _lost_shot(images: Sequence[Path], number: int) -> str:
    """Where the exposures of brackets of `number` images, as EXIF states them, do not go on as they began; '' nowhere.

    They are compared with the first one of each bracket: scenes may be exposed differently as a whole.  Biases count
    where they differ; cameras set by hand state 0 for all, and then time, ISO speed and f-number tell.
    """
    try:
        exposures = [exposure_of(path) for path in images]
    except ImageError:  # a file that cannot be read; its stack fails
        return ""
    values, same = [exposure.bias for exposure in exposures], _SAME_BIAS
    if None in values or max(values) - min(values) <= same:
        values, same = [exposure.light for exposure in exposures], _SAME_LIGHT
        if None in values or max(values[:number]) - min(values[:number]) < _BRACKET:
            return ""
        values = [value - values[place - place % number] for place, value in enumerate(values)]
    stacks = [values[start : start + number] for start in range(0, len(values), number)]
    for place, stack in enumerate(stacks):
        if any(abs((one - stack[0]) - (other - values[0])) > same for one, other in zip(stack, values)):
            here, first = (", ".join(f"{value:+.1f}" for value in one) for one in (stack, stacks[0]))
            return (
                f"{images[place * number]} and what follows it were exposed by {here} EV, the first {number} images by "
                f"{first} (--images_per_stack): shots are missing there or before, or images of other stacks are among "
                "them; take the images of incomplete stacks out, or fuse each scene by itself"
            )
    return ""


def _called_alike(images: Sequence[Path]) -> tuple[Path, Path] | None:
    """The first two images of one folder whose names differ in nothing but their suffix."""
    known: dict[tuple[Path, str], Path] = {}
    for path in images:
        other = known.setdefault((path.parent, path.stem), path)
        if other.suffix != path.suffix:
            return other, path
    return None


def _instead(folder: Path) -> str:
    """What files a folder without images holds."""
    kinds = sorted({path.suffix.lower() for path in other_files(folder) if path.suffix})
    return f"; its files, ending in {', '.join(kinds)}, are not read: export them as TIFF, PNG or JPEG" if kinds else ""


def _refuse_to_add(out: Path, stacks: Sequence[Path], one_file: bool) -> None:
    """Raise ImageError where a result would be an image of a stack, or the results a stack, the next time."""
    place = real_path(out).parent if one_file else real_path(out)
    for folder in stacks:
        if place == real_path(folder) or (place.parent == real_path(folder) and not images_of(folder)):
            raise ImageError(
                f"results would lie among the sources in {folder} and be taken for such the next time; choose another "
                "folder for them"
            )


def _left_out(folder: Path, beside: Sequence[Path]) -> str:
    """What to say of a folder of images that also has folders of images in it."""
    names = first_of([place.name for place in beside])
    return (
        f"{folder} is taken for one stack since it holds images itself, and its folders {names} are left out; if these "
        "are the stacks, move the images out of it"
    )
