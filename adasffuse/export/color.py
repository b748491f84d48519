"""The colour rules of `adasffuse.images.color` on tensors: (B, 1, H, W) luminance and (B, 3, H, W) RGB in [0, 1]."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.images.color import (
    BRIGHT,
    CB_SCALE,
    CLIPPED,
    CR_SCALE,
    DARKEST,
    EXPOSED,
    FAINT,
    FOCAL,
    G_FROM_CB,
    G_FROM_CR,
    GROWTH,
    LEAST_CHROMA,
    LEAST_LUMA,
    LEAST_TOLD,
    MOST_BLUE,
    NEAREST,
    STRUCTURE,
    TINTED,
    TINTED_BRIGHT,
    UNLIT,
    WARM,
    color_givers,
)

_LEAST = 1e-12  # instead of a division by zero


def luma(source: Tensor) -> Tensor:
    """Y of BT.601, (B, 1, H, W), of a source in [0, 1]: (B, 1, H, W), which it is itself, or (B, 3, H, W)."""
    if source.shape[1] == 1:
        return source
    return 0.299 * source[:, 0:1] + 0.587 * source[:, 1:2] + 0.114 * source[:, 2:3]


def fused_color(y: Tensor, sources: Sequence[Tensor], rule: str) -> Tensor:
    """The fused image, (B, 3, H, W) in [0, 1]: fused luminance with the sources' chroma.

    As `rebuild_color`; luminance is not rounded to levels.

    Args:
        y: (B, 1, H, W) fused luminance in [0, 1].
        sources: those that the rule takes chroma from are RGB, (B, 3, H, W).
        rule: one of `COLOR_RULES`.
    """
    cb, cr = _mean_chroma(y, color_givers(rule, sources), rule)
    red, green, blue = _offsets(cb, cr)
    highest = torch.maximum(torch.maximum(red, green), blue).clamp(min=_LEAST)
    lowest = torch.minimum(torch.minimum(red, green), blue).clamp(max=-_LEAST)
    if rule == "exposed":
        over = (y + highest - 1).clamp(min=0.0)
        y = y - (y - float(FOCAL)).clamp(min=0.0) * over / (over + 1 - float(FOCAL))
    scale = torch.minimum((1 - y) / highest, y / -lowest).clamp(max=1)
    return (y + scale * torch.cat([red, green, blue], dim=1)).clamp(0.0, 1.0)


def keep_hot_spots(y: Tensor, functional: Tensor) -> Tensor:
    """`adasffuse.images.color.keep_hot_spots` of luminance (B, 1, H, W) and a source, (B, 1, H, W) or (B, 3, H, W)."""
    own = luma(functional)
    bright, darkest, brightest = _ramp(own, BRIGHT), torch.zeros_like(y), torch.ones_like(y)
    if functional.shape[1] == 3:
        cb, cr = _chroma(functional)
        warmth = cr - cb.clamp(0.0, float(MOST_BLUE))
        bright = torch.maximum(bright, _ramp(warmth, TINTED) * _ramp(own, TINTED_BRIGHT))
        least = float(LEAST_CHROMA) * _ramp(warmth, WARM)
        red, green, blue = _offsets(cb, cr)
        darkest = -least * torch.minimum(torch.minimum(red, green), blue)
        brightest = 1 - least * torch.maximum(torch.maximum(red, green), blue)
    darkest = torch.maximum(darkest, float(LEAST_LUMA) * own * bright)
    limited = torch.minimum(torch.maximum(y, darkest), brightest)
    return limited + float(STRUCTURE) * (y - limited)


def _chroma(rgb: Tensor) -> tuple[Tensor, Tensor]:
    y = luma(rgb)
    return (rgb[:, 2:3] - y) / float(CB_SCALE), (rgb[:, 0:1] - y) / float(CR_SCALE)


def _offsets(cb: Tensor, cr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """R, G and B less Y."""
    return float(CR_SCALE) * cr, -float(G_FROM_CB) * cb - float(G_FROM_CR) * cr, float(CB_SCALE) * cb


def _mean_chroma(y: Tensor, sources: Sequence[Tensor], rule: str) -> tuple[Tensor, Tensor]:
    """Cb and Cr of the fused image, as `activity_chroma` and `ChromaMean` give them."""
    if rule == "a":
        cb, cr = _chroma(sources[0])
        told = _ramp(sources[0].amax(dim=1, keepdim=True), FAINT)
        darkest = float(DARKEST)
        kept = torch.maximum(told, ((luma(sources[0]) + darkest) / y.clamp(min=darkest)).clamp(max=1.0))
        return kept * cb, kept * cr
    if rule == "b":
        return _chroma(sources[0])
    terms = [_weighted_chroma(y, source, rule) for source in sources]
    weight, cb, cr = (sum(planes) for planes in zip(*terms))
    weight = weight.clamp(min=_LEAST)
    return cb / weight, cr / weight


def _weighted_chroma(y: Tensor, rgb: Tensor, rule: str) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, weight Cb and weight Cr of a source by rule 'nearest' or 'exposed'; 0 where the whole image is gray."""
    own = luma(rgb)
    cb, cr = _chroma(rgb)
    apart = F.avg_pool2d(F.pad((y - own).square(), (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    differs = rgb.amax(dim=1, keepdim=True) > rgb.amin(dim=1, keepdim=True)
    colored = differs.to(rgb.dtype).amax(dim=(2, 3), keepdim=True)
    if rule == "nearest":
        weight = colored / (apart + NEAREST).square()
        return weight, weight * cb, weight * cr
    told = (_ramp(rgb, CLIPPED).mean(dim=1, keepdim=True) + LEAST_TOLD) * (_ramp(own, UNLIT) + LEAST_TOLD)
    weight = colored * told / (apart + EXPOSED)
    darkest = float(DARKEST)
    grown = weight * (y.clamp(min=darkest) / own.clamp(min=darkest)) ** GROWTH
    return weight, grown * cb, grown * cr


def _ramp(x: Tensor, ends: tuple[float, float]) -> Tensor:
    """0 up to the first end, 1 from the second on."""
    low, high = ends
    return ((x - low) / (high - low)).clamp(0.0, 1.0)
