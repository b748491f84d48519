"""The colour rules of `adasffuse.images.color` on tensors: (B, 1, H, W) luminance and (B, 3, H, W) RGB in [0, 1]."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.images.color import (
    activity_share,
    channel_offsets,
    chroma_of,
    chroma_terms,
    color_givers,
    fit_gamut,
    hot_spots_kept,
    make_room,
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
    if rule == "exposed":
        y = make_room(y, cb, cr)
    return (y + torch.cat(channel_offsets(*fit_gamut(y, cb, cr)), dim=1)).clamp(0.0, 1.0)


def keep_hot_spots(y: Tensor, functional: Tensor) -> Tensor:
    """`adasffuse.images.color.keep_hot_spots` of luminance (B, 1, H, W) and a source, (B, 1, H, W) or (B, 3, H, W)."""
    if functional.shape[1] == 1:
        neutral = torch.zeros_like(functional)
        return hot_spots_kept(y, functional, neutral, neutral)
    return hot_spots_kept(y, luma(functional), *_chroma(functional))


def _chroma(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Cb and Cr of RGB."""
    return chroma_of(luma(rgb), rgb[:, 0:1], rgb[:, 2:3])


def _mean_chroma(y: Tensor, sources: Sequence[Tensor], rule: str) -> tuple[Tensor, Tensor]:
    """Cb and Cr of the fused image, as `activity_chroma` and `ChromaMean` give them."""
    if rule in ("a", "b"):
        cb, cr = _chroma(sources[0])
        kept = activity_share(y, luma(sources[0]), sources[0].split(1, dim=1)) if rule == "a" else 1
        return kept * cb, kept * cr
    weight, cb, cr = (sum(planes) for planes in zip(*(_weighted_chroma(y, source, rule) for source in sources)))
    weight = weight.clamp(min=_LEAST)
    return cb / weight, cr / weight


def _weighted_chroma(y: Tensor, rgb: Tensor, rule: str) -> list[Tensor]:
    """Weight, weight Cb and weight Cr of a source by rule 'nearest' or 'exposed'; 0 where the whole image is gray."""
    own = luma(rgb)
    apart = F.avg_pool2d(F.pad((y - own).square(), (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    differs = rgb.amax(dim=1, keepdim=True) > rgb.amin(dim=1, keepdim=True)
    colored = differs.to(rgb.dtype).amax(dim=(2, 3), keepdim=True)
    return [colored * term for term in chroma_terms(rule, y, own, *_chroma(rgb), rgb.split(1, dim=1), apart)]
