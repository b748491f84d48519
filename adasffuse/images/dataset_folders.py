"""The folders of a data set's sources: `<root>/<dataset>/<folder>`, by the tables of `adasffuse.tasks`."""

from collections.abc import Sequence
from pathlib import Path

from adasffuse.images.folders import describe_folder, images_of
from adasffuse.images.pairs import SceneError, SceneFolder
from adasffuse.images.patterns import patterns_in
from adasffuse.messages import counted
from adasffuse.tasks import Sources, find_task


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


def _no_source_folders(dataset: str, root: Path, base: Path, missing: Sequence[str]) -> SceneError:
    """The error for a data set without the folders looked for: of another root, or with all images in one folder."""
    place = base if base.is_dir() else root
    looked = ", ".join(dict.fromkeys(missing))
    message = f"no source folders for {dataset}: looked for {looked}; {describe_folder(place)}"
    for other in _folders_around(root):
        if any(all((other / dataset / s.subset / f).is_dir() for f in s.folders) for s in _candidates(dataset)):
            return SceneError(f"{message}; as folder of data sets give {other}", root=other)
    images = images_of(place) if place.is_dir() else []
    patterns, count = patterns_in(images)
    if not count:
        return SceneError(message)
    both = f"{patterns[0]!r} and {patterns[1]!r} match {counted(count, 'pair')}"
    message += f"; give {place} for both sources, with patterns: {both}"
    return SceneError(message, (place, place), patterns)


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
    below = base / name
    return Path(name) if Path(name).is_dir() and not below.is_dir() else below
