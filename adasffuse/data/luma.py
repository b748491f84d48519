"""Luminance of training images: decoded once and kept, as far as the stated memory reaches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adasffuse.data.options import DataOptions
from adasffuse.images.color import luminance
from adasffuse.images.pairs import Scene, read_scene
from adasffuse.images.ranges import parse_range, resolve_range
from adasffuse.images.write import quantise


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

    Where a file holds no data it takes on what the other files of the scene show (their mean), and 0 where none has
    any: what is missing then asks nothing of the network.

    Args:
        readings: one for each path, or none: as the depth of each file says.
    Raises:
        ImageError: as `LumaCache.open`.
    """
    windows, no_data = [reading.window for reading in readings], [reading.no_data for reading in readings]
    images = read_scene(Scene("", tuple(paths)), windows or None, no_data or None)
    lumas = [luminance(image.pixels) for image in images]
    if any(image.valid is not None for image in images):
        lumas = fill_gaps(lumas, [image.valid for image in images])
    return tuple(quantise(luma, "8") for luma in lumas)


def fill_gaps(lumas: Sequence[np.ndarray], valid: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Each luminance, (H, W) in [0, 1], with the mean of the others where it holds no data, 0 where none does.

    Args:
        valid: (H, W) bool for each, False where there is no data; None: data everywhere.
    """
    masks = [np.ones(luma.shape, bool) if mask is None else mask for luma, mask in zip(lumas, valid)]
    held = sum(mask.astype(np.float32) for mask in masks)
    mean = sum(np.where(mask, luma, 0) for luma, mask in zip(lumas, masks)) / np.maximum(held, 1)
    return [np.where(mask, luma, mean) for luma, mask in zip(lumas, masks)]


def readings_of(options: DataOptions, scenes: Sequence[Sequence[Path]]) -> tuple[Reading, ...]:
    """How the options say that the files of source A and of source B are read.

    Args:
        scenes: the files of each scene of one folder, over which 'folder' and percentages are taken.
    """
    sources = (options.range_a, options.no_data_a), (options.range_b, options.no_data_b)
    return tuple(
        Reading(resolve_range(parse_range(words or None), [paths[number] for paths in scenes], no_data), no_data)
        for number, (words, no_data) in enumerate(sources)
    )
