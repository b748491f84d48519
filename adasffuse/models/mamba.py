"""Spatial-frequency Mamba block (paper, fusion section): x + Mixer(LN(x)), then x + MLP(LN(x)).

Feature maps are (B, C, H, W) in channels-last memory, which makes them a raster of tokens for the scan without a copy,
and a 1x1 convolution the fastest linear layer.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.models.scan import scan, scan_columns
from adasffuse.models.spectral import SpectralFilter, enlarge, pool

SCAN_ORDERS = ("raster", "bidirectional", "cross")


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mixer(nn.Module):
    """Mamba-2 mixer whose short convolution is a spatial and a frequency branch, added.

    Linear to z, (x, B, C) and dt; (x, B, C) becomes SiLU(depthwise 3x3) + inverse FFT(filter * FFT); SSD scan over the
    raster of pixels; LayerNorm; gate with SiLU(z); linear out.

    Args:
        dim: channels in and out.
        head: head size P; dim * 2 / head heads.
        state: state size N, shared B and C.
        order: 'raster' (row after row); 'bidirectional': half of the heads run backward; 'cross': half of the heads run
            column after column.  All cost the same but for a copy.
        frequency: False leaves the frequency branch out; spatial: False the 3x3 branch.
    Raises:
        ValueError: the heads do not divide the width, or an odd number of heads is to run two ways.
    """

    def __init__(
        self, dim: int, head: int, state: int, order: str = "raster", frequency: bool = True, spatial: bool = True
    ) -> None:
        super().__init__()
        inner = 2 * dim
        if order not in SCAN_ORDERS:
            raise ValueError(f"scan order must be one of {SCAN_ORDERS}, got {order!r}")
        if inner % head:
            raise ValueError(f"head size {head} does not divide the inner width {inner} (twice {dim} channels)")
        self.heads = inner // head
        if order != "raster" and self.heads % 2:
            raise ValueError(f"a {order} scan needs an even number of heads, got {inner} / {head} = {self.heads}")
        if not (frequency or spatial):
            raise ValueError("the mixer needs its spatial branch, its frequency branch or both")
        self.backward_heads = self.heads // 2 if order == "bidirectional" else 0
        self.row_heads = self.heads // 2 if order == "cross" else self.heads  # the others go through columns
        self.state = state
        stacked = inner + 2 * state
        self.to_stacked = nn.Conv2d(dim, stacked, 1, bias=False)
        self.to_gate = nn.Conv2d(dim, inner + self.heads, 1, bias=False)
        self.spatial = nn.Conv2d(stacked, stacked, 3, padding=1, groups=stacked) if spatial else None
        self.frequency = SpectralFilter(stacked) if frequency else None
        # Mamba-2's starting values: A in [1, 16], dt log-uniform in [0.001, 0.1] through the bias, D = 1.
        self.log_A = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        dt = torch.exp(torch.empty(self.heads).uniform_(math.log(1e-3), math.log(1e-1)))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # inverse softplus
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.LayerNorm(inner)
        self.out = nn.Conv2d(inner, dim, 1, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        height, width = u.shape[-2:]
        gate = self.to_gate(u)
        inner = gate.shape[1] - self.heads
        tokens = self._branches(u).permute(0, 2, 3, 1).flatten(1, 2)  # (B, H*W, stacked)
        x, B, C = tokens.split([inner, self.state, self.state], dim=-1)
        z, dt = gate.permute(0, 2, 3, 1).flatten(1, 2).split([inner, self.heads], dim=-1)
        dt = F.softplus(dt.float() + self.dt_bias)
        A = -self.log_A.float().exp()
        y = self._scan(x.unflatten(-1, (self.heads, -1)), dt, A, B, C, width)
        y = self.norm(y.flatten(2)) * F.silu(z)
        return self.out(y.unflatten(1, (height, width)).permute(0, 3, 1, 2))

    def _scan(self, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, width: int) -> Tensor:
        """The heads that go through rows, then those that go through columns."""
        rows = self.row_heads
        if rows == self.heads:
            return scan(x, dt, A, B, C, self.D, self.backward_heads)
        across = scan(x[:, :, :rows], dt[..., :rows], A[:rows], B, C, self.D[:rows])
        down = scan_columns(x[:, :, rows:], dt[..., rows:], A[rows:], B, C, self.D[rows:], width)
        return torch.cat([across, down], dim=2)

    def _branches(self, u: Tensor) -> Tensor:
        """SiLU(3x3) + frequency filter of the stacked (x, B, C)."""
        parts = [F.silu(self.spatial(self.to_stacked(u)))] if self.spatial is not None else []
        if self.frequency is not None:  # pooling commutes with the projection and is cheaper before it
            parts.append(enlarge(self.frequency(self.to_stacked(pool(u)))))
        return sum(parts[1:], parts[0])


class GatedMLP(nn.Module):
    """W3(SiLU(W1 x) * W2 x) on each pixel; W1 and W2 double the width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(dim, 4 * dim, 1, bias=False)  # W1 and W2 in one product
        self.project = nn.Conv2d(2 * dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.expand(x).chunk(2, dim=1)
        return self.project(F.silu(gate) * value)


class SpatialFrequencyMambaBlock(nn.Module):
    """Mixer and gated MLP, each behind a normalisation and beside a skip connection; (B, C, H, W) to the same shape.

    H and W are multiples of the frequency branch's POOL.  Arguments and errors as in `Mixer`.
    """

    def __init__(self, dim: int, **mixer) -> None:
        super().__init__()
        self.mixer_norm = ChannelNorm(dim)
        self.mixer = Mixer(dim, **mixer)
        self.mlp_norm = ChannelNorm(dim)
        self.mlp = GatedMLP(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.mixer_norm(x))
        return x + self.mlp(self.mlp_norm(x))
