"""Labelled frames in which some classes differ in temperature alone and others in colour alone.

Blocks are gray in visible light, warm or cold in the infrared; discs are red or blue at one temperature.  Each source
alone confuses two classes; a fused image that keeps what both show tells all of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from adasffuse.scenes.texture import smooth_noise

CLASSES = ("background", "warm_block", "cold_block", "red_disc", "blue_disc")  # ids of the mask
_GRAY, _RED, _BLUE = (0.62, 0.62, 0.62), (0.78, 0.28, 0.30), (0.22, 0.45, 0.95)  # sRGB; the last two are equally bright
_LOOKS = {"warm_block": (_GRAY, 0.95), "cold_block": (_GRAY, 0.08), "red_disc": (_RED, 0.6), "blue_disc": (_BLUE, 0.6)}
_GROUND, _GROUND_HEAT = (0.40, 0.38, 0.34), 0.38
_SIZE = (96, 128)  # height, width of a frame, pixels
_ROWS, _COLUMNS = 2, 3  # of cells, each with an object or none
_SHARE = 0.8  # of cells with one


@dataclass(frozen=True)
class ObjectsFrame:
    """One rendered frame."""

    infrared: ndarray  # (H, W) float32 in [0, 1]
    visible: ndarray  # (H, W, 3) float32 sRGB in [0, 1]
    mask: ndarray  # (H, W) uint8, numbers in CLASSES
    boxes: tuple[tuple[str, tuple[int, int, int, int]], ...]  # class; left, top, right, bottom edge in pixels


def objects_frame(rng: np.random.Generator) -> ObjectsFrame:
    """Render a frame, all of whose randomness is drawn from `rng`."""
    height, width = _SIZE
    shade = 1 + 0.12 * smooth_noise(height, width, (6, 8), rng)
    visible = np.float32(_GROUND) * shade[..., None]
    infrared = _GROUND_HEAT + 0.05 * smooth_noise(height, width, (5, 7), rng)
    mask, boxes = np.zeros(_SIZE, np.uint8), []
    y, x = np.mgrid[:height, :width]
    cell = (height / _ROWS, width / _COLUMNS)
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            if rng.random() > _SHARE:
                continue
            name = CLASSES[1 + rng.integers(len(CLASSES) - 1)]
            radius = min(cell) * rng.uniform(0.2, 0.36)
            room = [side / 2 - radius - 1 for side in cell]
            center = [(n + 0.5) * side + rng.uniform(-r, r) for n, side, r in zip((row, column), cell, room)]
            off = np.abs(y - center[0]), np.abs(x - center[1])
            inside = np.maximum(*off) < radius if name.endswith("block") else np.hypot(*off) < radius
            color, heat = _LOOKS[name]
            visible[inside] = np.float32(color) * rng.uniform(0.9, 1.1) * shade[inside][:, None]
            infrared[inside] = heat + rng.uniform(-0.05, 0.05)
            mask[inside] = CLASSES.index(name)
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            boxes.append((name, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)))
    visible = visible + rng.normal(0, 0.01, visible.shape)
    infrared = infrared + rng.normal(0, 0.01, infrared.shape)
    return ObjectsFrame(
        infrared.clip(0, 1).astype(np.float32),
        visible.clip(0, 1).astype(np.float32),
        mask,
        tuple((name, tuple(map(int, edges))) for name, edges in boxes),
    )
