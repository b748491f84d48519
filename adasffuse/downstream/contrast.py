"""How bright labelled objects are against what surrounds them, in each kind of image: often why scores differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.downstream.classes import IGNORED, ClassList
from adasffuse.downstream.frames import Frame, mask_of
from adasffuse.images.color import luminance
from adasffuse.images.read import read_image

_GAP, _RING = 2, 10  # pixels around an object: not counted, and counted as its surroundings
_LEAST = 40  # pixels of an object, and of its surroundings
_MOST = 300  # frames that are looked at


@dataclass(frozen=True)
class Contrast:
    """Mean luminance of an object less that of its surroundings, in gray levels of 0..255."""

    stem: str
    image: str  # its kind
    name: str  # class
    value: float


def contrasts(frames: Sequence[Frame], files: Mapping[str, Mapping[str, Path]], classes: ClassList) -> list[Contrast]:
    """The contrast of every object in every kind of image.

    An object is a box, or all pixels of a class in a frame; its surroundings are the pixels up to 10 away, without
    those next to any object.  Of more than 300 frames some are taken.

    Args:
        frames: with boxes or masks.
        files: kind of image to stem to file.
    """
    found = []
    for frame in frames[:: max(1, -(-len(frames) // _MOST))]:
        objects = _objects(frame, classes)
        taken = (
            _grown(np.logical_or.reduce([inside for _, inside in objects], initial=False), _GAP) if objects else None
        )
        lumas = {name: luminance(read_image(some[frame.stem]).pixels) * 255 for name, some in files.items()}
        for kind, inside in objects:
            ring = _grown(inside, _RING) & ~taken
            if min(inside.sum(), ring.sum()) >= _LEAST:
                for name, luma in lumas.items():
                    value = float(luma[inside].mean() - luma[ring].mean())
                    found.append(Contrast(frame.stem, name, kind, value))
    return found


def _objects(frame: Frame, classes: ClassList) -> list[tuple[str, ndarray]]:
    """Class and pixels, (H, W) bool, of each object."""
    if frame.mask is not None:
        mask = mask_of(frame, classes)
        ids = [number for number in np.unique(mask) if number not in (0, IGNORED)]
        return [(classes.names[number], mask == number) for number in ids]
    objects = []
    for box in frame.boxes.boxes:
        inside = np.zeros(frame.size, bool)
        inside[round(box.top) : round(box.bottom), round(box.left) : round(box.right)] = True
        objects.append((box.name, inside))
    return objects


def _grown(mask: ndarray, pixels: int) -> ndarray:
    side = 2 * pixels + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
