"""Class lists of public data sets, and of files."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from adasffuse.images.boxes import PEOPLE
from adasffuse.images.image import ImageError

TASKS = ("detect", "segment")
IGNORED = 255  # id of pixels that are ignored
_LINE = re.compile(r"(?:(\d+)\s+)?(.+?)(?:\s+(\d+)\s+(\d+)\s+(\d+))?")

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassList:
    """Names of classes; in masks the position in the list is the id, and 0 is the background."""

    names: tuple[str, ...]
    colors: tuple[Color, ...] | None = None  # colours of the classes in masks that are stored in colours

    def number(self, name: str) -> int | None:
        """The number of a class, case ignored, or None; 'People' and 'pedestrian' are 'person'."""
        wanted = PEOPLE if name.lower() in PEOPLE else (name.lower(),)
        return next((number for number, one in enumerate(self.names) if one.lower() in wanted), None)

    @property
    def drawn(self) -> tuple[Color, ...]:
        """A colour for each class: its own, else from Pascal VOC's palette."""
        return self.colors or tuple(_voc_color(number) for number in range(len(self.names)))


_MFNET = ClassList(
    ("background", "car", "person", "bike", "curve", "car_stop", "guardrail", "color_cone", "bump"),
    (
        (0, 0, 0),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
        (0, 0, 192),
        (128, 128, 0),
        (64, 64, 128),
        (192, 128, 128),
        (192, 64, 0),
    ),
)
_FMB = ClassList(
    (
        *("background", "Road", "Sidewalk", "Building", "Lamp", "Sign", "Vegetation", "Sky"),
        *("Person", "Car", "Truck", "Bus", "Motorcycle", "Bicycle", "Pole"),
    ),
    (
        (0, 0, 0),
        (228, 228, 179),
        (133, 57, 181),
        (177, 162, 67),
        (50, 178, 200),
        (199, 45, 132),
        (84, 172, 66),
        (79, 73, 179),
        (166, 99, 76),
        (253, 121, 66),
        (91, 165, 137),
        (152, 97, 155),
        (140, 153, 105),
        (158, 215, 222),
        (90, 113, 135),
    ),
)
# Ha et al. (MFNet), IROS 2017, 10.1109/IROS.2017.8206396, in the colours of Sun et al. (RTFNet), RA-L 2019; Tang et al.
# (MSRS), Information Fusion 2022, has the same classes; Liu et al. (FMB), ICCV 2023; Shivakumar et al. (PST900), ICRA
# 2020; Liu et al. (M3FD), CVPR 2022; Jia et al. (LLVIP), ICCVW 2021.
CLASSES: dict[str, dict[str, ClassList]] = {
    "detect": {
        "m3fd": ClassList(("People", "Car", "Bus", "Lamp", "Motorcycle", "Truck")),
        "llvip": ClassList(("person",)),
        "msrs": ClassList(("person", "bicycle", "car")),
    },
    "segment": {
        "mfnet": _MFNET,
        "msrs": _MFNET,
        "fmb": _FMB,
        "pst900": ClassList(("background", "fire-extinguisher", "backpack", "hand-drill", "survivor")),
    },
}


def find_classes(value: str, task: str) -> ClassList:
    """A class list by the name of a data set, or from a file.

    Args:
        value: a name of `CLASSES[task]`, or a text file with a class per line: `NAME`, `ID NAME` or
            `ID NAME RED GREEN BLUE`; a remark in parentheses may follow the name.
        task: 'detect' or 'segment'.
    Raises:
        ImageError: no data set or file of that name.
    """
    known = CLASSES[task]
    if value.lower() in known:
        return known[value.lower()]
    if Path(value).is_file():
        return _read_classes(Path(value), task)
    near = get_close_matches(value.lower(), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    raise ImageError(f"{value}: no class list of this name and no such file; {hint}")


def listed_classes(folder: Path, task: str) -> ClassList | None:
    """The class list in a data set's folder, `classes.txt` or, for boxes, `classes_boxes.txt`; None if there is none.

    Raises:
        ImageError: it cannot be read.
    """
    names = ("classes_boxes.txt", "classes.txt") if task == "detect" else ("classes.txt",)
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    return None if path is None else _read_classes(path, task)


def _read_classes(path: Path, task: str) -> ClassList:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{path}: cannot be read as a list of classes ({error})") from error
    names: list[str] = []
    colors: list[Color | None] = []
    for line in filter(None, map(str.strip, lines)):
        number, name, *color = _LINE.fullmatch(line).groups()
        if number is not None and int(number) != len(names):
            raise ImageError(
                f"{path}: line {line!r} should have the number {len(names)}: ids count from 0 without gaps"
            )
        names.append(re.sub(r"\s*\(.*\)$", "", name))
        colors.append(None if color[0] is None else tuple(map(int, color)))
    if len(names) < (2 if task == "segment" else 1):
        raise ImageError(f"{path}: {len(names)} classes; a list for masks has the background and at least one class")
    if len({name.lower() for name in names}) < len(names) or len(names) > IGNORED:
        raise ImageError(f"{path}: a class is listed twice, or there are more than {IGNORED}")
    return ClassList(tuple(names), None if None in colors else tuple(colors))


def _voc_color(number: int) -> Color:
    """The colour of a class in Pascal VOC's palette: bit k of each third of the number becomes bit 7 - k/3."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (number >> (3 * place + channel) & 1) << (7 - place)
    return tuple(channels)
