"""The rule of `adasffuse.inference.drift` on tensors: S sources, (B, 1 or 3, H, W) in [0, 1], each sample by itself."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.export.color import luma
from adasffuse.inference.drift import CELLS, HIGHLIGHTS, SAMPLES, factors_and_middle


def equally_bright(sources: Sequence[Tensor]) -> list[Tensor]:
    """Sources without drift of their exposure, as `adasffuse.inference.drift.equally_bright` makes images.

    Flat sources have a share in the mean brightness.  Highlights are looked for in the pixels of a grid.
    """
    factors, _ = factors_and_middle(torch.stack([_cell_means(luma(one)) for one in sources]), _highlights(sources))
    return [(one * factor[:, None, None, None]).clamp(max=1.0) for one, factor in zip(sources, factors)]


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
