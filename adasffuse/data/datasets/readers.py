"""Finding the pairs of a published data set in the folder where it was unpacked."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from adasffuse.data.datasets.catalog import DataSet, Layout
from adasffuse.images.color import luminance
from adasffuse.images.folders import images_of
from adasffuse.images.formats import open_image
from adasffuse.images.image import ImageError
from adasffuse.images.read import IMAGE_SUFFIXES, read_image

_DEPTH = 3  # levels of folders below the given one that are searched for the set
_LABELS = frozenset({".png", ".xml", ".txt"})
_THERMAL = frozenset({"ir", "lwir", "thermal", "infrared"})  # words of TNO's file names
_VISIBLE = frozenset({"vis", "visible", "visual"})
_OTHER = frozenset({"nir", "ii", "rgb", "fused"})  # near infrared, image intensifier, false colours


@dataclass(frozen=True)
class Origin:
    """A file of the set, or some of its channels."""

    path: Path
    channels: str = ""  # '' for the whole file, 'rgb' for its first three channels, 'fourth' for the fourth


@dataclass(frozen=True)
class Item:
    """One pair, with its labels if there are any."""

    part: str  # 'train' or 'test'; '' if the split decides
    stem: str
    files: dict[str, Origin]  # name of the folder to be written to file
    subset: str = ""


class LayoutError(ImageError):
    """The folder does not hold the data set as its owners lay it out."""


def find_items(data_set: DataSet, source: Path) -> list[Item]:
    """The pairs of a data set, sorted by part and stem.

    Args:
        source: folder of the unpacked archive: the set's own folder, or one up to three levels above it.
    Raises:
        LayoutError: it does not hold the set; the message says what was expected and what was found.
    """
    if not source.is_dir():
        raise LayoutError(f"{source}: no such folder; unpack {data_set.get} and give that folder")
    items = sorted(_READERS[data_set.reader](data_set, source), key=lambda item: (item.subset, item.part, item.stem))
    if not items:
        raise LayoutError(
            f"no pairs of {data_set.name} in {source}: expected {data_set.rule or data_set.layout_source}"
        )
    return items


def _places(source: Path) -> Iterator[Path]:
    """The folder and its sub-folders, level by level."""
    level = [source]
    for _ in range(_DEPTH + 1):
        yield from level
        level = [path for folder in level for path in sorted(folder.iterdir()) if path.is_dir()]


def _below(place: Path, relative: str) -> Path | None:
    """A folder below another, case ignored."""
    for part in relative.split("/"):
        found = next((p for p in place.iterdir() if p.is_dir() and p.name.lower() == part.lower()), None)
        if found is None:
            return None
        place = found
    return place


# ---- one folder for each source


def _read_folders(data_set: DataSet, source: Path) -> Iterator[Item]:
    parts = set()
    for layout in data_set.layouts:
        if layout.part and layout.part in parts:
            continue  # another spelling of a part that was already found
        folders = _find_folders(layout, source)
        if folders is not None:
            parts.add(layout.part)
            yield from _pairs(data_set, layout, folders)
            if not layout.part:
                return
    missing = {layout.part for layout in data_set.layouts} - parts
    if missing:
        looked = " or ".join(sorted({", ".join(x.folders.values()) for x in data_set.layouts if x.part in missing}))
        there = ", ".join(sorted(p.name for p in source.iterdir())[:12]) or "nothing"
        raise LayoutError(f"{data_set.name} is not in {source}: looked for {looked}; the folder holds {there}")


def _find_folders(layout: Layout, source: Path) -> dict[str, Path] | None:
    for place in _places(source):
        found = {name: _below(place, relative) for name, relative in layout.folders.items()}
        if all(found[name] for name in found if name not in layout.optional):
            return {name: folder for name, folder in found.items() if folder}
    return None


def _pairs(data_set: DataSet, layout: Layout, folders: dict[str, Path]) -> Iterator[Item]:
    """Files of equal stems; a file without partner gives an item with fewer files, which `prepare` reports."""
    files: dict[str, dict[str, Origin]] = defaultdict(dict)
    spellings: dict[str, str] = {}  # stem in lower case to its first spelling
    for name, folder in folders.items():
        suffixes = _LABELS if name in layout.optional else IMAGE_SUFFIXES
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in suffixes and _is_of_set(data_set, path):
                stem = plain_stem(data_set, path)
                known = spellings.setdefault(stem.lower(), stem)  # VIFB has peopleShadow.jpg and peopleshadow.jpg
                files[stem if name in files[known] else known][name] = Origin(path)
    required = [name for name in layout.folders if name not in layout.optional]
    for stem, found in files.items():
        if any(name in found for name in required):
            yield Item(layout.part, stem, found, layout.subset)


def _is_of_set(data_set: DataSet, path: Path) -> bool:
    ignored = data_set.ignored and re.search(data_set.ignored, path.stem)
    return not ignored and not path.name.startswith(".")


def _images_of_set(data_set: DataSet, place: Path) -> list[Path]:
    return [path for path in images_of(place) if _is_of_set(data_set, path)]


def plain_stem(data_set: DataSet, path: Path) -> str:
    """A file's stem without the part that differs between the sources."""
    stem = path.stem
    for pattern, replacement in data_set.renames:
        stem = re.sub(pattern, replacement, stem)
    return stem


# ---- sets with rules of their own


