"""Metrics of edges: SF, AG, edge intensity, Qabf, Nabf.  Images are float64 (H, W) on 0..255."""

import math

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.metrics.intensity import sum_of_squares
from adasffuse.metrics.windows import filter_same, strips, with_border

_SMOOTH, _STEP = np.array([1.0, 2.0, 1.0]), np.array([-1.0, 0.0, 1.0])  # Sobel's taps


def spatial_frequency(fused: ndarray, all_pixels: bool = False) -> float:
    """SF, sqrt(RF^2 + CF^2), RF and CF being the RMS differences of neighbours in rows and in columns.

    Eskicioglu and Fisher, IEEE Trans. Communications 43(12), 1995, 10.1109/26.477498.  0..361 gray levels, higher is
    sharper.  Rewards noise, ringing and stretched contrast.

    Args:
        fused: (H, W); a single row or column scores NaN.
        all_pixels: divide both sums by H W, not by the number of differences.
    Returns:
        The score.
    """
    height, width = fused.shape
    if min(height, width) < 2:
        return float("nan")
    row = sum(sum_of_squares(np.diff(fused[rows], axis=1)) for rows in strips(height))
    column = sum(sum_of_squares(np.diff(fused[rows], axis=0)) for rows in strips(height, 2))
    if all_pixels:
        return math.sqrt((row + column) / (height * width))
    return math.sqrt(row / (height * (width - 1)) + column / ((height - 1) * width))


def average_gradient(fused: ndarray, all_pixels: bool = True) -> float:
    """AG, mean of sqrt((gx^2 + gy^2) / 2), central differences inside, one-sided ones on the border.

    Cui, Feng, Xu, Li and Chen, Optics Communications 341, 2015, 10.1016/j.optcom.2014.12.032.  At least 0, in gray
    levels, higher is sharper.  Rewards noise, ringing and stretched contrast.

    Args:
        fused: (H, W); a single row or column scores NaN.
        all_pixels: divide the sum by H W, else by (H - 1)(W - 1).
    Returns:
        The score.
    """
    height, width = fused.shape
    if min(height, width) < 2:
        return float("nan")
    total = 0.0
    for rows in strips(height):
        top, bottom = max(rows.start - 1, 0), min(rows.stop + 1, height)
        gy, gx = (g[rows.start - top : rows.stop - top] for g in np.gradient(fused[top:bottom]))
        gx *= gx
        gx += np.square(gy, out=gy)
        gx *= 0.5
        total += float(np.sqrt(gx, out=gx).sum())
    return total / (height * width if all_pixels else (height - 1) * (width - 1))


def edge_intensity(fused: ndarray) -> float:
    """EI, mean Sobel gradient magnitude of F with replicated borders.

    Rajalingam and Priya, Int. J. Engineering Science Invention 2 (special issue), 2018, 52-60.  0..1141 gray levels,
    higher is sharper.  Rewards noise, ringing and stretched contrast.

    Args:
        fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score.
    """
    total = sum(float(_strength(*sobel_rows(fused, rows, cv2.BORDER_REPLICATE)).sum()) for rows in strips(len(fused)))
    return total / fused.size


def edge_preservation(a: ndarray, b: ndarray, fused: ndarray, equal_as_published: bool = True) -> float:
    """Qabf, how much of the sources' Sobel edges survives in strength and orientation.

    Xydeas and Petrovic, Electronics Letters 36(4), 2000, 10.1049/el:20000267: Q = sum (Q_AF g_A + Q_BF g_B) / sum (g_A
    + g_B), Q_XF = S(G; 0.9994, -15, 0.5) S(A; 0.9879, -22, 0.8) with S(x; t, k, d) = t / (1 + exp(k (x - d))), G =
    smaller / larger strength, A = 1 - |angle_X - angle_F| / (pi / 2). 0..0.975, higher is better.  Edges of both
    sources at one place compete, so no F reaches the best value; strong edges dominate.

    Args:
        a, b, fused: (H, W); NaN where both sources are black (beyond the border of a flat one lie zeros: an edge).
        equal_as_published: for equal strengths, let G be that strength, as in the published MATLAB code; else 1, as in
            the equation.
    Returns:
        The score.
    """
    kept = weight = 0.0
    for rows in strips(fused.shape[0]):
        strength_f, angle_f = _polar(fused, rows)
        for source in (a, b):
            strength, angle = _polar(source, rows)
            kept += float(_preserved(strength, angle, strength_f, angle_f, equal_as_published).sum())
            weight += float(strength.sum())
    return 0.9994 * 0.9879 * kept / weight if weight > 0 else float("nan")


