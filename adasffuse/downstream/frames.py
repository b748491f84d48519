"""Frames of a labelled data set: images of one scene in several modalities, with boxes or a mask.

Two layouts: `infrared/ visible/ [fused/] Annotations/|labels/`, and Pascal VOC's as the paper's authors use it,
`VOCdevkit/VOC2007/{Annotations,JPEGImages,JPEGImages_ir,JPEGImages_vis,SegmentationClass}`.  Lists `train.txt`,
`val.txt`, `test.txt` name the frames of each split, one stem a line, beside the folders or below `ImageSets/`.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from numpy import ndarray

from adasffuse.downstream.classes import ClassList
from adasffuse.downstream.labels import (
    BoxRules,
    Judgement,
    Size,
    coco_objects,
    read_mask,
    voc_objects,
    yolo_objects,
)
from adasffuse.files import write_text
from adasffuse.images.boxes import Annotation
from adasffuse.images.formats import open_image
from adasffuse.images.image import ImageError
from adasffuse.images.read import IMAGE_SUFFIXES
from adasffuse.messages import counted

SPLITS = ("train", "val", "test")
_IMAGE_FOLDERS = {  # modality: names of its folder, in lower case
    "infrared": ("infrared", "ir", "thermal", "jpegimages_ir"),
    "visible": ("visible", "vis", "vi", "rgb", "jpegimages_vis"),
    "fused": ("fused", "jpegimages"),
}
_MASK_FOLDERS = ("segmentationclass", "labels", "label", "masks")
_BOX_FOLDERS = ("annotations", "labels")
_LISTS = {"detect": ("", "ImageSets/Main"), "segment": ("", "ImageSets/Segmentation", "ImageSets/Main")}


@dataclass(frozen=True)
class Frame:
    """One scene: its images and its label."""

    stem: str
    images: Mapping[str, Path]  # modality: file
    size: Size  # height, width of its images, in pixels
    boxes: Annotation | None = None
    mask: Path | None = None

    def pair(self) -> tuple[Path, Path]:
        """Its infrared and its visible image; raises ValueError where one is missing."""
        if not {"infrared", "visible"} <= self.images.keys():
            raise ImageError(f"{self.stem}: has no infrared or no visible image; both are needed")
        return self.images["infrared"], self.images["visible"]


@dataclass
class FrameSet:
    """All frames of one or several folders, with the faults found in them."""

    frames: dict[str, Frame]  # by stem
    splits: dict[str, list[str]]  # of SPLITS: stems
    judgement: Judgement = field(default_factory=Judgement)
    notices: list[str] = field(default_factory=list)

    def of(self, split: str) -> list[Frame]:
        """The frames of a split, in the order of its list."""
        return [self.frames[stem] for stem in self.splits[split]]

    def refuse_faults(self) -> None:
        """Raise ImageError with all faults at once, if there are any."""
        faults = self.judgement.faults
        if faults:
            raise ImageError(f"{counted(len(faults), 'fault')} in images and labels:\n  " + "\n  ".join(faults))


def find_frames(
    folders: Sequence[str | Path],
    task: str,
    classes: ClassList,
    rules: BoxRules | None = None,
    lists: bool = True,
    coco: str | Path | None = None,
) -> FrameSet:
    """Find the frames of labelled data sets; all labels are read and checked.

    Args:
        folders: data sets in one of the two layouts; their frames are joined.
        task: 'detect' or 'segment'.
        classes: classes of the boxes or masks.
        lists: whether to read the lists of the splits; without them all splits are empty.
        coco: a COCO file of boxes in place of the labels in the folders; only the images that it names are frames.
    Raises:
        ImageError: a folder is missing or has neither layout, it has no labels, or two frames have one stem.  Faults of
            single files are in the result's `judgement`.
    """
    rules, joined = rules or BoxRules(), FrameSet({}, {split: [] for split in SPLITS})
    for folder in map(Path, folders):
        root = _root(folder)
        images = _images(root)
        sizes = {stem: _size(stem, paths, joined.judgement) for stem, paths in images.items()}
        sizes = {stem: size for stem, size in sizes.items() if size is not None}
        if task == "segment":
            frames = _with_masks(root, images, sizes, classes, joined)
        else:
            frames = _with_boxes(root, images, sizes, classes, rules, joined, coco)
        twice = sorted(frames.keys() & joined.frames.keys())
        if twice:
            raise ImageError(f"{folder}: {twice[0]} is also in another folder; frames need different names")
        joined.frames |= frames
        places = [root / place for place in _LISTS[task]] if lists else []
        place = next((one for one in places if any((one / f"{split}.txt").is_file() for split in SPLITS)), None)
        if place is not None:
            for split, stems in read_lists(place, images, joined.judgement).items():
                joined.splits[split] += [stem for stem in stems if stem in frames]
    return joined


def trained_on(train: Sequence[Frame], test: Sequence[Frame]) -> list[str]:
    """Stems of test frames whose infrared and visible images are, byte for byte, those of a training frame."""

    def files(frame: Frame) -> list[Path]:
        return [frame.images[name] for name in sorted(frame.images.keys() - {"fused"})]

    def sizes(frame: Frame) -> tuple[int, ...]:
        return tuple(path.stat().st_size for path in files(frame))

    def content(frame: Frame) -> tuple[bytes, ...]:
        return tuple(hashlib.sha256(path.read_bytes()).digest() for path in files(frame))

    tested = set(map(sizes, test))
    known = {(sizes(frame), content(frame)) for frame in train if sizes(frame) in tested}  # few are read
    sized = {size for size, _ in known}
    return [frame.stem for frame in test if sizes(frame) in sized and (sizes(frame), content(frame)) in known]


def all_frames(folder: str | Path, classes: ClassList, coco: str | Path | None = None) -> list[Frame]:
    """All frames of one data set of detection, without its lists; arguments as in `find_frames`.

    Raises:
        ImageError: as in `find_frames`, or with all faults of single files.
    """
    found = find_frames([folder], "detect", classes, lists=False, coco=coco)
    found.refuse_faults()
    return list(found.frames.values())


def read_lists(place: Path, known: Collection[str], judgement: Judgement) -> dict[str, list[str]]:
    """The stems in `train.txt`, `val.txt` and `test.txt` of a folder; a missing list is empty.

    Args:
        known: stems of images; unknown stems and stems listed twice are noted as faults.
    """
    splits = {}
    for split in SPLITS:
        path = place / f"{split}.txt"
        splits[split] = _listed(path)
        unknown = [stem for stem in splits[split] if stem not in known]
        judgement.faults += [f"{path}: {stem} is no image of this data set" for stem in unknown]
    counts = Counter(stem for stems in splits.values() for stem in stems)
    for stem in (stem for stem, count in counts.items() if count > 1):
        lists = " and ".join(f"{split}.txt" for split in splits if stem in splits[split])
        judgement.faults.append(f"{place}: {stem} is listed {counts[stem]} times, in {lists}; a frame has one place")
    return splits


def _listed(path: Path) -> list[str]:
    """The stems in a list, a line each; none where it is missing."""
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
    return [line.strip() for line in lines if line.strip()]


def drawn_splits(stems: Sequence[str], trainval: float, train: float, seed: int) -> dict[str, list[str]]:
    """Split stems at random into train, val and test.

    Args:
        trainval: share of train and val together.
        train: share of train within trainval.
    Raises:
        ValueError: a share is not in [0, 1].
    """
    if not (0 <= trainval <= 1 and 0 <= train <= 1):
        raise ValueError(f"shares are numbers from 0 to 1, got {trainval} and {train}")
    shuffled = sorted(stems)
    random.Random(seed).shuffle(shuffled)
    first = round(len(shuffled) * trainval)
    second = round(first * train)
    return {"train": sorted(shuffled[:second]), "val": sorted(shuffled[second:first]), "test": sorted(shuffled[first:])}


def write_lists(
    folder: str | Path, splits: Mapping[str, Sequence[str]], task: str, replace: bool = False
) -> list[Path]:
    """Write the lists of a data set; in the VOC layout below ImageSets/, with `trainval.txt`.

    Args:
        replace: replace lists of other frames, such as a published split.
    Returns:
        The files.
    Raises:
        ImageError: there are lists of other frames, and `replace` is not set; nothing is written.
    """
    root = _root(Path(folder))
    voc = _child(root, ("jpegimages", "jpegimages_ir", "jpegimages_vis")) is not None
    place = root / {"detect": "ImageSets/Main", "segment": "ImageSets/Segmentation"}[task] if voc else root
    lists = dict(splits) | ({"trainval": sorted([*splits["train"], *splits["val"]])} if voc else {})
    for name, stems in lists.items():
        path = place / f"{name}.txt"
        listed = _listed(path)
        if not replace and listed and set(listed) != set(stems):
            raise ImageError(f"{path}: holds another split; move the lists away, or replace them with --replace")
    for name, stems in lists.items():
        write_text(place / f"{name}.txt", "".join(f"{stem}\n" for stem in stems))
    return [place / f"{name}.txt" for name in lists]


def _root(folder: Path) -> Path:
    for below in ("VOCdevkit/VOC2007", "VOC2007", ""):
        if (folder / below).is_dir():
            return folder / below
    raise ImageError(f"{folder}: no such folder; give a labelled data set, with infrared/, visible/ and labels")


def _child(root: Path, names: Sequence[str]) -> Path | None:
    """The first sub-folder that exists out of these names, case ignored."""
    present = {path.name.lower(): path for path in sorted(root.iterdir(), reverse=True) if path.is_dir()}
    return next((present[name] for name in names if name in present), None)


def _images(root: Path) -> dict[str, dict[str, Path]]:
    """Stem to modality to file."""
    folders = {name: found for name, names in _IMAGE_FOLDERS.items() if (found := _child(root, names))}
    if not folders:
        raise ImageError(
            f"{root}: holds no folder of images; expected infrared/ and visible/, or JPEGImages_ir/ and _vis/"
        )
    images: dict[str, dict[str, Path]] = {}
    for modality, folder in folders.items():
        for path in _files(folder, IMAGE_SUFFIXES):
            if modality in images.setdefault(path.stem, {}):
                raise ImageError(f"{path}: there is another file of this name, {images[path.stem][modality].name}")
            images[path.stem][modality] = path
    return images


def _files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.suffix.lower() in suffixes and not p.name.startswith(".")]


def _size(stem: str, paths: Mapping[str, Path], judgement: Judgement) -> Size | None:
    sizes = {}
    for modality, path in paths.items():
        try:
            with open_image(path) as file:
                sizes[modality] = file.upright_size
        except ImageError as error:
            judgement.faults.append(str(error))
            return None
    if len(set(sizes.values())) > 1:
        stated = ", ".join(f"{name} {width}x{height}" for name, (height, width) in sizes.items())
        judgement.faults.append(f"{stem}: its images differ in size ({stated})")
        return None
    return next(iter(sizes.values()))


def _with_masks(
    root: Path,
    images: Mapping[str, Mapping[str, Path]],
    sizes: Mapping[str, Size],
    classes: ClassList,
    joined: FrameSet,
) -> dict[str, Frame]:
    folder = _child(root, _MASK_FOLDERS)
    masks = {path.stem: path for path in _files(folder, IMAGE_SUFFIXES)} if folder else {}
    if not masks:
        raise ImageError(f"{root}: holds no masks; expected images of class ids in labels/ or SegmentationClass/")
    faults = joined.judgement.faults
    faults += [f"{masks[stem]}: no image of this name" for stem in sorted(masks.keys() - images.keys())]
    frames = {}
    for stem, size in sizes.items():
        if stem not in masks:
            faults.append(f"{stem}: no mask in {folder}; a frame without one cannot be used")
            continue
        try:
            shape = read_mask(masks[stem], classes).shape
        except ImageError as error:
            faults.append(str(error))
            continue
        if shape != size:
            height, width = size
            faults.append(f"{masks[stem]}: {shape[1]}x{shape[0]} pixels, its image has {width}x{height}")
            continue
        frames[stem] = Frame(stem, images[stem], size, mask=masks[stem])
    return frames


def _with_boxes(
    root: Path,
    images: Mapping[str, Mapping[str, Path]],
    sizes: Mapping[str, Size],
    classes: ClassList,
    rules: BoxRules,
    joined: FrameSet,
    elsewhere: str | Path | None,
) -> dict[str, Frame]:
    judgement = joined.judgement
    folders = [folder for name in _BOX_FOLDERS if (folder := _child(root, (name,)))]
    files = next((some for folder in folders if (some := _files(folder, (".xml", ".txt")))), [])
    files = {path.stem: path for path in files if path.name not in ("classes.txt", "labels.txt")}
    if elsewhere:
        files, coco = {}, coco_objects(Path(elsewhere))
        sizes = {stem: size for stem, size in sizes.items() if stem in coco}
    else:
        coco = {} if files else next(map(coco_objects, _files(root, (".json",))), {})
    if not files and not coco:
        raise ImageError(
            f"{root}: holds no boxes; expected Annotations/*.xml (VOC), labels/*.txt (YOLO) or a COCO file, *.json"
        )
    labelled = files.keys() | coco.keys()
    judgement.faults += [
        f"{files.get(stem, stem)}: boxes without an image" for stem in sorted(labelled - images.keys())
    ]
    frames, bare = {}, 0
    for stem, size in sizes.items():
        path, objects = files.get(stem, Path(stem)), []
        try:
            if stem in files and path.suffix == ".xml":
                objects = voc_objects(path, size)
            elif stem in files:
                objects = yolo_objects(path, size, classes)
            elif stem in coco:
                stated, objects = coco[stem]
                if stated != size:
                    raise ImageError(f"{stem}: the COCO file states {stated[1]}x{stated[0]} pixels, its image differs")
            else:
                bare += 1
        except ImageError as error:
            judgement.faults.append(str(error))
            continue
        annotation = rules.judged(path, size, objects, classes, judgement)
        frames[stem] = Frame(stem, images[stem], size, boxes=annotation)
    if bare:
        joined.notices.append(f"{root}: {counted(bare, 'image')} without a file of boxes; frames without objects")
    return frames


def mask_of(frame: Frame, classes: ClassList) -> ndarray:
    """The mask of a frame of segmentation, (H, W) uint8 ids."""
    return read_mask(frame.mask, classes)
