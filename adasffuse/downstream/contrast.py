"""Contrast of labelled objects to their surroundings in each kind of image, which often explains scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from adasffuse.downstream.classes import IGNORED, ClassList
from adasffuse.downstream.frames import Frame, mask_of
from adasffuse.images.color import luminance
from adasffuse.images.masks import dilate
from adasffuse.images.read import read_image

_GAP, _RING = 2, 10  # pixels around an object: up to the first ignored, up to the second its surroundings
_LEAST = 40  # least number of pixels of an object, and of its surroundings
_MOST = 300  # frames that are measured


@dataclass(frozen=True)
class Contrast:
    """Mean luminance of an object minus that of its surroundings, in gray levels of 0..255."""

    stem: str
    image: str  # kind of image
    name: str  # class
    value: float


def contrasts(frames: Sequence[Frame], files: Mapping[str, Mapping[str, Path]], classes: ClassList) -> list[Contrast]:
    """The contrast of every object in every kind of image.

    An object is a box, or all pixels of a class in a frame; its surroundings are the pixels up to 10 away, without
    those within 2 pixels of any object.  At most 300 frames are measured, evenly spaced.

    Args:
        frames: with boxes or masks.
        files: kind of image to stem to file.
    """
    found = []
    for frame in frames[:: max(1, -(-len(frames) // _MOST))]:
        objects = _objects(frame, classes)
        if not objects:
            continue
        any_object = dilate(np.logical_or.reduce([inside for _, inside in objects]), _GAP)
        lumas = {image: luminance(read_image(some[frame.stem]).pixels) * 255 for image, some in files.items()}
        for name, inside in objects:
            ring = dilate(inside, _RING) & ~any_object
            if min(inside.sum(), ring.sum()) >= _LEAST:
                for image, luma in lumas.items():
                    value = float(luma[inside].mean() - luma[ring].mean())
                    found.append(Contrast(frame.stem, image, name, value))
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
