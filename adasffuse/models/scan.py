"""State-space duality (SSD) scan of Mamba-2 (Dao and Gu, arXiv 2405.21060): a slow reference and a chunked fast form.

Per head, with a scalar decay, state S (P x N), input x (P) and shared B, C (N):

    S_t = exp(dt_t * A) * S_(t-1) + dt_t * outer(x_t, B_t),        y_t = S_t C_t + D * x_t

Shapes: G batch, L length, E heads, P head size, N state size.  x (G, L, E, P), dt (G, L, E) >= 0, A and D (E,) with
A <= 0, B and C (G, L, N); the result has the shape of x.  The last `backward_heads` heads run backward.
Other forms, for GPUs, and the choice between all: `adasffuse.models.backends`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.models import backends
from adasffuse.models.pairwise import scan_pairwise

CHUNK = 64
_LARGEST_TOTAL = 120.0  # exponent: exp(+-60) leaves room for sums and products in float32 and bfloat16


def scan_reference(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backward_heads: int = 0
) -> Tensor:
    """The recurrence above, one step after the other: what every fast form is tested against."""

    def one_way(x: Tensor, dt: Tensor, A: Tensor, steps: range) -> Tensor:
        state = x.new_zeros(*x.shape[:1], *x.shape[2:], B.shape[-1])  # (G, E, P, N)
        rows: list[Tensor] = [x[:, 0]] * len(steps)
        for t in steps:
            gained = torch.einsum("ge,gep,gn->gepn", dt[:, t], x[:, t], B[:, t])
            state = torch.exp(dt[:, t] * A)[..., None, None] * state + gained
            rows[t] = torch.einsum("gepn,gn->gep", state, C[:, t])
        return torch.stack(rows, dim=1)

    length, heads = x.shape[1:3]
    first = heads - backward_heads
    forward = one_way(x[:, :, :first], dt[:, :, :first], A[:first], range(length))
    backward = one_way(x[:, :, first:], dt[:, :, first:], A[first:], range(length)[::-1])
    return torch.cat([forward, backward], dim=2) + D[:, None] * x


def scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    backward_heads: int = 0,
    chunk: int = CHUNK,
    backend: str = "auto",
) -> Tensor:
    """State-space scan, shapes as in the module's docstring.

    Args:
        chunk: steps that are handled by one matrix product; changes time and memory, not the result.
        backend: 'torch', 'compiled' (any device), 'triton' (`mamba_ssm`, CUDA only) or 'auto', the fastest here, see
            `adasffuse.models.backends`.
    Raises:
        ValueError: unknown backend.
        RuntimeError: backend 'triton' without `mamba_ssm` or without CUDA tensors.
    """
    backends.check(backend)
    tensors = (x, dt, A, B, C, D)
    backend = backends.pick(backend, tensors, backward_heads, chunk)
    if backend == "compiled":
        return backends.scan_compiled(*tensors, backward_heads, chunk)
    if backend == "triton":
        if not x.is_cuda or backends.fused_scan() is None:
            raise RuntimeError(f"backend 'triton' needs mamba_ssm and CUDA tensors (x is on {x.device}); use 'auto'")
        return backends.scan_triton(*tensors, backward_heads, chunk)
    return (scan_pairwise if x.is_cuda else scan_chunked)(*tensors, backward_heads, chunk)


def scan_columns(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, width: int) -> Tensor:
    """The scan through the pixels of a map, given row after row as everywhere, in the order column after column."""

    def transposed(t: Tensor, side: int) -> Tensor:
        return t.unflatten(1, (-1, side)).transpose(1, 2).flatten(1, 2)

    x, dt, B, C = (transposed(t, width) for t in (x, dt, B, C))
    return transposed(scan(x, dt, A, B, C, D), x.shape[1] // width)


def scan_chunked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backward_heads: int = 0, chunk: int = CHUNK
) -> Tensor:
    """The scan as matrix products within chunks and a short recurrence from chunk to chunk; any length, any device.

    The decay from source j to reader i of a chunk, exp(c_i - c_j) with c the running sum of dt * A, is applied as one
    factor on the sources and one on the readers, so that no matrix of exponentials per head is formed and C B^T is
    shared by all heads.  Both factors are centred on the middle of the chunk's total decay; where a head forgets so
    fast that they could still leave float32's range, the chunk is halved until they cannot.
    """
    length, heads = x.shape[1:3]
    log_decay = dt * A  # float32 or wider, (G, L, E)
    chunk = safe_chunk(log_decay, chunk)
    pad = -length % chunk
    padded = (F.pad(t, (0, 0) * (t.ndim - 2) + (0, pad)) if pad else t for t in (x, dt, B, C, log_decay))
    # From here: S chunks of K steps, dt = 0 in padded steps, which therefore change nothing.
    x_, dt, B, C, log_decay = (t.unflatten(1, (-1, chunk)) for t in padded)  # (G, S, K, ...)
    affinity = C @ B.transpose(-1, -2)  # (G, S, K, K): reader, source
    parts = []
    for some, backward in directions(heads, backward_heads):
        reader, source, half = decay_factors(dt[..., some], log_decay[..., some], backward)
        weighted = weigh(x_[..., some, :], source)
        gained = gained_state(weighted, B, half)
        carried = _Carry.apply(gained, repeat_heads(half.square(), gained), backward)
        parts.append(read_chunks(affinity, weighted, C, carried, reader, half, backward))
    y = torch.cat(parts, dim=3) if len(parts) == 2 else parts[0]
    return y.flatten(1, 2)[:, :length] + D.to(y.dtype)[:, None] * x


def safe_chunk(log_decay: Tensor, chunk: int) -> int:
    """Largest halving of `chunk` over which no head's decay exponent can exceed what the factors allow."""
    fastest = -log_decay.detach().min().item()
    while chunk > 1 and chunk * fastest > _LARGEST_TOTAL:
        chunk //= 2
    return chunk


