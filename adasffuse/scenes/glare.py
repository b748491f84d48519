"""Lights that shine into the lens of a camera, added to visible images.

Images are float32 in [0, 1], (H, W) gray or (H, W, 3) RGB; masks are bool (H, W).  All randomness comes from the
caller's generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.images.color import luminance

RESPONSE = 2.2  # exponent of the usual camera response: value = exposure ** (1 / 2.2)


@dataclass(frozen=True)
class GlareCase:
    """A pair with glare over the visible image."""

    infrared: ndarray
    visible: ndarray
    saturated: ndarray  # mask: glare has clipped the visible image


def add_glare(
    visible: ndarray,
    rng: np.random.Generator,
    centers: Sequence[tuple[float, float]] | None = None,
    radius: tuple[float, float] = (0.05, 0.16),
    falloff: tuple[float, float] = (1.8, 3.0),
) -> tuple[ndarray, ndarray]:
    """Lights that shine into the lens: a clipped core with rays, and a veil that falls off with distance.

    At distance d every light adds (R / d)^n of the exposure that clips, before the camera's response; R, where the
    core ends, ripples with the direction.  A few milliseconds at most for a 128 x 128 crop.

    Args:
        visible: (H, W) luminance or (H, W, 3) RGB in [0, 1].
        rng: source of all randomness.
        centers: (x, y) of each light in pixels; by default one light, or two side by side as headlights are.
        radius: range of the core's radius as a share of the shorter side.
        falloff: range of n.
    Returns:
        The image with glare, float32 of the same shape, and the mask of pixels clipped in all channels, whatever
        clipped them.
    Raises:
        ValueError: `visible` is neither (H, W) nor (H, W, 3).
    """
    if visible.ndim != 2 and (visible.ndim != 3 or visible.shape[2] != 3):
        raise ValueError(f"add_glare needs (H, W) or (H, W, 3) pixels, got {visible.shape}")
    height, width = visible.shape[:2]
    core = max(1.0, rng.uniform(*radius) * min(height, width))
    if centers is None:
        centers = _light_positions(rng, height, width, core)
    power, phase = rng.uniform(*falloff), rng.uniform(0, 2 * np.pi, 5)
    waves = (1, 2, *(int(k) for k in rng.integers((4, 9, 17), (9, 17, 30))))  # rays: ripples of the core's outline
    veil = np.zeros((height, width), np.float32)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    for center_x, center_y in centers:
        dx, dy = x - np.float32(center_x), y - np.float32(center_y)
        squared, angle = dx * dx + dy * dy, cv2.phase(dx + 0 * dy, dy + 0 * dx)  # whole: OpenCV misreads broadcast ones
        outline = sum(
            s * np.cos(k * angle + np.float32(p)) for k, p, s in zip(waves, phase, (0.05, 0.07, 0.035, 0.035, 0.03))
        ) + np.float32(1)
        veil += cv2.pow(np.maximum(squared / (core * outline) ** 2, np.float32(1e-4)), -0.5 * power)
    if visible.ndim == 3:
        tint = 1 + np.float32(rng.uniform(0, 0.35)) * rng.permutation(np.float32([0, 0.5, 1]))
        veil = veil[..., None] * tint
    light = cv2.pow(visible.astype(np.float32, copy=False), RESPONSE) + veil
    glared = cv2.pow(np.clip(light, 0, 1), 1 / RESPONSE).reshape(visible.shape)
    clipped = glared >= 1
    return glared, clipped if visible.ndim == 2 else clipped.all(axis=2)


def glare_pair(infrared: ndarray, visible: ndarray, rng: np.random.Generator) -> GlareCase:
    """A real pair with glare where the infrared image has something to show.

    Of 12 random places the one of highest contrast in the infrared image is taken, so that there is something to
    recover.

    Args:
        infrared: (H, W) or (H, W, 3) in [0, 1], registered to `visible`.
        visible: (H, W) or (H, W, 3) in [0, 1].
        rng: source of all randomness.
    Returns:
        The pair, `infrared` as luminance (H, W).
    Raises:
        ValueError: heights and widths differ.
    """
    if infrared.shape[:2] != visible.shape[:2]:
        raise ValueError(f"glare_pair needs one height and width, got {infrared.shape} and {visible.shape}")
    infrared = luminance(infrared)
    height, width = infrared.shape
    size = max(3, min(height, width) // 8)
    contrast = cv2.blur(infrared**2, (size, size)) - cv2.blur(infrared, (size, size)) ** 2
    places = rng.uniform(0.12, 0.88, (12, 2)) * (width, height)
    best = max(places, key=lambda place: contrast[int(place[1]), int(place[0])])
    centers = [tuple(best)]
    if rng.random() < 0.5:
        centers.append((best[0] + rng.choice([-1, 1]) * rng.uniform(0.18, 0.4) * min(height, width), best[1]))
    glared, saturated = add_glare(visible, rng, centers)
    return GlareCase(infrared, glared, saturated)


def _light_positions(rng: np.random.Generator, height: int, width: int, core: float) -> list[tuple[float, float]]:
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
    return [(x, y)] if rng.random() < 0.5 else [(x, y), (x + rng.choice([-1, 1]) * rng.uniform(2, 5) * core, y)]
