"""Boxes and masks: reading, checking, converting.

Boxes: Pascal VOC (a file `STEM.xml` per image), YOLO (`STEM.txt`: class number, then centre and size as shares of width
and height) and COCO (one JSON file; x, y, width, height in pixels).  Masks: ids, or colours by a class list's palette.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy import ndarray
from PIL import Image as PillowImage

from adasffuse.downstream.classes import IGNORED, ClassList
from adasffuse.files import write_text
from adasffuse.images.boxes import Annotation, Box, read_objects
from adasffuse.images.image import ImageError

Size = tuple[int, int]  # height, width
Edges = tuple[float, float, float, float]  # left, top, right, bottom in pixels, 0 being the border
_ROUNDING = 1.0  # pixels by which a box may silently exceed its image


@dataclass
class Judgement:
    """Faults of labels, as sentences that name the file."""

    faults: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BoxRules:
    """How to treat faulty boxes."""

    mend: bool = False  # repair swapped corners, cut at the border, drop boxes without area; else these are faults
    skip_unlisted: bool = False  # leave out boxes of unlisted classes; else they are faults

    def judged(
        self,
        path: Path,
        size: Size,
        objects: Iterable[tuple[str, Edges | None]],
        classes: ClassList,
        judgement: Judgement,
    ) -> Annotation:
        """The usable boxes of one image; faults are added to `judgement`.

        Args:
            path: file for messages.
            size: size of the image in pixels.
            objects: class and edges of each object; None for edges that are no finite numbers.
            classes: the listed classes.
        """
        height, width = size
        boxes = []
        for name, edges in objects:
            number = classes.number(name)
            if number is None:
                if not self.skip_unlisted:
                    judgement.faults.append(f"{path}: class {name!r} is not listed ({', '.join(classes.names)})")
                continue
            if edges is None:
                judgement.faults.append(f"{path}: a box of {name!r} needs four finite numbers")
                continue
            left, top, right, bottom = edges
            wrong = []
            if right < left or bottom < top:
                wrong.append("has swapped corners")
                left, right, top, bottom = min(left, right), max(left, right), min(top, bottom), max(top, bottom)
            beyond = max(-left, -top, right - width, bottom - height)
            if beyond > 0:
                if beyond > _ROUNDING:
                    wrong.append(f"reaches {beyond:.0f} pixels beyond the image of {width}x{height}")
                left, right = np.clip([left, right], 0, width).tolist()
                top, bottom = np.clip([top, bottom], 0, height).tolist()
            if right <= left or bottom <= top:
                wrong.append("has no area")
            if wrong:
                shown = ", ".join(f"{value:g}" for value in edges)
                text = f"{path}: a box of {name!r} ({shown}) {' and '.join(wrong)}"
                (judgement.mended if self.mend else judgement.faults).append(text)
            if right > left and bottom > top:
                boxes.append(Box(classes.names[number], left, top, right, bottom))
        return Annotation(path, size, tuple(boxes))


def voc_objects(path: Path, size: Size) -> list[tuple[str, Edges | None]]:
    """The objects of a Pascal VOC file.

    Raises:
        ImageError: it cannot be read, or is of an image of another size.
    """
    stated, objects = read_objects(path)
    if stated not in (None, size):
        raise ImageError(
            f"{path}: its boxes are of an image of {stated[1]}x{stated[0]} pixels, this one has {size[1]}x{size[0]}"
        )
    return [(one.name, one.edges) for one in objects]


def yolo_objects(path: Path, size: Size, classes: ClassList) -> list[tuple[str, Edges | None]]:
    """The objects of a YOLO file: lines of class number, x and y of the centre, width and height as shares.

    Raises:
        ImageError: it cannot be read, a line has not five numbers, or a class number is not listed.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{path}: cannot be read ({error})") from error
    height, width = size
    objects: list[tuple[str, Edges | None]] = []
    for line in filter(str.strip, lines):
        try:
            number, x, y, w, h = map(float, line.split())
        except ValueError:
            raise ImageError(f"{path}: expected a class number and four shares in each line, got {line!r}") from None
        if not number.is_integer() or not 0 <= number < len(classes.names):
            raise ImageError(f"{path}: class number {number:g}; {len(classes.names)} classes are listed, from 0")
        edges = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        objects.append((classes.names[int(number)], edges if np.isfinite(edges).all() else None))
    return objects


