"""Spatial-frequency Mamba block (paper, fusion section): x + Mixer(LN(x)), then x + MLP(LN(x)).

Feature maps are (B, C, H, W) in channels-last memory, which makes them a raster of tokens for the scan without a copy,
and a 1x1 convolution the fastest linear layer.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.models.precision import wide
from adasffuse.models.spectral import SpectralFilter, enlarge, pool
from adasffuse.models.ssd import scan

SCAN_ORDERS = ("raster", "bidirectional")


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mixer(nn.Module):
    """Mamba-2 mixer whose short convolution is a spatial and a frequency branch, added.

    Linear to z, xBC = (x, B, C) and dt; xBC becomes SiLU(depthwise 3x3) + inverse FFT(filter * FFT); SSD scan over the
    raster of pixels; LayerNorm; gate with SiLU(z); linear out.

    Args:
        dim: channels in and out.
        head_dim: head size P; dim * 2 / head_dim heads.
        d_state: state size N, shared B and C.
        order: 'raster' (row after row); 'bidirectional': half of the heads run backward, at the same cost.
    Raises:
        ValueError: head_dim does not divide 2 * dim, or a bidirectional scan has an odd number of heads.
    """

    def __init__(self, dim: int, head_dim: int, d_state: int, order: str = "raster") -> None:
        super().__init__()
        inner = 2 * dim
        if order not in SCAN_ORDERS:
            raise ValueError(f"scan order must be one of {SCAN_ORDERS}, got {order!r}")
        if inner % head_dim:
            raise ValueError(f"head size {head_dim} does not divide the inner width {inner} (twice {dim} channels)")
        self.heads = inner // head_dim
        if order == "bidirectional" and self.heads % 2:
            raise ValueError(f"a {order} scan needs an even number of heads, got {inner} / {head_dim} = {self.heads}")
        self.backward_heads = self.heads // 2 if order == "bidirectional" else 0
        self.d_state = d_state
        stacked = inner + 2 * d_state
        self.xBC_proj = nn.Conv2d(dim, stacked, 1, bias=False)
        self.z_dt_proj = nn.Conv2d(dim, inner + self.heads, 1, bias=False)
        self.spatial = nn.Conv2d(stacked, stacked, 3, padding=1, groups=stacked)
        self.frequency = SpectralFilter(stacked)
        self.A_log = nn.Parameter(torch.empty(self.heads))
        self.dt_bias = nn.Parameter(torch.empty(self.heads))
        self.D = nn.Parameter(torch.ones(self.heads))
        self._start()
        self.norm = nn.LayerNorm(inner)
        self.out_proj = nn.Conv2d(inner, dim, 1, bias=False)

    @torch.no_grad()
    def _start(self) -> None:
        """Mamba-2's starting values: A in [1, 16], dt log-uniform in [0.001, 0.1] through the bias, D = 1."""
        if self.A_log.is_meta:  # no values to set, and arithmetic would import PyTorch's compiler: seconds, 0.1 GiB
            return
        self.A_log.uniform_(1, 16).log_()
        dt = self.dt_bias.uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse softplus

    def forward(self, u: Tensor) -> Tensor:
        """(B, dim, H, W), H and W multiples of the frequency branch's POOL, to the same shape."""
        height, width = u.shape[-2:]
        inner = self.norm.normalized_shape[0]
        xBC = self._branches(u).permute(0, 2, 3, 1).flatten(1, 2)  # (B, H*W, stacked)
        x, B, C = xBC.split([inner, self.d_state, self.d_state], dim=-1)
        z, dt = self.z_dt_proj(u).permute(0, 2, 3, 1).flatten(1, 2).split([inner, self.heads], dim=-1)
        dt = F.softplus(wide(dt) + wide(self.dt_bias))  # decays are summed over many pixels
        A = -wide(self.A_log).exp()
        y = scan(x.unflatten(-1, (self.heads, -1)), dt, A, B, C, self.D, self.backward_heads)
        y = self.norm(y.flatten(2)) * F.silu(z.contiguous())  # silu takes twice as long on a strided tensor
        return self.out_proj(y.unflatten(1, (height, width)).permute(0, 3, 1, 2))

    def _branches(self, u: Tensor) -> Tensor:
        """SiLU(3x3) + frequency filter of the stacked xBC, (B, stacked, H, W)."""
        spatial = F.silu(self.spatial(self.xBC_proj(u)))
        pooled = self.xBC_proj(pool(u))  # pooling commutes with the projection and is cheaper before it
        return spatial + enlarge(self.frequency(pooled))


class GatedMLP(nn.Module):
    """W3(SiLU(W1 x) * W2 x) on each pixel; W1 and W2 double the width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(dim, 4 * dim, 1, bias=False)  # W1 and W2 in one product
        self.project = nn.Conv2d(2 * dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to the same shape."""
        gate, value = self.expand(x).chunk(2, dim=1)
        gate = gate.contiguous(memory_format=torch.channels_last)  # silu takes twice as long on a strided tensor
        return self.project(F.silu(gate) * value)


class SpatialFrequencyMambaBlock(nn.Module):
    """Mixer and gated MLP, each behind a normalisation and beside a skip connection; (B, C, H, W) to the same shape.

    H and W are multiples of the frequency branch's POOL.  Arguments and errors as in `Mixer`.
    """

    def __init__(self, dim: int, head_dim: int, d_state: int, order: str = "raster") -> None:
        super().__init__()
        self.mixer_norm = ChannelNorm(dim)
        self.mixer = Mixer(dim, head_dim, d_state, order)
        self.mlp_norm = ChannelNorm(dim)
        self.mlp = GatedMLP(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to the same shape."""
        x = x + self.mixer(self.mixer_norm(x))
        return x + self.mlp(self.mlp_norm(x))
