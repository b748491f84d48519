"""Metrics of edges: SF, AG, Qabf.  Images are float64 (H, W) on 0..255."""

import cv2
import numpy as np
from numpy import ndarray


def spatial_frequency(fused: ndarray) -> float:
    """SF, sqrt(RF^2 + CF^2), RF and CF being RMS differences of neighbours in rows and columns."""
    if min(fused.shape) < 2:
        return float("nan")
    row, column = np.diff(fused, axis=1), np.diff(fused, axis=0)
    return float(np.sqrt(np.mean(row * row) + np.mean(column * column)))


def average_gradient(fused: ndarray) -> float:
    """AG, mean of sqrt((gx^2 + gy^2) / 2) with central differences inside and one-sided ones on the border."""
    if min(fused.shape) < 2:
        return float("nan")
    gy, gx = np.gradient(fused)
    return float(np.mean(np.sqrt((gx * gx + gy * gy) / 2)))


def edge_preservation(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """Qabf, how much of the sources' Sobel edges survives in strength and orientation."""
    strength_f, angle_f = _sobel(fused)
    total = weight = 0.0
    for source in (a, b):
        strength, angle = _sobel(source)
        total += float(np.sum(_preserved(strength, angle, strength_f, angle_f) * strength))
        weight += float(strength.sum())
    return total / weight if weight > 0 else float("nan")


def _sobel(image: ndarray) -> tuple[ndarray, ndarray]:
    """Strength and angle (-pi/2, pi/2] of the Sobel gradient with zeros around the image."""
    gx = cv2.Sobel(image, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_CONSTANT)
    gy = cv2.Sobel(image, cv2.CV_64F, 0, 1, borderType=cv2.BORDER_CONSTANT)
    strength = np.sqrt(gx * gx + gy * gy)
    upright = gx == 0
    gx[upright] = 1
    angle = np.arctan(-gy / gx)  # the sign matters: angles next to an upright edge (pi/2) lie far from it on one side
    angle[upright] = np.pi / 2
    return strength, angle


def _preserved(strength: ndarray, angle: ndarray, strength_f: ndarray, angle_f: ndarray) -> ndarray:
    """Q of every pixel: sigmoids of the relative strength and of the relative angle, multiplied."""
    largest = np.maximum(strength, strength_f)
    relative = np.minimum(strength, strength_f)
    equal = relative == largest
    np.divide(relative, largest, out=relative, where=~equal)  # equal strengths keep their strength itself, as published
    turn = 1 - np.abs(angle - angle_f) / (np.pi / 2)
    return 0.9994 / (1 + np.exp(-15 * (relative - 0.5))) * 0.9879 / (1 + np.exp(-22 * (turn - 0.8)))
