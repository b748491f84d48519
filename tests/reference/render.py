"""Renders the small images on which a clean clone proves the metrics: sources A, B and a fused image F per case.

python tests/reference/render.py tests/reference

`values.json` holds what the authors' evaluator returns for these very files; rendering them anew makes it worthless.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from adasffuse.scenes.head import head
from adasffuse.scenes.street import night_scene


def render(folder: Path) -> None:
    """Write NAME_A.png, NAME_B.png and NAME_F.png of three cases, 8-bit gray."""
    night = night_scene(np.random.default_rng(14), (96, 128))
    save(folder, "street", night.infrared * 255, gray(night.visible), detail_of_both)
    night = night_scene(np.random.default_rng(4), (71, 93))  # odd sides
    save(folder, "odd", night.infrared * 255, gray(night.visible), lambda a, b: (a + b) / 2)
    slices = head(4, size=100)  # black, flat surroundings
    save(folder, "head", slices["CT"], slices["MRI"], np.maximum)


def gray(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.299, 0.587, 0.114]) * 255


def detail_of_both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The mean of the blurred sources, and of what blurring removes the stronger."""
    bases = [cv2.GaussianBlur(x, (0, 0), 4) for x in (a, b)]
    details = [x - base for x, base in zip((a, b), bases)]
    return sum(bases) / 2 + np.where(np.abs(details[0]) > np.abs(details[1]), *details)


def save(folder: Path, name: str, a: np.ndarray, b: np.ndarray, fuse) -> None:
    a, b = (np.rint(x).clip(0, 255).astype(np.float64) for x in (a, b))
    for letter, image in (("A", a), ("B", b), ("F", fuse(a, b))):
        cv2.imwrite(str(folder / f"{name}_{letter}.png"), np.rint(image).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    render(Path(sys.argv[1]))
