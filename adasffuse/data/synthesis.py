"""Source pairs made from one sharp, well exposed photograph, for training and for the built-in samples.

Images are float32 in [0, 1], (H, W) gray or (H, W, 3) RGB.  All randomness comes from the caller's generator.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from adasffuse.scenes.glare import RESPONSE
from adasffuse.scenes.texture import smooth_noise

JITTER_KINDS = ("gain", "gamma", "offset")


def defocus_pair(
    image: np.ndarray,
    rng: np.random.Generator,
    radius: tuple[float, float] = (1.0, 6.0),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A multi-focus pair: a random near region is in focus in one image, the rest in the other.

    A blurred near region spreads over the far one, as in the alpha-matte boundary defocus model of Ma et al., IEEE
    Trans. Image Process. 2020, doi:10.1109/TIP.2020.3018261.  One pair in four has a strip that is in focus in both.
    Whether a or b is focused near is random.

    Args:
        image: (H, W) sharp luminance in [0, 1].
        rng: source of all randomness.
        radius: range of the blur's radius in pixels; a disc, or a Gaussian of the same variance.
    Returns:
        (a, b, truth): float32 (H, W), truth being the sharp image.
    Raises:
        ValueError: `image` is not (H, W).
    """
    image = _gray(image, "defocus_pair")
    depth = _random_depth(image, rng)
    cut = rng.uniform(0.25, 0.75)
    overlap = rng.uniform(0.05, 0.2) if rng.random() < 0.25 else 0.0
    far, near = np.quantile(depth[:: 1 + depth.shape[0] // 64, :: 1 + depth.shape[1] // 64], [cut, cut - overlap])
    softness = rng.uniform(0.5, 4.0)  # standard deviation of the region's border, pixels
    radii, gaussian = rng.uniform(*radius, size=2), bool(rng.random() < 0.3)
    a = focus_near(image, _soft(depth > near, softness), radii[0], gaussian)
    b = focus_far(image, _soft(depth > far, softness), radii[1], gaussian)
    return (a, b, image) if rng.random() < 0.5 else (b, a, image)


def exposure_pair(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A multi-exposure pair: 1 to 3.5 stops under and over, with sensor noise, clipping and 8-bit steps.

    Args:
        image: (H, W) luminance in [0, 1].
        rng: source of all randomness.
    Returns:
        (low, over, truth): float32 (H, W), truth being the image.
    Raises:
        ValueError: `image` is not (H, W).
    """
    image = _gray(image, "exposure_pair")
    response, noise = rng.uniform(1.8, 2.6), rng.uniform(0, 0.001)
    stops = rng.uniform(1, 3.5, size=2)
    low, over = (expose(image, s, response, noise, rng) for s in (-stops[0], stops[1]))
    return low, over, image


def unequal_brightness(
    a: np.ndarray, b: np.ndarray, difference: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Both images with a gain and an offset in opposite directions, as when exposure drifts between two shots.

    Args:
        a, b: (H, W) float32 in [0, 1].
        difference: largest difference of the gains; offsets differ by up to half of it.
        rng: source of all randomness.
    Returns:
        both, (H, W) float32, clipped to [0, 1].
    """
    gain, offset = rng.uniform(-0.5, 0.5, size=2).astype(np.float32) * np.float32(difference)
    pair = a * (1 + gain) + offset / 2, b * (1 - gain) - offset / 2
    return pair[0].clip(0, 1), pair[1].clip(0, 1)


def jitter(
    images: Sequence[np.ndarray], strength: float, kinds: Sequence[str], rng: np.random.Generator
) -> list[np.ndarray]:
    """gain * image ** gamma + offset, clipped to [0, 1]: one random choice for all images of a sample.

    Args:
        images: sources and truth of one sample, (H, W) float32 in [0, 1]; NaN stays NaN.
        strength: gain lies in 1 -+ strength, gamma in 2 ** -+strength, offset in -+strength / 2.
        kinds: which of 'gain', 'gamma' and 'offset' are applied; all three are drawn in any case.
    """
    draws = {kind: np.float32(rng.uniform(-strength, strength)) for kind in JITTER_KINDS}
    gain, gamma, offset = (draws[kind] if kind in kinds else np.float32(0) for kind in JITTER_KINDS)
    return [((1 + gain) * np.power(image, np.exp2(gamma)) + offset / 2).clip(0, 1) for image in images]


def passer_by(images: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """A hot object before a scene: one or two upright figures or low boxes, dark or pale in the visible image.

    Args:
        images: the infrared image and one or more visible images of the scene, (H, W) float32 in [0, 1].
        rng: source of all randomness.
    Returns:
        all images with the object, and a mask (H, W) float32: 1 more than 6 pixels away from it, else 0.
    """
    height, width = images[0].shape
    inside = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 3)):
        tall = rng.uniform(0.06, 0.5) * min(height, width)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if rng.random() < 0.7:
            limbs = [((x, y), (0.16 * tall, 0.4 * tall)), ((x, y - 0.48 * tall), (0.11 * tall, 0.13 * tall))]
            for centre, axes in limbs:
                cv2.ellipse(inside, (centre, (2 * axes[0], 2 * axes[1]), rng.uniform(-8, 8)), 1, -1)
        else:
            wide = rng.uniform(0.8, 2.0) * tall
            corners = np.rint([x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2]).astype(int)
            cv2.rectangle(inside, corners[:2].tolist(), corners[2:].tolist(), 1, -1)
    elsewhere = 1 - cv2.dilate(inside, np.ones((13, 13), np.uint8))
    inside = _soft(inside, rng.uniform(0.4, 1.5))
    seen = rng.uniform(0, 0.25) if rng.random() < 0.6 else rng.uniform(0.25, 0.9)
    values = np.float32([rng.uniform(0.7, 1)] + [seen] * (len(images) - 1))
    return [image + inside * (value - image) for image, value in zip(images, values)], elsewhere


def focus_near(image: np.ndarray, near: np.ndarray, radius: float, gaussian: bool = False) -> np.ndarray:
    """An image with the near region sharp and the rest blurred by `radius` pixels.

    Args:
        image: (H, W) or (H, W, 3) in [0, 1].
        near: (H, W) in [0, 1], share of the near region in each pixel.
        radius, gaussian: as in `blur`.
    """
    near = near if image.ndim == 2 else near[..., None]
    return near * image + (1 - near) * blur(image, radius, gaussian)


def focus_far(image: np.ndarray, near: np.ndarray, radius: float, gaussian: bool = False) -> np.ndarray:
    """An image with the far region sharp, and the near region as a blurred layer in front of it.

    Arguments as in `focus_near`.
    """
    near = near if image.ndim == 2 else near[..., None]
    cover = blur(near, radius, gaussian).reshape(near.shape)
    return blur(near * image, radius, gaussian) + (1 - cover) * image


def blur(image: np.ndarray, radius: float, gaussian: bool = False) -> np.ndarray:
    """Defocus of (H, W) or (H, W, 3) by a disc of `radius` pixels, or a Gaussian of the same variance (radius / 2)."""
    if gaussian:
        return cv2.GaussianBlur(image, (0, 0), radius / 2)
    reach = int(np.ceil(radius))
    grid = np.arange(-reach, reach + 1, dtype=np.float32)
    disc = np.clip(radius + 0.5 - np.hypot(grid, grid[:, None]), 0, 1)  # its rim is antialiased
    return cv2.filter2D(image, -1, disc / disc.sum())


def expose(
    image: np.ndarray,
    stops: float,
    response: float = RESPONSE,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """A photograph taken `stops` brighter: scene light is image ** response; clipped and rounded to 8-bit steps.

    Args:
        image: (H, W) or (H, W, 3) values in [0, 1] of a normal exposure; above 1 where that would be clipped.
        stops: each doubles the light; negative for under-exposure.
        response: exponent of the camera response.
        noise: standard deviation of the sensor's noise, as a share of its full well.
        rng: source of the noise; needed unless noise is 0.
    """
    light = np.power(image, response) * np.float32(2.0**stops)
    if noise:
        light = light + np.float32(noise) * rng.standard_normal(image.shape, dtype=np.float32)
    levels = np.rint(np.power(np.clip(light, 0, 1), 1 / response) * 255)
    return (levels / 255).astype(np.float32)


def _gray(image: np.ndarray, caller: str) -> np.ndarray:
    if image.ndim != 2:
        raise ValueError(f"{caller} needs (H, W) luminance, got {image.shape}")
    return np.ascontiguousarray(image, dtype=np.float32)


def _soft(mask: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)


def _random_depth(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random map, (H, W) float32: clouds, a tilted plane, a blob, or the image's own coarse shapes."""
    height, width = image.shape
    kind = rng.choice(["clouds", "plane", "blob", "shapes"])
    clouds = smooth_noise(height, width, rng.integers(3, 9, size=2), rng)
    if kind == "clouds":
        return clouds
    if kind == "shapes":  # real borders of focus follow the objects
        coarse = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.5, 4))
        return rng.choice([-1, 1]).astype(np.float32) * coarse / np.float32(coarse.std() + 1e-3) + clouds
    x = np.linspace(-1, 1, width, dtype=np.float32) - np.float32(rng.uniform(-0.5, 0.5))
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(rng.uniform(-0.5, 0.5))
    wobble = np.float32(rng.uniform(0, 0.3)) * clouds
    if kind == "plane":
        angle = rng.uniform(0, 2 * np.pi)
        return np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y + wobble
    aspect = np.float32(rng.uniform(0.5, 2))
    return wobble - np.hypot(x * aspect, y / aspect)
