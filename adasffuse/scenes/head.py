"""A rendered slice through a head as CT, MRI, PET and SPECT might show it.  No patient, no instrument."""

import cv2
import numpy as np

from adasffuse.images.write import quantise
from adasffuse.scenes.texture import smooth_noise

_PET_MAP = ((0, 0, 0), (20, 10, 120), (0, 110, 230), (0, 190, 120), (150, 220, 0), (250, 200, 0), (240, 50, 0))
_SPECT_MAP = ((0, 0, 0), (45, 10, 90), (120, 25, 130), (200, 60, 90), (245, 130, 30), (255, 210, 90), (255, 250, 210))


def head(seed: int, size: int = 256) -> dict[str, np.ndarray]:
    """One simulated slice through a head as CT, MRI, PET and SPECT might show it, registered.

    Args:
        seed: picks folds of the cortex, position and size of a lesion.
        size: height and width in pixels.
    Returns:
        uint8 images: 'CT' and 'MRI' (size, size) gray, 'PET' and 'SPECT' (size, size, 3) in a rainbow-like and a
        purple-orange colour map on black.
    """
    rng = np.random.default_rng(seed)
    tissue, lesion = _tissues(rng, size)
    t2 = seed % 2  # every other slice has bright fluid
    ct = _image(tissue, scalp=0.32, skull=1.0, fluid=0.22, gray=0.42, white=0.37) + 0.5 * np.roll(lesion, size // 4, 1)
    fluid, gray, white = (0.95, 0.6, 0.38) if t2 else (0.1, 0.42, 0.72)
    mri = _image(tissue, scalp=0.8, skull=0.05, fluid=fluid, gray=gray, white=white) + 0.35 * lesion
    activity = _image(tissue, scalp=0.08, skull=0.04, fluid=0.05, gray=0.85, white=0.35)
    uptake = activity * (1 + 0.12 * smooth_noise(size, size, (6, 6), rng)) + 0.6 * lesion
    return {
        "CT": _noisy(cv2.GaussianBlur(ct, (0, 0), 0.9), 0.01, rng),
        "MRI": _noisy(cv2.GaussianBlur(mri, (0, 0), 0.6), 0.015, rng),
        "PET": _colored(cv2.GaussianBlur(uptake, (0, 0), size / 75), _PET_MAP),
        "SPECT": _colored(cv2.GaussianBlur(uptake, (0, 0), size / 40), _SPECT_MAP),
    }


def _tissues(rng: np.random.Generator, size: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Masks of scalp, skull, fluid, gray and white matter, and a lesion's weights in [0, 1]."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    wobble = 0.012 * smooth_noise(size, size, (6, 6), rng)
    radius = np.hypot(x / (0.74 + 0.05 * y), y / 0.92) + wobble  # 1 at the skin
    folds = smooth_noise(size, size, (17, 17), rng)
    folds = folds + 0.8 * folds[:, ::-1]  # the two halves resemble each other
    brain = radius < 0.82
    sulci = (np.abs(folds) < 0.16) & (radius > 0.48 + 0.08 * smooth_noise(size, size, (9, 9), rng))
    fissure = (np.abs(x + 0.5 * wobble) < 0.012) & (np.abs(y) > 0.28)
    ventricles = np.hypot((np.abs(x) - 0.1 - 0.25 * np.abs(y)) / 0.06, y / 0.3) < 1
    fluid = (radius < 0.86) & (~brain | sulci | fissure | ventricles)
    depth = cv2.distanceTransform((brain & ~(sulci | fissure)).astype(np.uint8), cv2.DIST_L2, 5)
    nuclei = np.hypot((np.abs(x) - 0.25) / 0.09, (y - 0.06) / 0.16) < 1
    gray = brain & ~fluid & ((depth < size / 55) | nuclei)
    masks = {
        "scalp": (radius < 1) & (radius >= 0.95),
        "skull": (radius < 0.95) & (radius >= 0.86),
        "fluid": fluid,
        "gray": gray,
        "white": brain & ~fluid & ~gray,
    }
    spot = np.hypot(x + rng.uniform(0.22, 0.34), y - rng.uniform(-0.35, 0.35)) + wobble
    return masks, np.clip((rng.uniform(0.08, 0.13) - spot) / 0.02, 0, 1)


def _image(tissue: dict[str, np.ndarray], **values: float) -> np.ndarray:
    return sum(tissue[name] * np.float32(value) for name, value in values.items())


def _colored(values: np.ndarray, color_map: tuple) -> np.ndarray:
    """RGB uint8 of values in [0, 1] by linear interpolation in a colour map."""
    steps = np.linspace(0, 1, len(color_map))
    channels = [np.interp(values, steps, channel) for channel in zip(*color_map)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _noisy(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """uint8 of an image in [0, 1] with Gaussian noise."""
    image = image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    return quantise(image, "8")