def _read_scene_folders(data_set: DataSet, source: Path) -> Iterator[Item]:
    """TNO: in each folder the thermal and the visible image by their names, such as Farm_IR.bmp and Farm_Vis.bmp.

    Names of the archive on figshare, as the public code "cslib" lists them (class TNO of cslib.datasets.fusion).
    """
    for place in sorted(p for p in [source, *source.rglob("*")] if p.is_dir()):
        found = _thermal_and_visible(images_of(place))
        if found:
            stem = "_".join(place.relative_to(source).parts) or place.name
            files = {name: Origin(path) for name, path in zip(("infrared", "visible"), found)}
            yield Item("test", stem.replace(" ", "_"), files)


def _thermal_and_visible(images: list[Path]) -> tuple[Path, Path] | None:
    """The thermal and the visible image of a TNO scene, None unless there is one of each."""
    thermal, visible, rest = [], [], []
    for path in images:
        words = set(re.findall("[a-z]+", path.stem.lower()))
        if words & _THERMAL:  # tested first: the thermal image of the scene 'heather' is called IR_hei_vis_g
            thermal.append(path)
        elif words & _VISIBLE:
            visible.append(path)
        elif not words & _OTHER:
            rest.append(path)
    if not thermal and not visible and {path.stem[:2] for path in rest} == {"1_", "2_"}:  # 'APC_2'
        visible, thermal = ([path for path in rest if path.stem.startswith(number)] for number in ("1_", "2_"))
    elif not visible:  # 'bunker': IR_bunker_g and bunker_r
        visible = rest
    return (thermal[0], visible[0]) if len(thermal) == len(visible) == 1 else None


def _read_sice(data_set: DataSet, source: Path) -> Iterator[Item]:
    """SICE: numbered folders of exposures below Dataset_Part1 and Dataset_Part2."""
    for number, part in ((1, "train"), (2, "test")):
        places = (_below(place, f"dataset_part{number}") for place in _places(source))
        found = next((place for place in places if place), None)
        if found is None:
            raise LayoutError(f"{data_set.name} is not in {source}: looked for Dataset_Part{number}")
        for place in sorted(p for p in found.iterdir() if p.is_dir() and p.name.lower() != "label"):
            images = images_of(place)
            if len(images) > 1:
                yield Item(part, f"{number}_{place.name}", _extremes(images))


def _read_brightness(data_set: DataSet, source: Path) -> Iterator[Item]:
    """MEFB: folders of two images below input/."""
    found = next((place for place in (_below(place, "input") for place in _places(source)) if place), None)
    if found is None:
        raise LayoutError(f"{data_set.name} is not in {source}: looked for input/")
    for place in sorted(p for p in found.iterdir() if p.is_dir()):
        images = images_of(place)
        if len(images) == 2:
            yield Item("test", place.name, _extremes(images))


def _extremes(images: list[Path]) -> dict[str, Origin]:
    """The darkest and the brightest image; equal ones in the order of their names."""
    ordered = sorted(images, key=lambda path: float(luminance(read_image(path).pixels).mean()))
    return {"low": Origin(ordered[0]), "over": Origin(ordered[-1])}


def _read_letters(data_set: DataSet, source: Path) -> Iterator[Item]:
    """Lytro, MFFW: NAME-A and NAME-B, in one folder or in a folder each; series with more letters are left out."""
    seen = set()
    for place in _places(source):
        series: dict[str, dict[str, Path]] = defaultdict(dict)
        for path in _images_of_set(data_set, place):
            found = re.fullmatch(r"(.+?)[-_ ]?([A-Da-d]|(?<=[-_ ])[1-9])", path.stem)
            if found:
                letter = found[2].upper()
                series[found[1]]["ABCDEFGHI"[int(letter) - 1] if letter.isdigit() else letter] = path
        for stem, files in series.items():
            if set(files) == {"A", "B"} and stem not in seen:
                seen.add(stem)
                yield Item("test", stem, {"imageA": Origin(files["A"]), "imageB": Origin(files["B"])})


def _read_mfnet(data_set: DataSet, source: Path) -> Iterator[Item]:
    """MFNet: images of four channels in images/, masks in labels/, lists train.txt, val.txt and test.txt."""
    for place in _places(source):
        images, labels = _below(place, "images"), _below(place, "labels")
        lists = {name: place / f"{name}.txt" for name in ("train", "val", "test")}
        if images and labels and lists["train"].is_file() and lists["test"].is_file():
            break
    else:
        raise LayoutError(f"{data_set.name} is not in {source}: looked for images/, labels/, train.txt and test.txt")
    for name, path in lists.items():
        for stem in path.read_text(encoding="utf-8").split() if path.is_file() else ():
            if not stem.endswith("_flip"):
                image = images / f"{stem}.png"
                files = {"infrared": Origin(image, "fourth"), "visible": Origin(image, "rgb")}
                files["labels"] = Origin(labels / f"{stem}.png")
                yield Item("test" if name == "test" else "train", stem, files)


def size_of(path: Path) -> tuple[int, int]:
    """Height and width by the file's header, once it is turned upright.

    Raises:
        ImageError: it is no image.
    """
    with open_image(path) as file:
        return file.upright_size


_READERS: dict[str, Callable[[DataSet, Path], Iterator[Item]]] = {
    "folders": _read_folders,
    "scene_folders": _read_scene_folders,
    "sice": _read_sice,
    "brightness": _read_brightness,
    "letters": _read_letters,
    "mfnet": _read_mfnet,
}
