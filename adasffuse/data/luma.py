"""Luminance of training images: decoded once and kept, as far as the stated memory reaches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adasffuse.images.color import luminance
from adasffuse.images.pairs import Scene, read_scene


@dataclass(frozen=True)
class LumaFiles:
    """One photograph, or the two images of a pair."""

    name: str
    paths: tuple[Path, ...]
    kept: tuple[np.ndarray, ...] | None  # None: decoded whenever it is asked for

    def images(self) -> tuple[np.ndarray, ...]:
        """Luminance of each file, (H, W) uint8."""
        return self.kept or decode(self.paths)


class LumaCache:
    """Opens images and keeps them decoded until `megabytes` (of 2**20 bytes) are full."""

    def __init__(self, megabytes: float) -> None:
        self.free = megabytes * 2**20

    def open(self, name: str, *paths: Path) -> LumaFiles:
        """Decode files of one scene.

        Raises:
            ImageError: a file cannot be read, or the two of a pair differ in size.
        """
        images = decode(paths)
        size = sum(image.nbytes for image in images)
        fits = size <= self.free
        self.free -= size if fits else 0
        return LumaFiles(name, paths, images if fits else None)


def decode(paths: tuple[Path, ...]) -> tuple[np.ndarray, ...]:
    """Luminance, (H, W) uint8 each, of one photograph or of a pair.

    Raises:
        ImageError: as `LumaCache.open`.
    """
    images = read_scene(Scene("", paths))
    return tuple(np.rint(luminance(image.pixels) * 255).astype(np.uint8) for image in images)
