"""Noise and lines that surfaces of rendered scenes are made of."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy import ndarray

_LINE = 0.03  # metres, width of a line


def smooth_noise(height: int, width: int, cells: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(height, width) float32 noise of about unit variance, `cells` = (rows, columns) of blobs over the image.

    Args:
        height, width: in pixels.
        cells: (rows, columns) of blobs.
        rng: source of all randomness.
    Returns:
        (height, width) float32.
    """
    return cv2.resize(rng.standard_normal(cells, dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def fractal_noise(u, v, footprint, cells: Sequence[float], rng: np.random.Generator) -> ndarray:
    """Noise of about unit variance at world coordinates, one octave per cell size, which fades where pixels are larger.

    Args:
        u, v: (N,) metres.
        footprint: metres that a pixel covers.
        cells: sizes of the noise's cells in metres, the coarsest first.
        rng: source of all randomness.
    Returns:
        (N,) float32.
    """
    total = np.zeros(len(u), np.float32)
    for cell in cells:
        table = np.pad(rng.standard_normal((127, 127), dtype=np.float32), (0, 1), mode="wrap")
        at = [np.mod(np.asarray(w, np.float32) / np.float32(cell), 127) for w in (u, v)]
        total += sampled(table, *at) * np.clip(cell / np.maximum(footprint, 1e-6) - 0.5, 0, 1) * 1.5
    return total / np.float32(np.sqrt(len(cells)))


def sampled(table: ndarray, columns: ndarray, rows: ndarray) -> ndarray:
    """Bilinear values of a table at (N,) positions, its last column and row repeated (cv2.remap stops at 32767).

    Args:
        table: (h, w).
        columns, rows: (N,) positions in the table.
    Returns:
        (N,) float32.
    """
    column, row = (np.clip(w, 0, side - 1.001) for w, side in ((columns, table.shape[1]), (rows, table.shape[0])))
    left, top = column.astype(int), row.astype(int)
    right, down = (column - left).astype(np.float32), (row - top).astype(np.float32)
    upper, lower = (table[top + i, left] * (1 - right) + table[top + i, left + 1] * right for i in (0, 1))
    return upper * (1 - down) + lower * down


def thin_lines(w: ndarray, period: float, footprint: ndarray) -> ndarray:
    """1, and 0 on lines of 3 cm every `period` metres, faded where a pixel is wider than they are.

    Args:
        w: (N,) metres across the lines.
        period: metres between lines.
        footprint: (N,) metres that a pixel covers.
    Returns:
        (N,) in [0, 1].
    """
    inside = np.mod(w, period) < np.maximum(_LINE, 0.5 * footprint)
    return 1 - inside * np.clip(1.5 * _LINE / np.maximum(footprint, 1e-6), 0, 1)
