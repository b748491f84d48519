"""Frequency branch of the mixer (paper, spatial-frequency Mamba block): a learned 2-D filter applied between FFTs.

The 3x3 branch beside it covers fine detail, so this one works at a coarser scale: the input is averaged over POOL x
POOL pixels, transformed, filtered, transformed back and enlarged bilinearly, at 1/POOL^2 of the cost of a full-size
transform.  Each channel's transfer function is a weighted sum of shared basis functions of the frequency f (in cycles
per pooled pixel), so one set of weights serves any image size:

    H_c(f) = sum_k w_ck R_i(|f|) Y_j(angle f),   R_i = exp(-(|f| / f_i)^2),  Y = 1, cos 2a, sin 2a, i cos a, i sin a

f_i shrinks geometrically, which makes the filter finer near zero frequency (reach up to REACH pooled pixels).  Even
terms are real and odd ones imaginary: H is Hermitian, so a real image stays real.  Weights start at zero.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POOL = 4  # pixels per side that are averaged before the transform
CUTOFFS = (0.5, 0.25, 0.125, 0.0625)  # f_i, cycles per pooled pixel; 0.5 is the pooled grid's own limit
REACH = 8  # pooled pixels of mirrored border on each side; beyond it a basis filter is below 5 % of its peak


class SpectralFilter(nn.Module):
    """Per-channel 2-D filter of a pooled grid (B, C, h, w), to the same shape and dtype; borders continue mirrored."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 5 * len(CUTOFFS)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) of any size to the same shape and dtype."""
        height, width = x.shape[-2:]
        top, left = min(REACH, height), min(REACH, width)
        size = (_fast_length(height + 2 * top), _fast_length(width + 2 * left))
        wide = torch.promote_types(x.dtype, torch.float32)  # type of the transforms
        with torch.autocast(x.device.type, enabled=False):
            rows = _mirror(x.permute(0, 2, 3, 1), top, size[0], dim=1)  # channels last, so that whole pixels are copied
            padded = _mirror(rows, left, size[1], dim=2).permute(0, 3, 1, 2)
            padded = padded.to(wide, memory_format=torch.contiguous_format)
            out = torch.fft.irfft2(torch.fft.rfft2(padded) * self.response(size, wide), s=size)
        return out[..., top : top + height, left : left + width].to(x.dtype)

    def response(self, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Complex transfer function (C, size[0], size[1] // 2 + 1) on the grid of `rfft2`, parts of type `dtype`."""
        even, odd = spectral_basis(size, self.weight.device, dtype)
        weight = self.weight.to(dtype)
        real = weight[:, : len(even)] @ even.flatten(1)
        imaginary = weight[:, len(even) :] @ odd.flatten(1)
        return torch.complex(real, imaginary).unflatten(1, even.shape[1:])


def pool(x: Tensor) -> Tensor:
    """Means over POOL x POOL pixels: (B, C, H, W), H and W multiples of POOL, to (B, C, H/POOL, W/POOL)."""
    return F.avg_pool2d(x, POOL)


def enlarge(x: Tensor) -> Tensor:
    """Bilinear enlargement, the way back from `pool`: (B, C, h, w) to (B, C, h * POOL, w * POOL)."""
    return F.interpolate(x.contiguous(memory_format=torch.channels_last), scale_factor=POOL, mode="bilinear")


def spectral_basis(
    size: tuple[int, int], device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Even (3n, H, W//2 + 1) and odd (2n, H, W//2 + 1) basis functions on the grid of `rfft2`, n = len(CUTOFFS).

    Functions odd in a frequency are zero in its Nyquist row or column, where f and -f coincide.
    """
    fy = torch.fft.fftfreq(size[0], device=device, dtype=dtype)[:, None]
    fx = torch.fft.rfftfreq(size[1], device=device, dtype=dtype)
    return basis_of(fy, fx, _without_nyquist(fy, size[0]), _without_nyquist(fx, size[1]))


def basis_of(fy: Tensor, fx: Tensor, odd_y: Tensor, odd_x: Tensor) -> tuple[Tensor, Tensor]:
    """The basis functions of `spectral_basis` at frequencies fy (h, 1) and fx (w,), (3n, h, w) and (2n, h, w).

    Args:
        odd_y, odd_x: the same frequencies, with 0 for the Nyquist frequency.
    """
    x2, y2 = fx.square(), fy.square()
    radius2 = x2 + y2
    cutoff2 = torch.tensor(CUTOFFS, device=fx.device, dtype=fx.dtype).square()[:, None, None]
    radial, sum2 = torch.exp(-radius2 / cutoff2), radius2 + cutoff2  # (n, H, W//2 + 1)
    # cos 2a and sin 2a of a direction jump at zero frequency; |f|^2 / (|f|^2 + f_i^2) makes them smooth there.
    soft, slope = radial / sum2, radial * sum2.rsqrt()
    even = torch.stack([radial, soft * (x2 - y2), soft * (2 * odd_x * odd_y)], dim=1)
    odd = torch.stack([slope * odd_x, slope * odd_y], dim=1)
    return even.flatten(0, 1), odd.flatten(0, 1)


def _without_nyquist(frequency: Tensor, length: int) -> Tensor:
    return torch.where(frequency.abs() * 2 * length >= length, 0.0, frequency)


def _mirror(x: Tensor, before: int, total: int, dim: int) -> Tensor:
    """Extend dimension `dim` to `total` samples by half-sample reflection, `before` of them in front."""
    length = x.shape[dim]
    index = torch.arange(-before, total - before, device=x.device) % (2 * length)
    return x.index_select(dim, torch.where(index < length, index, 2 * length - 1 - index))


def _fast_length(n: int) -> int:
    """Smallest even length >= n whose only prime factors are 2, 3 and 5; not by SciPy, which stops `torch.compile`."""
    length = n + n % 2
    while not _is_product_of_2_3_5(length):
        length += 2
    return length


def _is_product_of_2_3_5(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1
