"""Notices of the images of a folder: what is used, but perhaps not as it was meant."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adasffuse.images.color import is_colorful
from adasffuse.images.image import Image
from adasffuse.images.levels import same_pixels
from adasffuse.images.pairs import Scene
from adasffuse.images.ranges import RangeSpec
from adasffuse.tasks import Task

LOOKED_AT = 16  # infrared images of a folder or video are looked at for whether hot things are dark in them
_MISTAKEN = 1 / 10  # share of them that may seem so without being so
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


@dataclass(frozen=True)
class Seen:
    """What is remembered of a scene's images, without their pixels."""

    scene: Scene
    notices: tuple[tuple[Path, str], ...]  # file and text
    colorful: tuple[bool, ...]  # of each source
    all_equal: bool  # whether all sources have the same pixels


def seen_of(scene: Scene, images: Sequence[Image]) -> Seen:
    """What is remembered of the images of a scene, in the order of its sources."""
    notices = tuple(
        (path, notice.removeprefix(f"{path}: ")) for path, image in zip(scene.paths, images) for notice in image.notices
    )
    equal = all(same_pixels(images[0].pixels, image.pixels) for image in images[1:])
    return Seen(scene, notices, tuple(is_colorful(image.pixels) for image in images), equal)


def folder_notices(task: Task, folders: Sequence[Path], seen: Sequence[Seen]) -> list[str]:
    """Notices of all scenes of the folders of one set; what holds for many files is said once, with their number."""
    said = _colour_notices(task, folders, seen)
    if seen and all(one.all_equal for one in seen):
        said.append("the sources of every scene are equal, pixel by pixel; were the same images given twice?")
    return said + notices_of_files(notice for one in seen for notice in one.notices)


def window_notices(
    folders: Sequence[Path], specs: Sequence[RangeSpec | None], windows: Sequence[tuple[float, float] | None]
) -> list[str]:
    """The values that become black and white, of each source where its files decided on them."""
    return [
        f"{source}: the values {window[0]:g} to {window[1]:g} become black to white"
        for source, spec, window in zip(folders, specs, windows)
        if window is not None and spec is not None and spec.kind != "fixed"
    ]


def black_hot_notice(looked_at: Sequence[tuple[Path, bool]], example: str = "") -> list[str]:
    """A notice of infrared images in which hot things seem to be dark, see `Fuser.looks_black_hot`; [] for too few.

    Args:
        looked_at: the images that were looked at, and whether they seem so.
        example: of such a range, behind the name of the option.
    """
    dark = [path for path, black_hot in looked_at if black_hot]
    if len(dark) <= _MISTAKEN * len(looked_at):
        return []
    others = f" (and in {len(dark) - 1} more of {len(looked_at)} that were looked at)" if len(dark) > 1 else ""
    return [
        f"{dark[0]}: people seem to be dark in it{others}; where hot things are dark, as of a camera set to black-hot, "
        f"add 'inverted' to --range_a{example} (and where it was given, leave it away)"
    ]


def notices_of_files(notices: Iterable[tuple[Path, str]]) -> list[str]:
    """Notices (file and text), those that differ in numbers at most said once, with the number of files."""
    groups: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for path, text in notices:
        groups[without_numbers(text)].append((path, text))
    said = []
    for group in groups.values():
        path, text = group[0]
        others = ", with other numbers" if any(other != text for _, other in group) else ""
        more = f" (and {len(group) - 1} more files{others})" if len(group) > 1 else ""
        said.append(f"{path}: {text}{more}")
    return said


def without_numbers(text: str) -> str:
    """A text with 0 for every number: that of texts that differ in numbers only is the same."""
    return _NUMBER.sub("0", text)


def _colour_notices(task: Task, folders: Sequence[Path], seen: Sequence[Seen]) -> list[str]:
    """Notices of colour where the task expects none: sources swapped, or a thermal source in false colours."""
    numbers = range(len(folders))
    colored = [[one for one in seen if one.colorful[number]] for number in numbers]
    giver = {"a": 0, "b": 1}.get(task.color)  # the source whose colours the result takes
    if giver is not None and seen and not colored[giver]:
        most = [number for number in numbers if len(colored[number]) > len(seen) / 2]
        if most:
            gray, other, count = folders[giver], folders[most[0]], len(colored[most[0]])
            share = "all" if count == len(seen) else f"{count} of {len(seen)}"
            return [f"all images in {gray} are gray and {share} in {other} have colour: the folders may be swapped"]
    return [
        f"{len(some)} of {len(seen)} images in {source} have colour, {some[0].scene.paths[number].name} for one: false "
        "colours are no temperature, only their luminance is used; export thermal images in gray"
        for number, (source, some) in enumerate(zip(folders, colored))
        if some and task.thermal and task.thermal[number]
    ]
