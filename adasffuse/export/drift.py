"""The rule of `adasffuse.images.drift` on tensors: S sources, (B, 1 or 3, H, W) in [0, 1], each sample by itself."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.export.color import luma
from adasffuse.images.drift import (
    ALIKE,
    BRIGHT,
    CELLS,
    DARK,
    EXPLAINED,
    FLAT,
    HIGHLIGHTS,
    LEAST_CELLS,
    MOST,
    SAMPLES,
    SEEN,
)

_LEAST = 1e-12  # instead of a division by zero


def equally_bright(sources: Sequence[Tensor]) -> list[Tensor]:
    """Sources without drift of their exposure, as `adasffuse.images.drift.equally_bright` makes images.

    Flat sources have a share in the mean brightness.  Highlights are looked for in the pixels of a grid.
    """
    factors = evening_factors(torch.stack([_cell_means(luma(one)) for one in sources]), _highlights(sources))
    return [(one * factor[:, None, None, None]).clamp(max=1.0) for one, factor in zip(sources, factors)]


def evening_factors(cells: Tensor, highlights: Tensor) -> Tensor:
    """The factor for each source that makes all equally bright, (S, B).

    Args:
        cells: (S, B, N) mean luminance.
        highlights: (S, B), nearly all values are at most that.
    """
    middle = cells.sum(dim=2).argsort(dim=0)[len(cells) // 2]  # (B,)
    reference = cells.gather(0, middle[None, :, None].expand(1, -1, cells.shape[2]))
    brighter = _log_factors(cells, reference)
    spread = brighter.amax(dim=0) - brighter.amin(dim=0)
    unclipped = (brighter - highlights.clamp(min=DARK).log()).amin(dim=0)
    factors = (torch.minimum(brighter.mean(dim=0), unclipped) - brighter).exp()
    drifted = (spread > 0) & (spread.exp() <= MOST)
    return torch.where(drifted, factors, torch.ones_like(factors))


def _log_factors(cells: Tensor, reference: Tensor) -> Tensor:
    """Logarithm of the factor by which each source is brighter than the reference, (1, B, N); 0 where there is none."""
    telling = (torch.minimum(cells, reference) > DARK) & (torch.maximum(cells, reference) < BRIGHT)
    count = telling.sum(dim=2, keepdim=True)
    ratios = (cells.clamp(min=_LEAST) / reference.clamp(min=_LEAST)).log()
    ordered = torch.where(telling, ratios, torch.full_like(ratios, torch.inf)).sort(dim=2).values
    below, above = ((count - 1) // 2).clamp(min=0), count // 2
    found = (ordered.gather(2, below) + ordered.gather(2, above)) / 2  # the median; infinite where no cell tells

    def mean(values: Tensor) -> Tensor:
        return torch.where(telling, values, torch.zeros_like(values)).sum(dim=2, keepdim=True) / count.clamp(min=1)

    one, other = cells - mean(cells), reference - mean(reference)
    variance, of_reference = mean(one.square()), mean(other.square())
    alike = mean(one * other) >= ALIKE * (variance * of_reference).sqrt()
    root = (found / 2).exp()
    explained = mean((cells / root - reference * root).square()) <= EXPLAINED * mean((cells - reference).square())
    shown = torch.minimum(variance, of_reference) >= FLAT**2
    drifted = (count >= LEAST_CELLS) & (found.abs().exp() >= SEEN) & shown & alike & explained
    return torch.where(drifted, found, torch.zeros_like(found)).squeeze(2)


def _cell_means(y: Tensor) -> Tensor:
    """Means of CELLS x CELLS parts of (B, 1, H, W), (B, CELLS^2): pixels on an edge count by their share."""
    rows, columns = (_shares(side, y) for side in y.shape[2:])
    return (rows @ y @ columns.mT).flatten(1)


def _shares(side: int, like: Tensor) -> Tensor:
    """(CELLS, side): the share of each pixel of a row in the mean of each cell."""
    edges = torch.arange(CELLS + 1, dtype=like.dtype, device=like.device)[:, None] * (side / CELLS)
    pixels = torch.arange(side, dtype=like.dtype, device=like.device)
    covered = torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)
    return covered.clamp(min=0) * (CELLS / side)


def _highlights(sources: Sequence[Tensor]) -> Tensor:
    """(S, B): HIGHLIGHTS percent of the values of each source are at most that."""
    found = []
    for one in sources:
        values = F.interpolate(one, size=(SAMPLES, SAMPLES), mode="nearest").flatten(1)
        count = max(1, round(values.shape[1] * (1 - HIGHLIGHTS / 100)))
        found.append(values.topk(count, dim=1).values[:, -1])
    return torch.stack(found)
