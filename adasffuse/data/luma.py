"""Luminance of training images: decoded once and kept, as far as the stated memory reaches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adasffuse.data.options import DataOptions
from adasffuse.images.color import luminance
from adasffuse.images.pairs import Pair, read_pair
from adasffuse.images.read import ImageError, read_image


@dataclass(frozen=True)
class Reading:
    """How the files of one source are read."""

    window: tuple[float, float] | None = None  # values of deeper files that become 0 and 1
    no_data: float | None = None  # value that means "no data"


@dataclass(frozen=True)
class LumaFiles:
    """One photograph, or the images of a scene."""

    name: str
    paths: tuple[Path, ...]
    kept: tuple[np.ndarray, ...] | None  # None: decoded whenever it is asked for
    readings: tuple[Reading, ...] = ()  # one for each source, or none

    def images(self) -> tuple[np.ndarray, ...]:
        """Luminance of each file, (H, W) uint8."""
        return self.kept or decode(self.paths, self.readings)


class LumaCache:
    """Opens images and keeps them decoded until `megabytes` (of 2**20 bytes) are full."""

    def __init__(self, megabytes: float) -> None:
        self.free = megabytes * 2**20

    def open(self, name: str, *paths: Path, readings: Sequence[Reading] = ()) -> LumaFiles:
        """Decode files of one scene.

        Raises:
            ImageError: a file cannot be read, or those of a scene differ in size.
        """
        images = decode(paths, readings)
        size = sum(image.nbytes for image in images)
        fits = size <= self.free
        self.free -= size if fits else 0
        return LumaFiles(name, paths, images if fits else None, tuple(readings))


def decode(paths: Sequence[Path], readings: Sequence[Reading] = ()) -> tuple[np.ndarray, ...]:
    """Luminance, (H, W) uint8 each, of one photograph or of a scene.

    Args:
        readings: one for each path, or none: as the depth of each file says.
    Raises:
        ImageError: as `LumaCache.open`.
    """
    windows = [reading.window for reading in readings] or [None] * len(paths)
    if len(paths) == 2:
        images = read_pair(Pair("", *paths), *windows)
    else:
        images = [read_image(path, window) for path, window in zip(paths, windows)]
    return tuple(np.rint(luminance(image.pixels) * 255).astype(np.uint8) for image in images)


def readings_of(options: DataOptions) -> tuple[Reading, Reading]:
    """How the options say that files of source A and of source B are read.

    Raises:
        ImageError: a range that only a whole folder tells.
    """
    words = {"data.range_a": options.range_a, "data.range_b": options.range_b}
    windows = []
    for name, range_ in words.items():
        if any(isinstance(word, str) for word in range_):
            raise ImageError(f"{name} {list(range_)}: training takes [LOW, HIGH] in the files' units")
        windows.append((float(range_[0]), float(range_[1])) if range_ else None)
    return Reading(windows[0], options.no_data_a), Reading(windows[1], options.no_data_b)
