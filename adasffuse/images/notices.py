"""Notices of the images of a folder: what is used, but perhaps not as it was meant."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from adasffuse.images.color import is_colorful
from adasffuse.images.image import Image
from adasffuse.images.levels import same_pixels
from adasffuse.images.pairs import Scene
from adasffuse.images.ranges import RangeSpec
from adasffuse.messages import counted, first_of
from adasffuse.tasks import Task

LOOKED_AT = 16  # infrared images of a folder or video, evenly spread over it, that are looked at
MISTAKEN = 1 / 10  # share of them that may seem black-hot though they are not
SHOWN = 3  # lines of one kind that are said in full
_NAMES = 8  # of the other lines of that kind, which are said in one
_NOISY = 1.5  # gray levels of noise, median of the images looked at, that are worth a notice
_FILE = re.compile(r"\S*([/\\]\S*|\.[A-Za-z]\w{1,4}\b)")  # a path, or a name with its suffix
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


def pick_evenly(items: Sequence, count: int) -> Sequence:
    """At most `count` of the items, evenly spread over all, the first one among them."""
    if len(items) <= count:
        return items
    return [items[k * len(items) // count] for k in range(count)]


@dataclass(frozen=True)
class SceneSummary:
    """What is remembered of a scene's images, without their pixels."""

    scene: Scene
    notices: tuple[tuple[Path, str], ...]  # file and text
    colorful: tuple[bool, ...]  # of each source
    all_equal: bool  # whether all sources have the same pixels
    windows: tuple[tuple[float, float] | None, ...]  # of each source its values of black and white; None of 8 bits


def notices_of(scene: Scene, images: Sequence[Image]) -> list[tuple[Path, str]]:
    """The notices of a scene's images: file, and text without its name."""
    notices = []
    for path, image in zip(scene.paths, images):
        notices += [(path, notice.removeprefix(f"{path}: ")) for notice in image.notices]
    return notices


def summarize_scene(scene: Scene, images: Sequence[Image]) -> SceneSummary:
    """What is remembered of the images of a scene, in the order of its sources."""
    equal = all(same_pixels(images[0].pixels, image.pixels) for image in images[1:])
    windows = tuple(None if image.depth == "8" else image.window for image in images)
    colorful = tuple(is_colorful(image.pixels) for image in images)
    return SceneSummary(scene, tuple(notices_of(scene, images)), colorful, equal, windows)


def folder_notices(task: Task, folders: Sequence[Path], seen: Sequence[SceneSummary]) -> list[str]:
    """Notices of all scenes of the folders of one set; what holds for many files is said once, with their number."""
    said = _colour_notices(task, folders, seen)
    if seen and all(one.all_equal for one in seen):
        said.append("the sources of every scene are equal, pixel by pixel; were the same images given twice?")
    said += _window_differences(folders, seen)
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


@dataclass(frozen=True)
class InfraredLook:
    """What an infrared image is looked at for."""

    path: Path | None  # None of a frame
    black_hot: bool  # whether hot things seem to be dark
    noise: float  # standard deviation, gray levels of 255


def infrared_notices(looked_at: Sequence[InfraredLook | None], denoise: float, frames: Path | None = None) -> list[str]:
    """Notices of infrared images: that hot things seem to be dark, or of noise that is not taken away.

    Args:
        looked_at: the images, None for those that were not looked at.
        denoise: how much of their noise is taken away.
        frames: the video or folder by whose name they go, if they are frames.
    """
    looks = [look for look in looked_at if look is not None]
    notices = _black_hot_notice(looks, frames)
    noise = median(look.noise for look in looks) if looks else 0.0
    if noise >= _NOISY and not denoise:
        notices.append(
            f"infrared noise of about {noise:.0f} gray levels shows in flat regions; --denoise 1 takes it away"
        )
    return notices


def _black_hot_notice(looks: Sequence[InfraredLook], frames: Path | None) -> list[str]:
    """That hot things seem to be dark; [] for too few."""
    dark = [look.path for look in looks if look.black_hot]
    if len(dark) <= MISTAKEN * len(looks):
        return []
    where = "it"
    if frames is not None:
        where = f"{len(dark)} of {counted(len(looks), 'frame')} looked at"
    elif len(dark) > 1:
        where = f"it (and in {len(dark) - 1} more of {len(looks)} looked at)"
    return [
        f"{frames or dark[0]}: people seem to be dark in {where}; if hot things are dark, as a camera set to black-hot "
        "shows them, add 'inverted' to --range_a; if it is given already, leave it out"
    ]


