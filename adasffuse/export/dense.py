"""Parts of the network whose shape depends on the image's size, as matrices: forms that serve any size in one graph.

The package runs a fast Fourier transform of a fast length and a pyramid of as many levels as fit.  A graph for any size
can do neither, so here both are products with matrices that the graph makes from the size.  Their grids are small, a
16th of the tokens and fewer, and the results are the same up to rounding.
"""

import torch
from torch import Tensor, nn

from adasffuse.models.lights import LightLift
from adasffuse.models.reduced import CELL, MULTIPLE, SHORTER, OnReducedCopy, shorter_side
from adasffuse.models.spectral import REACH, SpectralFilter, basis_of
from adasffuse.models.ssd import fresh_size
from adasffuse.models.targets import TargetLift

LONGEST = 1 << 16  # samples of half a transform
PYRAMID_LEVELS = 12  # of pyramids of up to 2 ** 13 cells on the shorter side
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


class DenseSpectralFilter(nn.Module):
    """`SpectralFilter` by discrete Fourier transforms that are matrices, mirrored borders included.

    The length n of a transform is a value, not a shape: matrices have as many rows as the longest that the size may
    need, and what lies beyond n is zero.

    Args:
        layer: gives the weights.
    """

    def __init__(self, layer: SpectralFilter) -> None:
        super().__init__()
        self.weight = layer.weight
        self.register_buffer("fast", smooth_numbers(LONGEST), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) of any size to the same shape and dtype."""
        height, width = x.shape[-2:]
        rows = _Axis(height, self.fast, half=False)
        columns = _Axis(width, self.fast, half=True)
        real, imaginary = self._response(rows, columns)  # (C, K, Q)

        # Along the width: X = x (cos - i sin).  Along the height the four products of the parts, in one.
        along = x.float() @ torch.cat([columns.cos, columns.sin], dim=0).T  # (B, C, h, 2Q)
        both = torch.cat([rows.cos, rows.sin], dim=0) @ along  # (B, C, 2K, 2Q)
        (cc, cs), (sc, ss) = (_halves(part, dim=-1) for part in _halves(both, dim=-2))
        a, b = cc - ss, -(cs + sc)  # real and imaginary part of the spectrum, (B, C, K, Q)
        filtered = torch.cat([a * real - b * imaginary, a * imaginary + b * real], dim=-2)  # (B, C, 2K, Q)
        back = torch.cat(
            [
                torch.cat([rows.cos_back, -rows.sin_back], dim=1),
                torch.cat([rows.sin_back, rows.cos_back], dim=1),
            ],
            dim=0,
        )  # (2h, 2K)
        c, d = _halves(back @ filtered, dim=-2)  # (B, C, h, Q)
        out = torch.cat([c, d], dim=-1) @ torch.cat([columns.cos_back, -columns.sin_back], dim=1).T
        return out.to(x.dtype)

    def _response(self, rows: "_Axis", columns: "_Axis") -> tuple[Tensor, Tensor]:
        """Real and imaginary part of the transfer function, (C, K, Q)."""
        even, odd = basis_of(rows.frequency[:, None], columns.frequency, rows.odd[:, None], columns.odd)
        weight = self.weight.float()
        real = weight[:, : len(even)] @ even.flatten(1)
        imaginary = weight[:, len(even) :] @ odd.flatten(1)
        return real.unflatten(1, even.shape[1:]), imaginary.unflatten(1, even.shape[1:])


def _halves(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """`x.chunk(2, dim)` of an even length, without a guard on it."""
    return x.unflatten(dim, (2, -1)).unbind(dim if dim >= 0 else dim - 1)


class _Axis:
    """Matrices and frequencies of the transform along one side of L samples, as tensors.

    cos, sin (K, L): of the mirrored samples; cos_back, sin_back (L, K): the inverse; frequency, odd (K,): in cycles per
    sample, `odd` with 0 at Nyquist's.  With `half` only frequencies that are not negative, each counted twice where the
    other has its negative.
    """

    def __init__(self, length: int, fast: Tensor, half: bool) -> None:
        device = fast.device
        sample = torch.arange(length, device=device)
        count = torch.full((), length, device=device, dtype=torch.int64)
        border = count.clamp(max=REACH)
        least = (count + 2 * border + 1) // 2
        n = 2 * fast.index_select(0, (fast < least).sum()[None])[0]  # length of the transform, as of `SpectralFilter`
        longest = 2 * fresh_size(longest_half(length))

        place = torch.arange(longest, device=device)  # in the mirrored samples
        turn = (place - border) % (2 * count)
        source = torch.where(turn < count, turn, 2 * count - 1 - turn)
        copied = ((source[:, None] == sample) & (place < n)[:, None]).float()  # (P, L)

        k = torch.arange(longest // 2 + 1 if half else longest, device=device)
        forth = _angles(k[:, None] * place, n)  # (K, P)
        self.cos, self.sin = torch.cos(forth) @ copied, torch.sin(forth) @ copied
        signed = k if half else torch.where(2 * k < n, k, k - n)
        self.frequency = signed.float() / n
        self.odd = torch.where(2 * k == n, 0.0, self.frequency)
        share = (k < n).float()
        if half:
            share = (2 * k <= n).float() + ((k > 0) & (2 * k < n)).float()
        back, share = _angles((sample + border)[:, None] * k, n), share / n
        self.cos_back, self.sin_back = torch.cos(back) * share, torch.sin(back) * share


def _angles(turns: Tensor, n: Tensor) -> Tensor:
    """2 pi turns / n, of integers, which are reduced before they lose digits."""
    return (turns % n).float() * (2 * torch.pi / n)


def longest_half(length: int) -> int:
    """At least half the length of the transform of `length` samples with mirrored borders, without a look at the value.

    The next number without prime factors above 5 is at most 15 / 13 of a number.
    """
    most = (length + 2 * REACH + 1) // 2
    return most + most // 6 + 1


def smooth_numbers(limit: int) -> Tensor:
    """The numbers up to `limit` whose only prime factors are 2, 3 and 5, ascending, int64."""
    digits = range(limit.bit_length())
    numbers = [2**a * 3**b * 5**c for a in digits for b in digits for c in digits if 2**a * 3**b * 5**c <= limit]
    return torch.tensor(sorted(numbers))


def blend_pyramids_dense(images: Tensor, weights: Tensor) -> Tensor:
    """`adasffuse.classical.pyramid.blend_pyramids` of (S, B, 1, h, w) with a fixed number of levels.

    A level is held in the first rows and columns of a tensor of full size.  Where the pyramid has ended, going down and
    up are identities, and such a level adds nothing.
    """
    height, width = images.shape[-2:]
    n = torch.full((), height, device=images.device, dtype=torch.int64)
    m = torch.full((), width, device=images.device, dtype=torch.int64)
    levels = []
    for _ in range(PYRAMID_LEVELS):
        goes_on = torch.minimum(n, m) > 2
        down_y, up_y = _level_matrices(height, n, goes_on)
        down_x, up_x = _level_matrices(width, m, goes_on)
        coarse = down_y @ images @ down_x.T
        levels.append(((weights * (images - up_y @ coarse @ up_x.T)).sum(dim=0), up_y, up_x))
        images, weights = coarse, down_y @ weights @ down_x.T
        n, m = torch.where(goes_on, (n + 1) // 2, n), torch.where(goes_on, (m + 1) // 2, m)
    blended = (weights * images).sum(dim=0)
    for level, up_y, up_x in reversed(levels):
        blended = level + up_y @ blended @ up_x.T
    return blended


def _level_matrices(length: int, n: Tensor, goes_on: Tensor) -> tuple[Tensor, Tensor]:
    """Down to the coarser level and up again, (length, length), of n samples; identities where it does not go on."""
    sample = torch.arange(length, device=n.device)
    coarse, fine = (n + 1) // 2, n
    shift = torch.arange(-2, 3, device=n.device)[:, None]
    share = torch.tensor(_BINOMIAL, device=n.device, dtype=torch.float32)[:, None, None]
    down = (share * (_reflected(2 * sample + shift, n)[..., None] == sample).float()).sum(dim=0)
    up = (2 * share * (_reflected(sample + shift, n)[..., None] == 2 * sample).float()).sum(dim=0)
    down = down * (sample < coarse)[:, None].float()
    up = up * (sample < fine)[:, None].float() * (sample < coarse).float()
    same = (sample[:, None] == sample).float()
    return torch.where(goes_on, down, same), torch.where(goes_on, up, same)


def _reflected(index: Tensor, n: Tensor) -> Tensor:
    """Indices mirrored at the first and the last of n samples, which are not repeated."""
    index = index.abs()
    return torch.where(index < n, index, 2 * (n - 1) - index)


class _DenseCopy(OnReducedCopy):
    """`OnReducedCopy` by products with matrices: the reduction is a value, not a shape."""

    def copy_of(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        factor = _reduction(height, width, image.device)
        down, across = (_means_of_squares(length, factor).to(image.dtype) for length in (height, width))
        return down @ image @ across.T

    def at_full_size(self, grid: Tensor, rows: Tensor, first: int = 0, height: int = 0) -> Tensor:
        size = rows.shape[-2:]  # always of a whole image
        step = _reduction(*size, grid.device) * CELL
        down, across = (_bilinear(length, cells, step).to(grid.dtype) for length, cells in zip(size, grid.shape[-2:]))
        return down @ grid @ across.T


class DenseLightLift(_DenseCopy, LightLift):
    """`LightLift` for any size."""


class DenseTargetLift(_DenseCopy, TargetLift):
    """`TargetLift` for any size.

    Args:
        layer: gives the weights.
    """

    def __init__(self, layer: TargetLift) -> None:
        nn.Module.__init__(self)
        for name, part in layer.named_children():
            self.add_module(name, part)


def _reduction(height: int, width: int, device: torch.device) -> Tensor:
    """`adasffuse.models.reduced.reduction` as a value."""
    return ((shorter_side(height, width, device) + SHORTER - 1) // SHORTER).clamp(min=1)


def _means_of_squares(length: int, factor: Tensor) -> Tensor:
    """Means over `factor` of some samples, the last one repeated up to a multiple of 8: (cells, length)."""
    sample = torch.arange(length, device=factor.device)
    last = (length - 1) // factor
    groups = (last // MULTIPLE + 1).item()
    torch._check(groups >= 1)
    cell = torch.minimum(torch.arange(groups * MULTIPLE, device=factor.device), last)
    inside = (cell[:, None] == sample // factor).float()
    return inside / inside.sum(dim=1, keepdim=True)


def _bilinear(length: int, cells: int, step: Tensor) -> Tensor:
    """Bilinear enlargement by `step`, the first samples of it, (length, cells)."""
    position = (torch.arange(length, device=step.device) + 0.5) / step - 0.5
    last = torch.full((), cells, device=step.device) - 1
    position = torch.minimum(position.clamp(min=0), last)
    return (1 - (position[:, None] - torch.arange(cells, device=step.device)).abs()).clamp(min=0)


def extend(x: Tensor, multiple: int) -> Tensor:
    """`adasffuse.models.network.pad_to_multiple` of (B, C, H, W), by indices."""
    for dim in (2, 3):
        length = x.shape[dim]
        total = fresh_size((length + multiple - 1) // multiple) * multiple
        count = torch.full((), length, device=x.device, dtype=torch.int64)
        index = torch.arange(total, device=x.device)
        beyond = torch.where(total - count < count, 2 * (count - 1) - index, count - 1)  # reflected, or replicated
        x = x.index_select(dim, torch.where(index < count, index, beyond))
    return x
