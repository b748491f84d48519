"""Finding the pairs of a data set: two folders whose files match by stem, `<root>/<dataset>/<folder>`."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from adasffuse.images.image import Image, ImageError
from adasffuse.images.read import IMAGE_SUFFIXES, read_image
from adasffuse.tasks import Sources, find_task

_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}  # hidden files (.DS_Store, ._copy.png) are ignored as well


@dataclass(frozen=True)
class Pair:
    """Two files that show one scene."""

    stem: str  # file name without suffix, the same in both folders
    path_a: Path
    path_b: Path


@dataclass(frozen=True)
class PairProblem:
    """Something in the folders that forms no pair."""

    name: str  # the file or stem
    reason: str  # a sentence for the user


@dataclass(frozen=True)
class PairFolder:
    """The two folders of one set of pairs."""

    name: str  # data set, and the subset where there is one: 'IVF_MSRS', 'MIF/PET-MRI'
    folder_a: Path
    folder_b: Path


def find_pairs(folder_a: str | Path, folder_b: str | Path) -> tuple[list[Pair], list[PairProblem]]:
    """Pairs sorted by stem, and what forms none: a stem without partner, a stem twice, a file that is no image.

    Hidden files, `Thumbs.db`, `desktop.ini` and sub-folders are passed over.

    Raises:
        ImageError: a folder is missing (the message says what is there instead) or holds no image.
    """
    folder_a, folder_b = Path(folder_a), Path(folder_b)
    files_a, problems = _images_by_stem(folder_a)
    files_b, problems_b = _images_by_stem(folder_b)
    problems += problems_b
    pairs = []
    for stem in sorted(files_a.keys() | files_b.keys()):
        sides = files_a.get(stem, []), files_b.get(stem, [])
        for files, other in zip(sides, (folder_b, folder_a)):
            if files and not all(sides):
                problems.append(PairProblem(stem, f"{files[0]} has no partner in {other}"))
            if len(files) > 1:
                names = " and ".join(file.name for file in files)
                problems.append(PairProblem(stem, f"{names} in {files[0].parent} share one stem; keep one of them"))
        if len(sides[0]) == len(sides[1]) == 1:
            pairs.append(Pair(stem, sides[0][0], sides[1][0]))
    return pairs, problems


def pair_folders(
    root: str | Path, dataset: str, a_dir: str | None = None, b_dir: str | None = None
) -> list[PairFolder]:
    """The folders that hold a data set's sources: `<root>/<dataset>/<folder>`, for MIF one entry per subset found.

    Args:
        root: folder of data sets.
        dataset: TASK or TASK_NAME, e.g. 'IVF' (older name 'VIF') or 'IVF_MSRS', or one subset, e.g. 'MIF/CT-MRI'.
        a_dir, b_dir: other names of the two folders, or full paths to them.
    Raises:
        ImageError: nothing found (the message lists what was looked for and what is there), or half a subset is.
        ValueError: `dataset` names no task.
    """
    root = Path(root)
    base = _dataset_folder(root, dataset)
    found, missing = {}, []
    for source in _candidates(dataset):
        folders = [_resolve(base / source.subset, name) for name in (a_dir or source.a, b_dir or source.b)]
        present = [folder for folder in folders if folder.is_dir()]
        if len(present) == 2:
            below = folders[0].is_relative_to(base / source.subset)  # a full path has no subset
            name = (base.relative_to(root) / (source.subset if below else "")).as_posix()
            found.setdefault(tuple(folders), PairFolder(name, *folders))
        else:
            missing += [str(folder) for folder in folders if folder not in present]
            if present and source.subset and not (a_dir or b_dir):
                raise ImageError(
                    f"{present[0]} is there, its partner {missing[-1]} is not; add it, or rename the former"
                )
    if not found:
        looked = ", ".join(dict.fromkeys(missing))
        raise ImageError(
            f"no source folders for {dataset}: looked for {looked}; {_contents(base if base.is_dir() else root)}"
        )
    return list(found.values())


def read_pair(
    pair: Pair, range_a: tuple[float, float] | None = None, range_b: tuple[float, float] | None = None
) -> tuple[Image, Image]:
    """Both images of a pair; each range is the `value_range` of `adasffuse.images.read.read_image`.

    Raises:
        ImageError: a file cannot be read, or the two differ in height or width.
    """
    a, b = read_image(pair.path_a, range_a), read_image(pair.path_b, range_b)
    if a.pixels.shape[:2] != b.pixels.shape[:2]:
        (height_a, width_a), (height_b, width_b) = a.pixels.shape[:2], b.pixels.shape[:2]
        raise ImageError(
            f"sizes differ: {pair.path_a} is {width_a}x{height_a}, {pair.path_b} is {width_b}x{height_b} pixels; "
            "register both to one size first"
        )
    return a, b


def _images_by_stem(folder: Path) -> tuple[dict[str, list[Path]], list[PairProblem]]:
    if not folder.is_dir():
        raise ImageError(f"no folder {folder}; {_contents(_nearest_folder(folder))}")
    images, problems = defaultdict(list), []
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.name.lower() in _SYSTEM_FILES or file.is_dir():
            continue
        if file.suffix.lower() in IMAGE_SUFFIXES:
            images[file.stem].append(file)
        else:
            problems.append(PairProblem(file.name, f"{file} is not an image file ({_suffixes()}); skipped"))
    if not images:
        raise ImageError(f"no images in {folder}; put files ending in {_suffixes()} there")
    return images, problems


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _nearest_folder(path: Path) -> Path:
    """The closest folder above a missing path that exists."""
    return next((parent for parent in path.parents if parent.is_dir()), Path())


def _contents(folder: Path) -> str:
    """What a folder holds, for an error message."""
    if not folder.is_dir():
        return f"{folder} does not exist"
    names = sorted(item.name + "/" * item.is_dir() for item in folder.iterdir() if not item.name.startswith("."))
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"{folder} holds {listed}" if names else f"{folder} is empty"


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
    return list(dict.fromkeys([*sources, *(Sources("", source.a, source.b) for source in sources)]))


def _resolve(base: Path, name: str) -> Path:
    """A folder given by name below `base`, or as a path of its own."""
    return base / name if (base / name).is_dir() or not Path(name).is_dir() else Path(name)
