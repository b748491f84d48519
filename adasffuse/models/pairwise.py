"""The scan for GPUs: the decay between every two steps of a chunk as a matrix, and no decision that looks at a value.

`scan_chunked` splits a decay into two factors, which moves less memory but needs to know how fast the heads forget:
on a GPU asking means waiting for it, and neither a CUDA graph nor a compiler can follow.  Here exponents are never
positive, so that any decay is safe; states go from chunk to chunk by the same kind of matrix, groups of chunks at a
time, instead of one after the other.  Shapes as in `adasffuse.models.scan`, here with heads before steps:
G batch, E heads, S chunks, K steps of a chunk, P head size, N state size, R = G * S chunks of the whole batch.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_FORGOTTEN = -32.0  # exponent of one step: exp(-32) is nothing, and larger sums would cost float32 its last digits
_GROUP = 32  # chunks whose states one matrix carries on


def scan_pairwise(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    backward_heads: int = 0,
    chunk: int = 64,
    prepare: Callable[[Callable], Callable] = lambda function: function,
) -> Tensor:
    """The scan of `adasffuse.models.scan`; any length, any device, no synchronisation, always the same operators.

    Args:
        prepare: is given both functions that work within chunks, such as a compiler; their sizes but R stay the same.
    """
    batch, length, heads, _ = x.shape
    backward = (torch.arange(heads, device=x.device) >= heads - backward_heads)[:, None]
    pad = -length % chunk  # dt = 0 in padded steps, which therefore change nothing
    padded = (F.pad(t, (0, 0) * (t.ndim - 2) + (0, pad)) if pad else t for t in (x, dt, B, C))
    x_, dt, B, C = (t.unflatten(1, (-1, chunk)).flatten(0, 1) for t in padded)  # (R, K, ...)
    y, gained, enter, total = prepare(within_chunks)(x_, dt, A, B, C, backward)
    per_sequence = (t.unflatten(0, (batch, -1)).transpose(1, 2) for t in (gained.flatten(2), total))
    with torch.autocast(x.device.type, enabled=False):  # states in float32
        carried = entering(*per_sequence, backward.unsqueeze(1))  # (G, E, S, N * P)
    carried = carried.transpose(1, 2).flatten(0, 1).view_as(gained).to(C.dtype)
    y = prepare(from_before)(y, enter, C, carried, D, x_)
    return y.unflatten(0, (batch, -1)).flatten(1, 2)[:, :length]


def scan_compiled(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backward_heads: int = 0, chunk: int = 64
) -> Tensor:
    """`scan_pairwise` with its work within chunks through `torch.compile`, which happens when it first runs."""
    return scan_pairwise(x, dt, A, B, C, D, backward_heads, chunk, _compiled)


@functools.cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function)


def within_chunks(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, backward: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What each chunk does alone.

    Args:
        x: (R, K, E, P); dt (R, K, E); B, C (R, K, N); backward (E, 1).
    Returns:
        what its steps read of each other (R, E, K, P), the state it adds (R, E, N, P) in float32, the decay from its
        entry to each step (R, E, K), and the exponent of its decay (R, E).
    """
    pair, enter, leave, total = decays((dt * A).transpose(1, 2), backward, own=True)
    B, C = B.unsqueeze(1), C.unsqueeze(1)  # shared by the heads
    given = (x * dt.to(x.dtype).unsqueeze(-1)).transpose(1, 2)  # (R, E, K, P)
    affinity = C @ B.mT  # (R, 1, K, K): reader, source
    y = (affinity * pair.to(affinity.dtype)) @ given
    gained = B.mT @ (given * leave.to(x.dtype).unsqueeze(-1))
    return y, gained.to(total.dtype), enter, total


def from_before(y: Tensor, enter: Tensor, C: Tensor, carried: Tensor, D: Tensor, x: Tensor) -> Tensor:
    """The outputs (R, K, E, P): those of `within_chunks`, what is read of the states carried in, and D times x."""
    y = y + enter.to(y.dtype).unsqueeze(-1) * (C.unsqueeze(1) @ carried)
    return y.transpose(1, 2) + D.to(y.dtype)[:, None] * x


def decays(log_decay: Tensor, backward: Tensor, own: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What remains on all ways through a run of K steps.

    Args:
        log_decay: (..., K), the exponent of every step, not positive.
        backward: (..., 1), whether the run goes from its last step to its first.
        own: whether a step reads what it adds itself, or only what came before.
    Returns:
        from each source to each reader (..., reader, source), 0 where the reader comes first; from outside to each
        reader and from each source to outside (..., K); and the exponent of the whole run (...).
    """
    log_decay = log_decay.clamp(min=_FORGOTTEN)
    until = log_decay.cumsum(-1)
    before, total = until - log_decay, until[..., -1:]
    source = torch.where(backward, -before, until)
    reader = source if own else torch.where(backward, -until, before)
    end = torch.where(backward, 0.0, total)
    step = torch.arange(log_decay.shape[-1], device=log_decay.device)
    later = step[:, None] - step  # reader less source
    ahead = torch.where(backward.unsqueeze(-1), -later, later)
    exponent = reader.unsqueeze(-1) - source.unsqueeze(-2)
    pair = exponent.masked_fill(ahead < (0 if own else 1), -torch.inf).exp()
    return pair, (reader - end + total).exp(), (end - source).exp(), total.squeeze(-1)


def entering(gained: Tensor, log_decay: Tensor, backward: Tensor) -> Tensor:
    """State that enters each chunk: entering[s + 1] = exp(log_decay[s]) * entering[s] + gained[s], 0 before the first.

    gained (G, E, S, M), log_decay (G, E, S), backward (E, 1, 1).  Groups of chunks, then groups of groups, until one
    is left.
    """
    count = gained.shape[2]
    group = min(_GROUP, count)
    pad = -count % group
    gained = F.pad(gained, (0, 0, 0, pad)).unflatten(2, (-1, group))  # (G, E, groups, group, M)
    pair, enter, leave, total = decays(F.pad(log_decay, (0, pad)).unflatten(2, (-1, group)), backward, own=False)
    state = pair @ gained
    if gained.shape[2] > 1:
        leaving = (leave.unsqueeze(-2) @ gained).squeeze(-2)  # (G, E, groups, M)
        state = state + enter.unsqueeze(-1) * entering(leaving, total, backward).unsqueeze(-2)
    return state.flatten(2, 3)[:, :, :count]
