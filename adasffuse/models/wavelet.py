"""Adaptive approximate wavelet transform, AdaWAT and AdaIWAT (paper, adaptive wavelet section), two-tap filters.

The four 2-D kernels LL, LH, HL, HH of the paper are outer products of one low-pass and one high-pass filter.
High bands lie channel by channel, three bands each: band k of channel c is map 3c + k, with k = LH, HL, HH
(first letter: filter along the width, second: along the height).  Shapes: B batch, C channels, H x W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.models.precision import wide

_HAAR = 0.5**0.5


class AdaWAT(nn.Module):
    """Analysis: one low and three high half-resolution bands; the filters start as orthonormal Haar and are trained.

    Then the bands are enhanced: low by a depthwise 3x3 convolution of dilation 3, high by a 3x3 convolution over the
    three bands of one channel; both followed by GELU.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.low_pass = nn.Parameter(torch.tensor([_HAAR, _HAAR]))
        self.high_pass = nn.Parameter(torch.tensor([_HAAR, -_HAAR]))
        self.enhance_low = nn.Conv2d(channels, channels, 3, padding=3, dilation=3, groups=channels)
        self.enhance_high = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split and enhance (B, C, H, W), H and W even: low (B, C, H/2, W/2) and high (B, 3C, H/2, W/2).

        Raises:
            ValueError: H or W is odd.
        """
        low, high = self.split(x)
        # float32: oneDNN's bfloat16 weight gradient of a dilated depthwise channels-last convolution is wrong
        # (seen with torch 2.15 on the CPU: single taps off by up to infinity).
        layer = self.enhance_low
        with torch.autocast(low.device.type, enabled=False):
            enhanced = F.conv2d(
                wide(low), wide(layer.weight), wide(layer.bias), padding=3, dilation=3, groups=layer.groups
            )
        return F.gelu(enhanced).to(x.dtype), F.gelu(self.enhance_high(high))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The transform without enhancement; shapes and errors as in `forward`."""
        height, width = x.shape[-2:]
        if height % 2 or width % 2:
            raise ValueError(f"AdaWAT needs even height and width, got {height}x{width}; pad the input first")
        lo, hi, channels = self.low_pass, self.high_pass, x.shape[1]
        bank = [torch.outer(v, u) for v, u in ((lo, lo), (hi, lo), (lo, hi), (hi, hi))]  # v along the height
        kernels = torch.stack(bank).unsqueeze(1)  # (4, 1, 2, 2)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 holds fewer levels than the images
            low = F.conv2d(x, kernels[:1].repeat(channels, 1, 1, 1), stride=2, groups=channels)
            high = F.conv2d(x, kernels[1:].repeat(channels, 1, 1, 1), stride=2, groups=channels)
        return low, high


class AdaIWAT(nn.Module):
    """Synthesis: the transposed operation of `AdaWAT.split` with filters of its own, orthonormal Haar at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.low_pass = nn.Parameter(torch.tensor([_HAAR, _HAAR]))
        self.high_pass = nn.Parameter(torch.tensor([_HAAR, -_HAAR]))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Merge low (B, C, H/2, W/2) and high (B, 3C, H/2, W/2) into (B, C, H, W), in channels-last memory."""
        bands = high.permute(0, 2, 3, 1).unflatten(3, (-1, 3)).movedim(4, 0)  # (3, B, H/2, W/2, C)
        lh, hl, hh = bands.contiguous()  # halves the time of the next steps
        low_w = self._interleave(low.permute(0, 2, 3, 1), lh, dim=1)  # (B, H, W/2, C)
        high_w = self._interleave(hl, hh, dim=1)
        return self._interleave(low_w, high_w, dim=2).permute(0, 3, 1, 2)

    def _interleave(self, low: Tensor, high: Tensor, dim: int) -> Tensor:
        pair = [self.low_pass[i] * low + self.high_pass[i] * high for i in (0, 1)]
        return torch.stack(pair, dim=dim + 1).flatten(dim, dim + 1)
