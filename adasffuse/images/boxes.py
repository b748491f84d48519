"""Boxes around objects: Pascal VOC files, one `STEM.xml` per scene.

Everingham, Van Gool, Williams, Winn and Zisserman, International Journal of Computer Vision 88(2), 2010,
10.1007/s11263-009-0275-4.  An `annotation` holds a `size` and `object`s with a `name` and a `bndbox`, whose xmin, ymin,
xmax, ymax are the first and last pixel of the object, counted from 1.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from adasffuse.images.image import ImageError

PEOPLE = ("person", "people", "pedestrian")  # what data sets call them
ALL_CLASSES = "all"  # in place of names
MAX_BYTES = 1 << 20  # of one file; a box takes about 300
FOLDER_OF_BOXES = (
    "Pascal VOC files, STEM.xml for every scene (of YOLO and COCO labels: "
    "python scripts/convert_labels.py DATA --to voc --out DIR)"
)
_EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Box:
    """An object in an image: its class and its edges in pixels, 0 being the image's left or upper border."""

    name: str
    left: float
    top: float
    right: float
    bottom: float

    def __str__(self) -> str:
        return f"a box of {self.name!r}, x {self.left:g} to {self.right:g}, y {self.top:g} to {self.bottom:g}"

    def lies_within(self, height: int, width: int) -> bool:
        """Whether no edge is beyond an image of this size in pixels."""
        return min(self.left, self.top) >= 0 and self.right <= width and self.bottom <= height


@dataclass(frozen=True)
class Annotation:
    """The boxes of one image."""

    path: Path
    size: tuple[int, int] | None  # height, width of the image that was annotated; None where the file does not say
    boxes: tuple[Box, ...]

    def check_size(self, height: int, width: int) -> None:
        """Raise unless these boxes can be those of an image of this size.

        Args:
            height, width: of the image, in pixels.
        Raises:
            ImageError: the file is of an image of another size, or a box reaches beyond the image.
        """
        if self.size not in (None, (height, width)):
            raise ImageError(
                f"{self.path}: its boxes are of an image of {self.size[1]}x{self.size[0]} pixels, this one has "
                f"{width}x{height}; scale the boxes with the image"
            )
        for box in self.boxes:
            if not box.lies_within(height, width):
                raise ImageError(f"{self.path}: {box} reaches beyond the image of {width}x{height} pixels")


def read_boxes(path: str | Path) -> Annotation:
    """The boxes of one Pascal VOC file.

    Files with a document type (DOCTYPE) are refused, since it may define entities that grow without bound or name other
    files; Pascal VOC has none.  A coordinate of 0, which some tools write, is the image's border.

    Args:
        path: a regular file of at most 1 MiB.
    Raises:
        ImageError: no such file, too large, no XML or another kind of it, a box without a name, without four finite
            coordinates, without area or beyond the size that the file states.  The message names the file.
    """
    path = Path(path)
    size, objects = read_objects(path)
    found = Annotation(path, size, tuple(_box(one, path) for one in objects))
    if found.size is not None:
        found.check_size(*found.size)
    return found


