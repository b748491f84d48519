"""Luminance of training images: decoded once and kept, as far as the stated memory reaches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adasffuse.data.options import DataOptions
from adasffuse.images.color import luminance
from adasffuse.images.image import Image
from adasffuse.images.no_data import fill_missing
from adasffuse.images.pairs import Scene, read_scene
from adasffuse.images.ranges import parse_range, resolve_range
from adasffuse.images.write import quantise
from adasffuse.tasks import Task


@dataclass(frozen=True)
class Reading:
    """How the files of one source are read."""

    window: tuple[float, float] | None = None  # values of deeper files that become 0 and 1
    no_data: float | None = None  # value that means "no data"
    thermal: bool = False  # exact 0 in a large area joined to the border is no data, too


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
    """Keeps images decoded until `megabytes` (of 2**20 bytes) are full."""

    def __init__(self, megabytes: float) -> None:
        self.free = megabytes * 2**20

    def keep(
        self, name: str, paths: tuple[Path, ...], images: tuple[np.ndarray, ...], readings: Sequence[Reading] = ()
    ) -> LumaFiles:
        """Files of one scene, with what was decoded of them where there is room for that."""
        size = sum(image.nbytes for image in images)
        fits = size <= self.free
        self.free -= size if fits else 0
        return LumaFiles(name, paths, images if fits else None, tuple(readings))


def decode(paths: Sequence[Path], readings: Sequence[Reading] = ()) -> tuple[np.ndarray, ...]:
    """Luminance, (H, W) uint8 each, of one photograph or of a scene.

    Where a file holds no data it takes on what the other files of the scene show, as in fusing: see `fill_missing`.

    Args:
        readings: one for each path, or none: as the depth of each file says.
    Raises:
        ImageError: a file cannot be read, or those of a scene differ in size.
    """
    return lumas_of(read_images(paths, readings))


def read_images(paths: Sequence[Path], readings: Sequence[Reading] = ()) -> list[Image]:
    """The images of one photograph or of a scene; arguments and errors as of `decode`."""
    readings = readings or [Reading()] * len(paths)
    read = zip(*((reading.window, reading.no_data, reading.thermal) for reading in readings))
    return read_scene(Scene("", tuple(paths)), *read)


def lumas_of(images: Sequence[Image]) -> tuple[np.ndarray, ...]:
    """Luminance of the images of a scene as `decode` gives it."""
    lumas = [luminance(image.pixels) for image in images]
    if len(images) > 1:
        lumas, _ = fill_missing(lumas, [image.valid for image in images])
    return tuple(quantise(luma, "8") for luma in lumas)


def readings_of(options: DataOptions, scenes: Sequence[Sequence[Path]], task: Task) -> tuple[Reading, ...]:
    """How the files of source A and of source B are read: as the options say, and thermal ones of a task as such.

    Args:
        scenes: the files of each scene of one folder, over which 'folder' and percentages are taken.
    """
    sources = (options.range_a, options.no_data_a), (options.range_b, options.no_data_b)
    readings = []
    for number, (words, no_data) in enumerate(sources):
        thermal = number < len(task.thermal) and task.thermal[number]
        files = [paths[number] for paths in scenes]
        readings.append(Reading(resolve_range(parse_range(words or None), files, no_data, thermal), no_data, thermal))
    return tuple(readings)
