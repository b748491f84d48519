"""Exposure that drifted between images which ought to be equally bright, such as focus settings: found and evened out.

Cameras in automatic mode, flickering lamps and the changing aperture of a macro lens make one focus setting brighter
than the next.  Blur keeps the mean of a region, so means over large cells tell by which factor.  Fused as they are,
such images give blotches where the result changes from one to the other.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from adasffuse.images.image import Image
from adasffuse.images.levels import expanded, luma_of, row_bands

CELLS = 16  # per side
DARK, BRIGHT = 0.03, 0.95  # mean luminance of cells that tell a factor: neither noise nor clipped
LEAST_CELLS = 32
ALIKE = 0.9  # least correlation of the cells of two images of one scene
EXPLAINED = 0.5  # largest share of the mean squared difference between two images that the factor leaves
FLAT = 1e-3  # standard deviation of cells that show nothing
SEEN = 1.01  # least factor that anybody sees
MOST = 2.0  # largest factor between two images; beyond it they are a bracket of exposures
HIGHLIGHTS = 99.9  # percentile of the values that must not be clipped
SAMPLES = 512  # pixels per side, about, in which that is looked for
_SWITCH = "--keep_brightness (from Python: keep_brightness=True) leaves them as they are"


class Exposure(NamedTuple):
    """How bright an image is, and how much brighter it can be made."""

    cells: np.ndarray  # (16, 16) mean luminance in [0, 1]; NaN where data is missing
    highlights: float  # in [0, 1]: nearly all values of all channels are at most that


def equally_bright(images: Sequence[Image], contents: Sequence[float]) -> tuple[list[Image], list[str]]:
    """Images without drift of their exposure, and what a user should know of it.

    Args:
        images: of one height and width, float32 in [0, 1] or levels.
        contents: `adasffuse.images.content.measure_content` of each; flat frames tell nothing of exposure.
    """
    factors = evening_factors(
        [measure_exposure(image) if amount > 0 else None for image, amount in zip(images, contents)]
    )
    return [scale_brightness(image, factor) for image, factor in zip(images, factors)], drift_notices(factors)


def measure_exposure(image: Image) -> Exposure:
    """How bright an image, float32 in [0, 1] or levels, is."""
    pixels, valid = image.pixels, image.valid
    cells = cv2.resize(luma_of(pixels), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    if valid is not None:
        held = cv2.resize(valid.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        cells = np.where(held > 1 - 1e-6, cells, np.nan)
    step = max(1, min(pixels.shape[:2]) // SAMPLES)
    return Exposure(cells, float(np.percentile(expanded(pixels[::step, ::step]), HIGHLIGHTS)))


def evening_factors(exposures: Sequence[Exposure | None]) -> list[float]:
    """The factor for each image that makes all equally bright; 1 for all where no exposure has drifted.

    An image counts as brighter than another by a factor if that explains most of the difference between their cells.
    All are brought to their geometric mean, or to less where that would clip highlights that an image holds.

    Args:
        exposures: None for an image without content, which decides on nothing and gets the factor of the middle image.
    """
    known = [k for k, exposure in enumerate(exposures) if exposure is not None]
    if not known:
        return [1.0] * len(exposures)
    order = np.argsort([np.nansum(exposures[k].cells) for k in known])  # one in the middle is most like the others
    reference = exposures[known[order[len(known) // 2]]].cells
    brighter = np.zeros(len(exposures))  # logarithm of the factor by which each is brighter than the reference
    for k in known:
        brighter[k] = _log_factor(exposures[k].cells, reference)
    if not brighter.any() or np.ptp(brighter[known]) > np.log(MOST):
        return [1.0] * len(exposures)
    unclipped = min(brighter[k] - np.log(max(exposures[k].highlights, DARK)) for k in known)
    target = min(brighter[known].mean(), unclipped)
    return [float(factor) for factor in np.exp(target - brighter)]


def _log_factor(cells: np.ndarray, reference: np.ndarray) -> float:
    """Logarithm of the factor by which an image is brighter than another one; 0 where no factor explains them.

    Args:
        cells, reference: `Exposure.cells` of both.
    """
    with np.errstate(invalid="ignore"):
        telling = (np.minimum(cells, reference) > DARK) & (np.maximum(cells, reference) < BRIGHT)
    if telling.sum() < LEAST_CELLS:
        return 0.0
    one, other = cells[telling], reference[telling]
    factor = np.exp(np.median(np.log(one / other)))
    if max(factor, 1 / factor) < SEEN or min(one.std(), other.std()) < FLAT or np.corrcoef(one, other)[0, 1] < ALIKE:
        return 0.0
    before, after = one - other, (one / np.sqrt(factor)) - other * np.sqrt(factor)
    explained = np.mean(after**2) <= EXPLAINED * np.mean(before**2)
    return float(np.log(factor)) if explained else 0.0


def scale_brightness(image: Image, factor: float) -> Image:
    """An image, float32 in [0, 1] or levels, times a factor, clipped at white; the image itself for 1."""
    if factor == 1:
        return image
    pixels = np.empty_like(image.pixels)
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    for rows in row_bands(pixels.shape):
        values = image.pixels[rows] * np.float32(factor)
        np.minimum(values, white, out=values)
        pixels[rows] = np.rint(values) if white != 1 else values
    return replace(image, pixels=pixels)


def drift_notices(factors: Sequence[float]) -> list[str]:
    """What a user should know of the factors that evened images out."""
    ratio = max(factors, default=1) / min(factors, default=1)
    if ratio == 1:
        return []
    return [f"exposure differs by {ratio - 1:.0%} from image to image; all were made equally bright; {_SWITCH}"]