@dataclass(frozen=True)
class VocObject:
    """An object as a file states it: whatever its coordinates are."""

    name: str
    texts: tuple[str | None, ...]  # xmin, ymin, xmax, ymax

    @property
    def edges(self) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom edge in pixels, 0 being the border; None where one is no finite number."""
        try:
            xmin, ymin, xmax, ymax = (float(text) for text in self.texts)
        except (TypeError, ValueError):
            return None
        if not all(math.isfinite(value) for value in (xmin, ymin, xmax, ymax)):
            return None
        return _first_edge(xmin), _first_edge(ymin), xmax, ymax


def read_objects(path: str | Path) -> tuple[tuple[int, int] | None, list[VocObject]]:
    """Height and width that a Pascal VOC file states, None where it does not, and its objects, unjudged.

    Raises:
        ImageError: no such file, too large, or no XML of this kind.
    """
    path = Path(path)
    root = _parse(path)
    if root.tag != "annotation":
        raise ImageError(f"{path}: expected a Pascal VOC file, <annotation>, got <{root.tag}>")
    objects = [
        VocObject((item.findtext("name") or "").strip(), tuple(item.findtext(f"bndbox/{edge}") for edge in _EDGES))
        for item in root.findall("object")
    ]
    return _size(root, path), objects


def of_classes(boxes: Iterable[Box], classes: Sequence[str]) -> list[Box]:
    """The boxes of some classes.

    Args:
        classes: names in any mix of capitals; ('all',): every box.
    """
    names = {name.lower() for name in classes}
    return [box for box in boxes if names == {ALL_CLASSES} or box.name.lower() in names]


def box_area(box: Box, margin: float = 0) -> tuple[slice, slice]:
    """Rows and columns whose centres lie in a box enlarged on each side by `margin` times its height and width."""
    dy, dx = margin * (box.bottom - box.top), margin * (box.right - box.left)
    return _pixels(box.top - dy, box.bottom + dy), _pixels(box.left - dx, box.right + dx)


def _pixels(first: float, last: float) -> slice:
    """Pixels whose centres, i + 0.5, lie between two edges; at least the one that holds the first edge."""
    start = max(math.ceil(first - 0.5), 0)
    return slice(start, max(math.ceil(last - 0.5), start + 1))


def find_boxes(folder: str | Path, stems: Iterable[str]) -> dict[str, Annotation]:
    """The boxes of scenes: stem to content of `folder/STEM.xml`, without the scenes that have no such file.

    Args:
        folder: of the XML files.
        stems: names of scenes, as `adasffuse.images.pairs.Scene` has them.
    Raises:
        ImageError: no such folder, or it holds a file of no scene at all; a file is not as `read_boxes` wants it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"no folder {folder}; expected a folder of {FOLDER_OF_BOXES}")
    files = {
        unicodedata.normalize("NFC", path.stem): path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == ".xml" and not path.name.startswith(".")
    }
    found = {stem: read_boxes(files[stem]) for stem in stems if stem in files}
    if not found:
        advice = "" if files else f"; expected {FOLDER_OF_BOXES}"
        raise ImageError(
            f"{folder} holds boxes of no scene: {len(files)} XML files, none is called like an image{advice}"
        )
    return found


def _parse(path: Path) -> ElementTree.Element:
    """The root of an XML file without a document type."""
    try:
        if not path.is_file():
            raise ImageError(f"{path}: no such file, or no regular one; expected a Pascal VOC file")
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path}: more than {MAX_BYTES} bytes, too large for a Pascal VOC file")
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error

    def refuse(*_: object) -> None:
        raise ImageError(f"{path}: has a DOCTYPE, which may define entities; Pascal VOC files have none, take it out")

    check = expat.ParserCreate()  # judges in whatever encoding, before any entity is replaced
    check.StartDoctypeDeclHandler = refuse
    try:
        check.Parse(content, True)
        return ElementTree.fromstring(content)
    except ImageError:
        raise
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: encodings
        raise ImageError(f"{path}: not a readable XML file ({error})") from error


def _size(root: ElementTree.Element, path: Path) -> tuple[int, int] | None:
    """Height and width that the file states; some tools write 0 for unknown."""
    values = [root.findtext(f"size/{name}") for name in ("height", "width")]
    if None in values:
        return None
    try:
        height, width = (int(value) for value in values)
    except ValueError:
        raise ImageError(f"{path}: <size> needs whole numbers, got height {values[0]!r}, width {values[1]!r}") from None
    return (height, width) if height > 0 and width > 0 else None


def _box(item: VocObject, path: Path) -> Box:
    """One <object>."""
    if not item.name:
        raise ImageError(f"{path}: an <object> has no <name>")
    if item.edges is None:
        raise ImageError(
            f"{path}: a box of {item.name!r} needs the numbers {', '.join(_EDGES)}, got {list(item.texts)}"
        )
    box = Box(item.name, *item.edges)
    if box.right <= box.left or box.bottom <= box.top:
        raise ImageError(f"{path}: a box of {item.name!r} has no area: {dict(zip(_EDGES, item.texts))}")
    return box


def _first_edge(value: float) -> float:
    """The edge before the first pixel, which counts from 1, or from 0 at the border."""
    return 0.0 if value == 0 else value - 1