def notices_of_files(notices: Iterable[tuple[Path, str]]) -> list[str]:
    """Notices (file and text) as lines; those that differ at most in numbers are one line, with the number of files.

    The frames of one video all name its file: there the notice of the first frame is the line.
    """
    groups: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for path, text in notices:
        groups[without_numbers(text)].append((path, text))
    said = []
    for group in groups.values():
        path, text = group[0]
        others = ", with other numbers" if any(other != text for _, other in group) else ""
        count = len({other for other, _ in group}) - 1
        files = counted(count, "more file")
        more = f" (and {files}{others})" if count else ""
        said.append(f"{path}: {text}{more}")
    return said


def few_of_each(said: Iterable[tuple[str, str]]) -> list[str]:
    """Lines 'NAME: TEXT', of each kind the first three, and one that names the rest.

    Texts that differ in names, files and numbers only are of one kind: a folder of hundreds of pairs often has one
    fault.

    Args:
        said: name and text; the line is the text alone where the name is '', or begins it.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, text in said:
        nameless = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "", text) if name else text
        groups[without_numbers(_FILE.sub("", nameless))].append((name, text))
    lines = []
    for group in groups.values():
        shown = group if len(group) == SHOWN + 1 else group[:SHOWN]
        lines += [text if text.startswith(f"{name}: ") or not name else f"{name}: {text}" for name, text in shown]
        rest = [name for name, _ in group[len(shown) :]]
        if any(rest):
            lines.append(f"{first_of(rest, _NAMES)}: the same, but for names and numbers")
        elif rest:
            lines.append(f"and {len(rest)} more that differ in names and numbers only")
    return lines


def _window_differences(folders: Sequence[Path], seen: Sequence[SceneSummary]) -> list[str]:
    """Notices of sources whose files have ranges of their own, as slices of PET have: one value, many brightnesses."""
    said = []
    for number, folder in enumerate(folders):
        windows = sorted({one.windows[number] for one in seen} - {None})
        if len(windows) > 1:
            ends = " and ".join(f"{low:g} to {high:g}" for low, high in (windows[0], windows[-1]))
            option = "--range_b" if number else "--range_a"
            said.append(
                f"{folder}: its files have {len(windows)} different ranges, {ends} among them, so that one value is "
                f"not equally bright in all; where they are slices of one series, give {option} folder"
            )
    return said


def without_numbers(text: str) -> str:
    """A text with 0 for every number: that of texts that differ in numbers only is the same."""
    return _NUMBER.sub("0", text)


def swapped_notice(
    task: Task,
    colored: Sequence[int],
    count: int,
    sources: Sequence[object] = "AB",
    kind: str = "images",
    of: str = "of",
    which: str = "A and B",
) -> list[str]:
    """A notice that sources may be swapped: the one that gives the colour is gray, most images of another are not.

    Args:
        colored: how many images of each source have colour.
        count: images of each source.
        sources: what they are called, or of one image each the images.
        kind, of: what the images are called, and the word before the name of their source.
        which: what may be swapped.
    """
    giver = {"a": 0, "b": 1}.get(task.color)  # the source whose colours the result takes
    most = [number for number, colorful in enumerate(colored) if colorful > count / 2]
    if giver is None or colored[giver] or not most:
        return []
    if count == 1:
        return [f"{sources[giver]} is gray and {sources[most[0]]} has colour: the two may be swapped"]
    share = "all" if colored[most[0]] == count else f"{colored[most[0]]} of {count}"
    colour = f"{share} {of} {sources[most[0]]} have colour"
    return [f"all {kind} {of} {sources[giver]} are gray and {colour}: {which} may be swapped"]


def _colour_notices(task: Task, folders: Sequence[Path], seen: Sequence[SceneSummary]) -> list[str]:
    """Notices of colour where the task expects none: sources swapped, or a thermal source in false colours."""
    colored = [[one for one in seen if one.colorful[number]] for number in range(len(folders))]
    sources = seen[0].scene.paths if len(seen) == 1 else folders
    swapped = swapped_notice(task, [len(some) for some in colored], len(seen), sources, of="in", which="the folders")
    if swapped or not task.thermal:
        return swapped
    notices = []
    for number, (folder, some) in enumerate(zip(folders, colored)):
        if some and task.thermal[number]:
            notices.append(
                f"{len(some)} of {counted(len(seen), 'image')} in {folder} have colour, "
                f"{some[0].scene.paths[number].name} for "
                "one: false colours are no temperature, only their luminance is used; export thermal images in gray"
            )
    return notices
