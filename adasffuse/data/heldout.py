"""Validation pairs of a run: centres of held-out pairs, and pairs made from held-out photographs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adasffuse.data.synthesis import defocus_pair, exposure_pair

SIZE = 256  # largest height and width of a validation pair
LEAST = 44  # smallest height and width, for losses and metrics of several scales
MARGIN = 16  # pixels cut off around a pair made from a photograph, where synthetic blur lacks its surroundings
_SEED = 20250815  # of the pairs made from photographs, the same in every run


@dataclass(frozen=True)
class HeldOut:
    """A pair, with its ideal result if known; (H, W) uint8 if read, float32 in [0, 1] if made from a photograph."""

    name: str
    paths: tuple[Path, ...]  # files it was read from
    a: np.ndarray
    b: np.ndarray
    truth: np.ndarray | None = None


def held_out_pair(name: str, paths: tuple[Path, Path], a: np.ndarray, b: np.ndarray) -> HeldOut:
    """The centre of a pair of (H, W) uint8 luminances."""
    return HeldOut(name, paths, centre(a), centre(b))


def held_out_focus(name: str, path: Path, photo: np.ndarray, number: int, radius: float) -> HeldOut:
    """A multi-focus pair made from the centre of a photograph, (H, W) uint8; always the same for one `number`."""
    window = centre(photo, SIZE + 2 * MARGIN).astype(np.float32) / 255
    images = defocus_pair(window, np.random.default_rng([_SEED, number]), radius=(1.0, radius))
    return HeldOut(name, (path,), *(centre(image, max(1, min(image.shape) - 2 * MARGIN)) for image in images))


def held_out_exposures(name: str, path: Path, photo: np.ndarray, number: int, truth: bool) -> HeldOut:
    """A multi-exposure pair made from the centre of a photograph (H, W) uint8; that is its ideal result if `truth`."""
    window = centre(photo).astype(np.float32) / 255
    low, over, image = exposure_pair(window, np.random.default_rng([_SEED, number]))
    return HeldOut(name, (path,), low, over, image if truth else None)


def centre(image: np.ndarray, largest: int = SIZE) -> np.ndarray:
    """The middle of an image (H, W), at most `largest` pixels high and wide.

    Sides shorter than LEAST are extended by reflection.
    """
    top, left = (max(0, (side - largest) // 2) for side in image.shape)
    crop = image[top : top + largest, left : left + largest]
    return np.pad(crop, [(0, max(0, LEAST - side)) for side in crop.shape], mode="symmetric")