def coco_objects(path: Path) -> dict[str, tuple[Size, list[tuple[str, Edges | None]]]]:
    """Size and objects of each image of a COCO file, by the stem of its name.

    Raises:
        ImageError: it is no such file, two of its images have one stem, or an annotation belongs to no image or class.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        stems = {one["id"]: Path(one["file_name"]).stem for one in content["images"]}
        found = {stems[one["id"]]: ((int(one["height"]), int(one["width"])), []) for one in content["images"]}
        for one in content["annotations"]:
            x, y, w, h = map(float, one["bbox"])
            edges = (x, y, x + w, y + h)
            found[stems[one["image_id"]]][1].append(
                (names[one["category_id"]], edges if np.isfinite(edges).all() else None)
            )
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ImageError(f"{path}: not a COCO file of boxes ({type(error).__name__}: {error})") from error
    if len(found) < len(stems):
        raise ImageError(f"{path}: two of its images have the same name")
    return found


def write_voc(path: Path, stem: str, size: Size, boxes: Sequence[Box]) -> None:
    """Write one Pascal VOC file; pixels are counted from 1, first and last one inclusive."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = stem
    stated = ElementTree.SubElement(root, "size")
    for name, value in (("width", size[1]), ("height", size[0]), ("depth", 3)):
        ElementTree.SubElement(stated, name).text = str(value)
    for box in boxes:
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = box.name
        bounds = ElementTree.SubElement(item, "bndbox")
        values = (box.left + 1, box.top + 1, box.right, box.bottom)
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), values):
            ElementTree.SubElement(bounds, name).text = f"{value:.10g}"
    ElementTree.indent(root)
    write_text(path, ElementTree.tostring(root, encoding="unicode") + "\n")


def write_yolo(path: Path, size: Size, boxes: Sequence[Box], classes: ClassList) -> None:
    """Write one YOLO file, empty if there is no box."""
    height, width = size
    lines = []
    for box in boxes:
        x, y = (box.left + box.right) / 2 / width, (box.top + box.bottom) / 2 / height
        w, h = (box.right - box.left) / width, (box.bottom - box.top) / height
        lines.append(f"{classes.number(box.name)} {x:.10g} {y:.10g} {w:.10g} {h:.10g}\n")
    write_text(path, "".join(lines))


def coco_content(annotations: Mapping[str, Annotation], classes: ClassList, suffix: str = ".png") -> dict:
    """The content of a COCO file of these boxes; ids start from 1.

    Args:
        annotations: stem to boxes, with image sizes.
        suffix: suffix of the images' names.
    """
    images, boxes = [], []
    for number, (stem, annotation) in enumerate(annotations.items(), 1):
        height, width = annotation.size
        images.append({"id": number, "file_name": f"{stem}{suffix}", "height": height, "width": width})
        for box in annotation.boxes:
            w, h = box.right - box.left, box.bottom - box.top
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": number,
                    "category_id": classes.number(box.name) + 1,
                    "bbox": [box.left, box.top, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(classes.names, 1)]
    return {"images": images, "annotations": boxes, "categories": categories}


def read_mask(path: str | Path, classes: ClassList) -> ndarray:
    """(H, W) uint8 class ids; 255 is ignored.

    A file with a palette or one channel holds ids; one with three channels holds the class list's colours.

    Raises:
        ImageError: it cannot be read, has ids that are not listed, or colours that are not in the list.
    """
    path = Path(path)
    try:
        with PillowImage.open(path) as image:
            pixels = np.asarray(image.convert("RGB") if image.mode in ("RGBA", "LA") else image)
    except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
        raise ImageError(f"{path}: no readable mask ({error})") from error
    if pixels.ndim == 3 and (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        pixels = pixels[..., 0]  # ids in three equal channels, or black everywhere
    if pixels.ndim == 3:
        return _ids_of_colors(path, pixels, classes)
    listed = {*range(len(classes.names)), IGNORED}
    unlisted = sorted(set(np.unique(pixels).tolist()) - listed)
    if pixels.dtype.kind not in "iub":
        raise ImageError(f"{path}: holds {pixels.dtype} values; a mask holds whole numbers, the ids of classes")
    if unlisted:
        raise ImageError(
            f"{path}: ids {', '.join(map(str, unlisted[:8]))} are not listed; {len(classes.names)} classes from 0, and "
            f"{IGNORED} for pixels that do not count"
        )
    return pixels.astype(np.uint8)


def _ids_of_colors(path: Path, pixels: ndarray, classes: ClassList) -> ndarray:
    if classes.colors is None:
        raise ImageError(
            f"{path}: holds colours, and the class list has none; give a file with lines ID NAME RED GREEN BLUE"
        )
    codes = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    ids = np.full(codes.shape, -1, np.int16)
    for number, (red, green, blue) in enumerate(classes.colors):
        ids[codes == (red << 16) + (green << 8) + blue] = number
    if (ids < 0).any():
        code = int(codes[ids < 0][0])
        raise ImageError(
            f"{path}: {np.mean(ids < 0):.1%} of its pixels have colours that are not in the class list, "
            f"{(code >> 16, code >> 8 & 255, code & 255)} for one; was it stored as JPEG, or resized?"
        )
    return ids.astype(np.uint8)