def fusion_artifacts(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """Nabf, weighted share of edges that F has and neither source has.

    Shreyamsha Kumar, Signal, Image and Video Processing 7(6), 2013, 10.1007/s11760-012-0361-x, after Petrovic and
    Xydeas: sum over pixels with g_F > g_A and g_F > g_B of (1 - Q_AF) w_A + (1 - Q_BF) w_B, divided by sum (w_A + w_B);
    Q_XF as the root of sigmoids of strength (0.9999, -19, 0.5) and angle (0.9995, -22, 0.5), w = g^1.5, 0.001 below
    g = 2, g a Sobel magnitude / 8 with mirrored borders.  0..1, lower is better.  Rewards blur: an F without edges
    scores 0.

    Args:
        a, b, fused: (H, W) float64 luminance on 0..255.
    Returns:
        The score.
    """
    lost = weight = 0.0
    for rows in strips(len(fused)):
        strengths, angles = [], []
        for image in (a, b, fused):
            gx, gy = (g / 8 for g in sobel_rows(image, rows, cv2.BORDER_REFLECT_101))
            strengths.append(_strength(gx, gy))
            angles.append(np.arctan2(gx, gy))
        *sources, strength_f = strengths
        invented = np.logical_and(*(strength_f > strength for strength in sources))
        for strength, angle in zip(sources, angles):
            largest = np.maximum(strength, strength_f)
            smallest = np.minimum(strength, strength_f)
            relative = np.divide(smallest, largest, out=np.zeros_like(largest), where=largest > 0)
            turn = np.abs(np.abs(_fold(angle) - _fold(angles[-1])) - np.pi / 2) * 2 / np.pi
            kept = np.sqrt(0.9999 / (1 + np.exp(-19 * (relative - 0.5))) * 0.9995 / (1 + np.exp(-22 * (turn - 0.5))))
            importance = np.where(strength >= 2, strength**1.5, 0.001)
            lost += float(np.sum((1 - kept)[invented] * importance[invented]))
            weight += float(importance.sum())
    return lost / weight


def _fold(angle: ndarray) -> ndarray:
    """Angles of directions, -pi..pi, to those of lines, -pi/2..pi/2."""
    return angle - np.pi * np.sign(angle) * (np.abs(angle) > np.pi / 2)


def sobel_rows(image: ndarray, rows: slice, border: int) -> tuple[ndarray, ndarray]:
    """Sobel differences to the right and downwards in some rows.

    Args:
        image: (H, W) float64.
        rows: a slice within 0..H.
        border: one of OpenCV's BORDER constants.
    Returns:
        Two arrays (rows, W).
    """
    part = with_border(image, rows, border)
    gx, gy = filter_same(part, _STEP, _SMOOTH, border), filter_same(part, _SMOOTH, _STEP, border)
    return gx[1:-1, 1:-1], gy[1:-1, 1:-1]


def _strength(gx: ndarray, gy: ndarray) -> ndarray:
    return np.sqrt(gx * gx + gy * gy)


def _polar(image: ndarray, rows: slice) -> tuple[ndarray, ndarray]:
    """Sobel strength in some rows, zeros around the image, and angle of the line, -pi/2..pi/2, -pi/2 where gx is 0."""
    gx, gy = sobel_rows(image, rows, cv2.BORDER_CONSTANT)
    with np.errstate(divide="ignore", invalid="ignore"):
        # signed: an almost upright edge differs from -pi/2 by nearly 0 or by nearly pi, depending on its sign
        angle = gy / gx
    np.arctan(angle, out=angle)
    np.copyto(angle, -np.pi / 2, where=gx == 0)
    strength = gx * gx
    strength += np.square(gy, out=gy)
    return np.sqrt(strength, out=strength), angle


def _preserved(
    strength: ndarray, angle: ndarray, strength_f: ndarray, angle_f: ndarray, equal_as_published: bool
) -> ndarray:
    """Strength times the sigmoids of relative strength and relative angle, without the factors 0.9994 and 0.9879."""
    relative = np.minimum(strength, strength_f)
    with np.errstate(invalid="ignore"):
        relative /= np.maximum(strength, strength_f)
    np.copyto(relative, strength if equal_as_published else 1.0, where=strength == strength_f)
    turn = np.abs(angle - angle_f)
    turn *= 2 / np.pi
    below = _one_plus_exp(relative, -15, 0.5)
    below *= _one_plus_exp(turn, 22, 1 - 0.8)  # turn = 1 - relative angle
    return np.divide(strength, below, out=below)


def _one_plus_exp(x: ndarray, slope: float, center: float) -> ndarray:
    """1 + exp(slope (x - center)), in place."""
    x -= center
    x *= slope
    np.exp(x, out=x)
    x += 1
    return x
