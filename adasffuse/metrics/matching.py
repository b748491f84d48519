"""Which files belong to the scenes that are scored: fused images, true images and boxes, found by their names."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from adasffuse.images.boxes import PEOPLE, Annotation, find_boxes, of_classes
from adasffuse.images.folders import identity_of
from adasffuse.images.image import ImageError
from adasffuse.images.pairs import Scene, SceneProblem
from adasffuse.images.patterns import folder_and_pattern, is_tree, pattern_for
from adasffuse.images.trees import scenes_in
from adasffuse.messages import first_of

_SHOWN = 3  # problems of one folder that are listed


def match_results(
    scenes: Sequence[Scene], folder: str | Path, known: Set[str] = frozenset()
) -> tuple[dict[str, Path], dict[str, str], list[str]]:
    """Match the images of a folder to the scenes.

    Args:
        folder: folder, folder and pattern, or pattern of paths; the file itself for a single scene.
        known: names of source files that form no scene and have been reported.
    Returns:
        stem to file, stem to the reason why there is none, and notices.
    """
    stems = {scene.stem for scene in scenes}
    folder, pattern = folder_and_pattern(folder)
    if folder.is_file():
        if len(scenes) > 1:
            return {}, dict.fromkeys(stems, f"{folder} is one file, but there are {len(scenes)} scenes"), []
        return dict.fromkeys(stems, folder), {}, []
    try:
        images, problems = scenes_in((folder,), (pattern,))
    except (ImageError, OSError) as error:  # no such folder, or nothing in it: the other folders are scored
        return {}, dict.fromkeys(stems, str(error)), []
    files = {image.stem: image.paths[0] for image in images if image.stem in stems}
    reasons = {problem.name: problem.reason for problem in problems}
    absent = f"{folder} holds no image of it"
    if images and not files:
        absent += _called_otherwise(folder, sorted(stems), images)
    lacking = {stem: reasons.get(stem, absent) for stem in stems - files.keys()}
    notices = notices_of_problems([problem for problem in problems if problem.name not in lacking])
    others = images if files else []  # where nothing matches, the reason says it
    surplus = [f"{image.paths[0]} belongs to no scene" for image in others if image.stem not in stems | known]
    return files, lacking, notices + ([first_reasons(surplus)] if surplus else [])


def _called_otherwise(folder: Path, stems: Sequence[str], images: Sequence[Scene]) -> str:
    """What to do where no image of a folder is called like a scene."""
    name = images[0].paths[0].name
    if is_tree(folder):
        return f": '*' stands for other names than those of the sources, {images[0].stem} for one"
    pattern = pattern_for(stems, [image.stem for image in images])
    if pattern:
        return f" by that name; give {folder / pattern} for files that are called like {name}"
    return f": its files are called like {name}, not like {stems[0]}; rename them to the names of the sources"


def find_references(
    scenes: Sequence[Scene], folder: str | Path | None, known: Set[str] = frozenset()
) -> tuple[dict[str, Path] | None, list[str]]:
    """Stem to true image (None without a folder), and notices.

    Args:
        folder: folder of images named like the scenes.
        known: names that belong to no scene and have been reported.
    Raises:
        ImageError: the folder is missing or holds no image of any scene.
    """
    if folder is None:
        return None, []
    references, lacking, notices = match_results(scenes, folder, known)
    if not references:
        raise ImageError(f"no true image in {folder}: {first_reasons(lacking.values())}")
    return references, notices


def find_annotations(
    scenes: Sequence[Scene], folder: str | Path | None, classes: Sequence[str] = PEOPLE
) -> tuple[dict[str, Annotation] | None, list[str]]:
    """Stem to boxes (None without a folder), and notices about missing ones.

    Args:
        folder: folder of Pascal VOC files, `STEM.xml`.
        classes: class names of the target boxes.
    Raises:
        ImageError: see `adasffuse.images.boxes.find_boxes`.
    """
    if folder is None:
        return None, []
    found = find_boxes(folder, [scene.stem for scene in scenes])
    missing = [f"{scene.stem}.xml" for scene in scenes if scene.stem not in found]
    notices = [f"{folder} lacks {first_of(missing, _SHOWN)}: these images have no Retention"] if missing else []
    boxes = [box for annotation in found.values() for box in annotation.boxes]
    if not of_classes(boxes, classes):
        there = ", ".join(sorted({box.name for box in boxes})) or "none"
        notices.append(f"{folder} holds no box of {', '.join(classes)}; its classes: {there}")
    return found, notices


def same_files(
    scenes: Sequence[Scene], methods: Mapping[str, Mapping[str, Path] | None], references: Mapping[str, Path] | None
) -> list[str]:
    """Notices about images that are scored against themselves, or under two names: a folder was given twice."""
    columns = {f"source {letter}": {s.stem: s.paths[number] for s in scenes} for number, letter in enumerate("AB")}
    columns |= {"the true images": references or {}}
    columns |= {f"the results of {name}": files or {} for name, files in methods.items()}
    identities: dict[str, dict[str, tuple[int, int]]] = {}
    notices = []
    for name, files in columns.items():
        with contextlib.suppress(OSError):  # scoring tells what is wrong
            own = {stem: identity_of(path) for stem, path in files.items()}
            same = next((other for other, theirs in identities.items() if own and own.items() <= theirs.items()), None)
            if same is not None:
                folder = next(iter(files.values())).parent
                notices.append(f"{name} are the very files of {same.removeprefix('the ')}, in {folder}; is that meant?")
            identities[name] = own
    return notices


def notices_of_problems(problems: Sequence[SceneProblem]) -> list[str]:
    """A notice of files that belong to no scene; [] for none."""
    return [first_reasons(problem.reason for problem in problems)] if problems else []


def first_reasons(reasons: Iterable[str]) -> str:
    """The first few different sentences, and the number of further ones."""
    reasons = list(dict.fromkeys(reasons))
    more = f" (and {len(reasons) - _SHOWN} more)" if len(reasons) > _SHOWN else ""
    return "; ".join(reasons[:_SHOWN]) + more
