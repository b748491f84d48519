"""Writing a published data set as `<root>/train|test/TASK_NAME/FOLDER`, after checking its pairs."""

import hashlib
import os
import re
import secrets
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from adasffuse.data.datasets.catalog import DataSet
from adasffuse.data.datasets.readers import Item, LayoutError, Origin, find_items, size_of
from adasffuse.files import link_or_copy
from adasffuse.images.image import ImageError
from adasffuse.images.read import read_image
from adasffuse.messages import counted
from adasffuse.tasks import TASKS

_TEST_CASES = {"CT-MRI": {"34"}, "SPECT-MRI": {"4", "11"}}  # cases of the atlas
_PET_CASE, _PET_FIRST, _PET_LAST, _PET_MARGIN = "41", 58, 98, 3  # case and slices for the test, and a gap beside them


@dataclass
class Prepared:
    """Result of `prepare`."""

    data_set: DataSet
    folders: list[Path] = field(default_factory=list)  # written folders, one for each part
    counts: dict[str, int] = field(default_factory=dict)  # pairs of each part
    problems: list[str] = field(default_factory=list)  # pairs that were left out, and why
    notices: list[str] = field(default_factory=list)


def prepare(data_set: DataSet, source: Path, root: Path, copy: bool = False, decode: bool = True) -> Prepared:
    """Write the pairs of a data set; each part is written whole or not at all.

    Args:
        source: folder of the unpacked archive.
        root: folder that gets `train/` and `test/`.
        copy: copy files instead of linking to them, as is done where links cannot be made.
        decode: decode every image instead of reading only its header.
    Raises:
        LayoutError: the source does not have the set's original layout.
        ImageError: a part exists already.
        OSError: it cannot be written.
    """
    result = Prepared(data_set)
    items = _whole(_with_parts(data_set, find_items(data_set, source), result), result, decode)
    parts: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        parts[item.part].append(item)
    name = data_set.folder or f"{TASKS[data_set.task].folder}_{data_set.name}"
    targets = {part: root / part / name / found[0].subset for part, found in parts.items()}
    for target in targets.values():
        if target.exists():
            raise ImageError(f"{target} is there already; remove it, or give another --root")
    for part, target in targets.items():
        _write_part(parts[part], target, copy)
        result.folders.append(target)
        result.counts[part] = len(parts[part])
    _compare_counts(result)
    _find_shared_files(parts, result)
    return result


def _with_parts(data_set: DataSet, items: Sequence[Item], result: Prepared) -> list[Item]:
    """The items with their part, by the owners' split or ours."""
    listed = _split_file(data_set.name) if data_set.split == "file" else set()
    every = int(data_set.split.removeprefix("every ")) if data_set.split.startswith("every ") else 0
    parted, left_out = [], 0
    for number, item in enumerate(items):
        part = item.part
        if data_set.split == "file":
            part = "test" if item.stem in listed else "train"
        elif every:
            part = "test" if number % every == every - 1 else "train"
        elif data_set.split == "cases":
            part = part_of_slice(item.subset, item.stem)
        if part:
            parted.append(replace(item, part=part))
        else:
            left_out += 1
    if left_out:
        result.notices.append(f"{left_out} slices next to tested ones are left out")
    absent = listed - {item.stem for item in items}
    if absent:
        result.notices.append(
            f"{counted(len(absent), 'name')} of our split not in the source: {', '.join(sorted(absent)[:5])}"
        )
    return parted


def part_of_slice(subset: str, stem: str) -> str:
    """'train', 'test', or '' (left out) of a slice named by case number and three digits, e.g. '16009'."""
    found = re.fullmatch(r"(\d+)(\d{3})", stem)
    if not found:
        return "train"
    case, number = found[1], int(found[2])
    if subset == "PET-MRI":
        if case != _PET_CASE or not _PET_FIRST - _PET_MARGIN <= number <= _PET_LAST + _PET_MARGIN:
            return "train"
        return "test" if _PET_FIRST <= number <= _PET_LAST else ""
    return "test" if case in _TEST_CASES[subset] else "train"


def _split_file(name: str) -> set[str]:
    """Stems of the test pairs in the split that ships with the package."""
    text = (resources.files("adasffuse.data.datasets") / "splits" / f"{name}.txt").read_text(encoding="utf-8")
    return {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}


def _whole(items: Sequence[Item], result: Prepared, decode: bool) -> list[Item]:
    """The complete items; others are noted in the result's problems."""
    sources = [name for kinds in TASKS[result.data_set.task].sources for name in kinds.folders]
    wanted = [name for name in dict.fromkeys(sources) if any(name in item.files for item in items)]
    good = []
    for item in items:
        missing = [name for name in wanted if name not in item.files]
        if missing:
            there = next(iter(item.files.values())).path
            result.problems.append(f"{there} has no partner in {' and '.join(missing)}")
            continue
        try:
            sizes = {name: _size(origin, decode) for name, origin in item.files.items() if name in (*wanted, "labels")}
        except (ImageError, OSError) as error:
            result.problems.append(str(error))
            continue
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {width}x{height}" for name, (height, width) in sizes.items())
            result.problems.append(f"{item.stem}: sizes differ: {listed}")
            continue
        good.append(item)
    if not good:
        raise LayoutError(f"no whole pair of {result.data_set.name}: {'; '.join(result.problems[:3])}")
    return good


def _size(origin: Origin, decode: bool) -> tuple[int, int]:
    if origin.channels:
        with Image.open(origin.path) as image:
            if len(image.getbands()) != 4:
                raise ImageError(f"{origin.path}: has not the four channels of an image of this set")
    return read_image(origin.path).pixels.shape[:2] if decode else size_of(origin.path)


def _write_part(items: Sequence[Item], target: Path, copy: bool) -> None:
    """Write all files of one part to a temporary folder, and rename that."""
    temporary = target.with_name(f".part-{secrets.token_hex(8)}")
    try:
        for item in items:
            for name, origin in item.files.items():
                place = temporary / name
                place.mkdir(parents=True, exist_ok=True)
                _write(origin, place / f"{item.stem}{origin.path.suffix.lower()}", copy)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(origin: Origin, path: Path, copy: bool) -> None:
    if origin.channels:
        with Image.open(origin.path) as image:
            channels = np.asarray(image)
        Image.fromarray(channels[..., :3] if origin.channels == "rgb" else channels[..., 3]).save(path)
    elif copy:
        shutil.copyfile(origin.path, path)
    else:
        link_or_copy(origin.path, path)


def _compare_counts(result: Prepared) -> None:
    for part, official in result.data_set.counts.items():
        found = result.counts.get(part, 0)
        if found > official:
            result.problems.append(f"{part} holds {found} pairs, the set only {official}: is the source another set?")
        elif found < official:
            result.notices.append(f"{part} holds {found} pairs, the whole set {official}")


def _find_shared_files(parts: dict[str, list[Item]], result: Prepared) -> None:
    """Note test files that are also training files, byte by byte."""
    digests: dict[str, dict[str, Path]] = {"train": {}, "test": {}}
    for part, items in parts.items():
        for item in items:
            for name, origin in item.files.items():
                if name not in ("labels", "Annotations"):
                    key = f"{name} {hashlib.sha256(origin.path.read_bytes()).hexdigest()}"
                    digests[part][key] = origin.path
    shared = digests["train"].keys() & digests["test"].keys()
    result.problems += [
        f"{digests['test'][key]} is in train, too, as {digests['train'][key]}" for key in sorted(shared)
    ]