def directions(heads: int, backward_heads: int) -> list[tuple[slice, bool]]:
    """The heads of each direction that is in use, and whether it is backward."""
    forward = heads - backward_heads
    both = ((slice(0, forward), False), (slice(forward, heads), True))
    return [(some, backward) for some, backward in both if some.start < some.stop]


def decay_factors(dt: Tensor, log_decay: Tensor, backward: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Factors of readers and sources (G, S, K, E), and half a chunk's decay (G, S, 1, E); dt and log_decay as these.

    Source j reaches reader i with reader_i * source_j / dt_j, the chunk's end (where it is carried on) with
    half * source_j, and what was carried in reaches reader i with half * reader_i.
    """
    if log_decay.shape[2] == 1:  # one step may still forget more than `safe_chunk` can share out
        log_decay = log_decay.clamp(min=-_LARGEST_TOTAL)
    total = log_decay.cumsum(2)
    middle = 0.5 * total[:, :, -1:]
    clock = log_decay - total + middle if backward else total - middle
    return clock.exp(), dt * torch.exp(-clock), middle.exp()


def weigh(x: Tensor, source: Tensor) -> Tensor:
    """Inputs of chunks (G, S, K, E, P) times their source factors, heads side by side: (G, S, K, E*P)."""
    return (x * source.to(x.dtype).unsqueeze(-1)).flatten(3)


def gained_state(weighted: Tensor, B: Tensor, half: Tensor, out: Tensor | None = None) -> Tensor:
    """State that each chunk adds, (G, S, N, E*P), in the memory of `out` where it is given."""
    gained = B.transpose(-1, -2) @ weighted
    return torch.mul(repeat_heads(half, gained), gained, out=out)


def repeat_heads(factor: Tensor, like: Tensor) -> Tensor:
    """(G, S, 1, E) repeated over each head's channels: (G, S, 1, E*P)."""
    return factor.repeat_interleave(like.shape[-1] // factor.shape[-1], dim=-1)


def read_chunks(
    affinity: Tensor, weighted: Tensor, C: Tensor, carried: Tensor, reader: Tensor, half: Tensor, backward: bool
) -> Tensor:
    """Outputs of chunks (G, S, K, E, P) from their own inputs and the state carried into them."""
    seen = affinity.triu() if backward else affinity.tril()
    carried = repeat_heads(half, carried) * carried
    y = (seen @ weighted + C @ carried.to(C.dtype)).unflatten(3, (reader.shape[-1], -1))
    return y * reader.to(y.dtype).unsqueeze(-1)


class _Carry(torch.autograd.Function):
    """State that enters each chunk: carried[s + 1] = decay[s] * carried[s] + gained[s], carried[0] = 0.

    gained (G, S, N, M), decay (G, S, 1, M); backward runs from the last chunk to the first.  The gradient is the same
    recurrence in the other direction.
    """

    @staticmethod
    def forward(ctx, gained: Tensor, decay: Tensor, backward: bool) -> Tensor:
        carried = carry(gained.to(decay.dtype, copy=True), decay, backward)
        ctx.save_for_backward(carried, decay)
        ctx.backward_order, ctx.dtype = backward, gained.dtype
        return carried

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        carried, decay = ctx.saved_tensors
        gained_gradient = carry(gradient.to(decay.dtype, copy=True), decay, not ctx.backward_order)
        decay_gradient = (gained_gradient * carried).sum(2, keepdim=True)
        return gained_gradient.to(ctx.dtype), decay_gradient, None


def carry(gained: Tensor, decay: Tensor, backward: bool) -> Tensor:
    """The recurrence of `_Carry`, in the memory of `gained`, which is returned.

    In two levels, groups of about sqrt(S) chunks, which keeps the Python loops short.
    """
    count, step = gained.shape[1], -1 if backward else 1
    group = max(1, int(count**0.5))
    first, last = (count % group, count) if backward else (0, count - count % group)  # of whole groups
    grouped, rest = slice(first, last), slice(first) if backward else slice(last, count)
    states, factors = (t[:, grouped].unflatten(1, (-1, group)) for t in (gained, decay))  # (G, groups, group, ...)
    leaving = _carry_on(states, factors, torch.zeros_like(states[:, :, 0]), step)  # all groups at once, from nothing
    passed = torch.zeros_like(factors)
    through = _carry_on(passed, factors, torch.ones_like(factors[:, :, 0]), step)  # what is left of a unit
    entering = torch.zeros_like(gained[:, 0])
    for g in range(states.shape[1])[::step]:
        states[:, g].addcmul_(passed[:, g], entering.unsqueeze(1))
        entering = torch.addcmul(leaving[:, g], through[:, g], entering)
    _carry_on(gained[:, rest], decay[:, rest], entering, step)
    return gained


def _carry_on(gained: Tensor, decay: Tensor, state: Tensor, step: int) -> Tensor:
    """Replace what chunks (..., S, N, M) add by the state that enters them; returns the state that leaves the last."""
    for k in range(gained.shape[-3])[::step]:
        here = gained.select(-3, k)
        leaving = torch.addcmul(here, decay.select(-3, k), state)
        here.copy_(state)
        state = leaving
    return state
