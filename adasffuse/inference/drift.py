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
import torch
from torch import Tensor

from adasffuse.images.image import Image
from adasffuse.images.levels import expanded, luma_of, row_bands

CELLS = 16  # per side
_DARK, _BRIGHT = 0.03, 0.95  # mean luminance of cells that tell a factor: neither noise nor clipped
_LEAST_CELLS = 32
_ALIKE = 0.9  # least correlation of the cells of two images of one scene
_EXPLAINED = 0.5  # largest share of the mean squared difference between two images that the factor leaves
_FLAT = 1e-3  # standard deviation of cells that show nothing
_SEEN = 1.01  # least factor that anybody sees
_MOST = 2.0  # largest factor between two images; beyond it they are a bracket of exposures
HIGHLIGHTS = 99.9  # percentile of the values that must not be clipped
SAMPLES = 512  # pixels per side, about, in which that is looked for
_LEAST = 1e-12  # instead of a division by zero
_SWITCH = "--keep_brightness (from Python: keep_brightness=True) leaves them as they are"


class Exposure(NamedTuple):
    """How bright an image is, and how much brighter it can be made."""

    cells: np.ndarray  # (16, 16) mean luminance in [0, 1]; 0 where data is missing
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
        cells = np.where(held > 1 - 1e-6, cells, 0)
    step = max(1, min(pixels.shape[:2]) // SAMPLES)
    return Exposure(cells, float(np.percentile(expanded(pixels[::step, ::step]), HIGHLIGHTS)))


def evening_factors(exposures: Sequence[Exposure | None]) -> list[float]:
    """The factor for each image that makes all equally bright; 1 for all where no exposure has drifted.

    Args:
        exposures: None for an image without content, which decides on nothing and gets the factor of the middle image.
    """
    known = [k for k, exposure in enumerate(exposures) if exposure is not None]
    if not known:
        return [1.0] * len(exposures)
    cells = torch.from_numpy(np.stack([exposures[k].cells.ravel() for k in known]).astype(np.float64))[:, None]
    highlights = torch.tensor([[exposures[k].highlights] for k in known], dtype=torch.float64)
    factors, middle = (values[..., 0] for values in factors_and_middle(cells, highlights))
    found = dict(zip(known, factors.tolist()))
    return [found.get(k, float(factors[middle])) for k in range(len(exposures))]


def factors_and_middle(cells: Tensor, highlights: Tensor) -> tuple[Tensor, Tensor]:
    """The factors (S, B) that make S images of B scenes equally bright, and the number of the middle image, (B,).

    An image counts as brighter than the middle one by a factor if that explains most of the difference between their
    cells.  All are brought to their geometric mean, or to less where that would clip highlights that an image holds.
    Where no exposure has drifted the factors are 1.  It can be captured by `torch.export`.

    Args:
        cells: (S, B, N) mean luminance in [0, 1]; 0 where data is missing.
        highlights: (S, B), see `Exposure`.
    """
    middle = cells.sum(dim=2).argsort(dim=0)[len(cells) // 2]  # most like the others
    reference = cells.gather(0, middle[None, :, None].expand(1, -1, cells.shape[2]))
    brighter = _log_factors(cells, reference)
    spread = brighter.amax(dim=0) - brighter.amin(dim=0)
    unclipped = (brighter - highlights.clamp(min=_DARK).log()).amin(dim=0)
    factors = (torch.minimum(brighter.mean(dim=0), unclipped) - brighter).exp()
    drifted = (spread > 0) & (spread.exp() <= _MOST)
    return torch.where(drifted, factors, torch.ones_like(factors)), middle


def _log_factors(cells: Tensor, reference: Tensor) -> Tensor:
    """Logarithm of the factor by which each image is brighter than the reference, (1, B, N); 0 where there is none."""
    telling = (torch.minimum(cells, reference) > _DARK) & (torch.maximum(cells, reference) < _BRIGHT)
    count = telling.sum(dim=2, keepdim=True)
    ratios = (cells.clamp(min=_LEAST) / reference.clamp(min=_LEAST)).log()
    ordered = torch.where(telling, ratios, torch.full_like(ratios, torch.inf)).sort(dim=2).values
    below, above = ((count - 1) // 2).clamp(min=0), count // 2
    found = (ordered.gather(2, below) + ordered.gather(2, above)) / 2  # the median; infinite where no cell tells

    def mean(values: Tensor) -> Tensor:
        return torch.where(telling, values, torch.zeros_like(values)).sum(dim=2, keepdim=True) / count.clamp(min=1)

    one, other = cells - mean(cells), reference - mean(reference)
    variance, of_reference = mean(one.square()), mean(other.square())
    alike = mean(one * other) >= _ALIKE * (variance * of_reference).sqrt()
    root = (found / 2).exp()
    explained = mean((cells / root - reference * root).square()) <= _EXPLAINED * mean((cells - reference).square())
    shown = torch.minimum(variance, of_reference) >= _FLAT**2
    drifted = (count >= _LEAST_CELLS) & (found.abs().exp() >= _SEEN) & shown & alike & explained
    return torch.where(drifted, found, torch.zeros_like(found)).squeeze(2)


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
