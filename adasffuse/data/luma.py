"""Luminance of training images, decoded once and kept in memory up to a limit."""

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
    """How to read the files of one source; see `adasffuse.images.read.read_image`."""

    window: tuple[float, float] | None = None  # values that become 0 and 1 in files of more than 8 bits
    no_data: float | None = None  # value that means "no data"
    thermal: bool = False  # exact 0 in a large area at the border also means "no data"


@dataclass(frozen=True)
class LumaFiles:
    """One photograph, or the images of a scene."""

    name: str
    paths: tuple[Path, ...]
    kept: tuple[np.ndarray, ...] | None  # decoded images; None: decode them each time
    readings: tuple[Reading, ...] = ()  # one per source, or none

    def images(self) -> tuple[np.ndarray, ...]:
        """Luminance of each file, (H, W) uint8."""
        return self.kept or decode(self.paths, self.readings)


class LumaCache:
    """Keeps decoded images until `megabytes` (of 2**20 bytes) are full."""

    def __init__(self, megabytes: float) -> None:
        self.free = megabytes * 2**20

    def keep(
        self, name: str, paths: tuple[Path, ...], images: tuple[np.ndarray, ...], readings: Sequence[Reading] = ()
    ) -> LumaFiles:
        """Files of one scene, with the decoded images if they fit."""
        size = sum(image.nbytes for image in images)
        if size > self.free:
            return LumaFiles(name, paths, None, tuple(readings))
        self.free -= size
        return LumaFiles(name, paths, images, tuple(readings))


def decode(paths: Sequence[Path], readings: Sequence[Reading] = ()) -> tuple[np.ndarray, ...]:
    """Luminance, (H, W) uint8 each, of one photograph or of a scene.

    Pixels without data are filled from the other files of the scene, as in fusing: see `fill_missing`.

    Args:
        readings: one per path, or none for the defaults.
    Raises:
        ImageError: a file cannot be read, or those of a scene differ in size.
    """
    return lumas_of(read_images(paths, readings))


def read_images(paths: Sequence[Path], readings: Sequence[Reading] = ()) -> list[Image]:
    """The images of one photograph or of a scene; arguments and errors as in `decode`."""
    readings = readings or [Reading()] * len(paths)
    windows, no_data, thermal = zip(*((one.window, one.no_data, one.thermal) for one in readings))
    options = ("data.range_a", "data.range_b") if len(paths) > 1 else ("", "")  # photographs have none
    return read_scene(Scene("", tuple(paths)), windows, no_data, thermal, options=options)


def lumas_of(images: Sequence[Image]) -> tuple[np.ndarray, ...]:
    """Luminance of the images of a scene as `decode` gives it."""
    lumas = [luminance(image.pixels) for image in images]
    if len(images) > 1:
        lumas, _ = fill_missing(lumas, [image.valid for image in images])
    return tuple(quantise(luma, "8") for luma in lumas)


def readings_of(options: DataOptions, scenes: Sequence[Sequence[Path]], task: Task) -> tuple[Reading, ...]:
    """How to read the files of source A and of source B, by the options and the task's thermal sources.

    Args:
        scenes: the files of each scene of one folder; the ranges 'folder' and percentages are taken over all of them.
    """
    sources = (options.range_a, options.no_data_a), (options.range_b, options.no_data_b)
    readings = []
    for number, (words, no_data) in enumerate(sources):
        thermal = number < len(task.thermal) and task.thermal[number]
        files = [paths[number] for paths in scenes]
        readings.append(Reading(resolve_range(parse_range(words or None), files, no_data, thermal), no_data, thermal))
    return tuple(readings)
