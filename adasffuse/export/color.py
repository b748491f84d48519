"""The colour rules of `adasffuse.images.color` on tensors: (B, 1, H, W) luminance and (B, 3, H, W) RGB in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adasffuse.images.color import (
    BRIGHT,
    CB_SCALE,
    CR_SCALE,
    G_FROM_CB,
    G_FROM_CR,
    LEAST_CHROMA,
    LEAST_LUMA,
    MOST_BLUE,
    STRUCTURE,
    WARM,
)

_LEAST = 1e-12  # instead of a division by zero


def luma(source: Tensor) -> Tensor:
    """Y of BT.601, (B, 1, H, W), of a source in [0, 1]: (B, 1, H, W), which it is itself, or (B, 3, H, W)."""
    if source.shape[1] == 1:
        return source
    return 0.299 * source[:, 0:1] + 0.587 * source[:, 1:2] + 0.114 * source[:, 2:3]


def fused_color(y: Tensor, sources: Sequence[Tensor], rule: str) -> Tensor:
    """The fused image, (B, 3, H, W) in [0, 1]: fused luminance with the sources' chroma, out of gamut shrunk.

    As `rebuild_color`; luminance is not rounded to levels.

    Args:
        y: (B, 1, H, W) fused luminance in [0, 1].
        sources: those that the rule takes chroma from are RGB, (B, 3, H, W).
        rule: 'a' (the first source), 'b' (the others) or 'weighted' (all).
    """
    used = {"a": sources[:1], "b": sources[1:], "weighted": sources}[rule]
    cb, cr = _weighted_chroma([_chroma(source) for source in used])
    red, green, blue = _offsets(cb, cr)
    highest = torch.maximum(torch.maximum(red, green), blue).clamp(min=_LEAST)
    lowest = torch.minimum(torch.minimum(red, green), blue).clamp(max=-_LEAST)
    scale = torch.minimum((1 - y) / highest, y / -lowest).clamp(max=1)
    return (y + scale * torch.cat([red, green, blue], dim=1)).clamp(0.0, 1.0)


def keep_hot_spots(y: Tensor, functional: Tensor) -> Tensor:
    """`adasffuse.images.color.keep_hot_spots` of luminance (B, 1, H, W) and a source, (B, 1, H, W) or (B, 3, H, W)."""
    own = luma(functional)
    darkest, brightest = float(LEAST_LUMA) * own * _ramp(own, BRIGHT), torch.ones_like(y)
    if functional.shape[1] == 3:
        cb, cr = _chroma(functional)
        warm = float(LEAST_CHROMA) * _ramp(cr - cb.clamp(0.0, float(MOST_BLUE)), WARM)
        red, green, blue = _offsets(cb, cr)
        darkest = torch.maximum(-warm * torch.minimum(torch.minimum(red, green), blue), darkest)
        brightest = 1 - warm * torch.maximum(torch.maximum(red, green), blue)
    limited = torch.minimum(torch.maximum(y, darkest), brightest)
    return limited + float(STRUCTURE) * (y - limited)


def _chroma(rgb: Tensor) -> tuple[Tensor, Tensor]:
    y = luma(rgb)
    return (rgb[:, 2:3] - y) / float(CB_SCALE), (rgb[:, 0:1] - y) / float(CR_SCALE)


def _offsets(cb: Tensor, cr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """R, G and B less Y."""
    return float(CR_SCALE) * cr, -float(G_FROM_CB) * cb - float(G_FROM_CR) * cr, float(CB_SCALE) * cb


def _weighted_chroma(chroma: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Mean of (Cb, Cr) points weighted by their distance from neutral; one source alone keeps its own."""
    if len(chroma) == 1:
        return chroma[0]
    weights = [(cb.square() + cr.square()).sqrt() for cb, cr in chroma]
    total = sum(weights).clamp(min=_LEAST)
    cb, cr = (sum(w * points[i] for w, points in zip(weights, chroma)) / total for i in (0, 1))
    return cb, cr


def _ramp(x: Tensor, ends: tuple[float, float]) -> Tensor:
    """0 up to the first end, 1 from the second on."""
    low, high = ends
    return ((x - low) / (high - low)).clamp(0.0, 1.0)
