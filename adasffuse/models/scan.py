"""State-space duality (SSD) scan of Mamba-2 (Dao and Gu, arXiv 2405.21060): a slow reference and a chunked fast form.

Per head, with a scalar decay, state S (P x N), input x (P) and shared B, C (N):

    S_t = exp(dt_t * A) * S_(t-1) + dt_t * outer(x_t, B_t),        y_t = S_t C_t + D * x_t

Shapes: G batch, L length, E heads, P head size, N state size.  x (G, L, E, P), dt (G, L, E) >= 0, A and D (E,) with
A <= 0, B and C (G, L, N); the result has the shape of x.  The last `backward_heads` heads run from the end to the start.
"""

import functools
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 64


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
        backend: 'torch' (any device), 'triton' (`mamba_ssm`, CUDA only) or 'auto' (triton where it can be used).
    Raises:
        ValueError: unknown backend.
        RuntimeError: backend 'triton' without `mamba_ssm` or without CUDA tensors.
    """
    if backend not in ("auto", "torch", "triton"):
        raise ValueError(f"backend must be 'auto', 'torch' or 'triton', got {backend!r}")
    fused = _fused_scan() if backend != "torch" and x.is_cuda else None
    if fused is not None:
        return _scan_triton(fused, x, dt, A, B, C, D, backward_heads, chunk)
    if backend == "triton":
        raise RuntimeError(f"backend 'triton' needs mamba_ssm and CUDA tensors (x is on {x.device}); use 'auto'")
    return scan_chunked(x, dt, A, B, C, D, backward_heads, chunk)


def scan_chunked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backward_heads: int = 0, chunk: int = CHUNK
) -> Tensor:
    """The scan as matrix products within chunks and a short recurrence from chunk to chunk; any length, any device.

    Decay runs in float32 or wider, and only differences of its running sums are exponentiated, all of them <= 0, so
    nothing overflows however fast a head forgets.
    """
    batch, length, heads, _ = x.shape
    pad = -length % chunk
    if pad:  # steps with dt = 0 change nothing
        x, B, C = (F.pad(t, (0, 0) * (t.ndim - 2) + (0, pad)) for t in (x, B, C))
        dt = F.pad(dt, (0, 0, 0, pad))
    steps = (length + pad) // chunk

    log_decay = (dt * A).transpose(1, 2).unflatten(2, (steps, chunk))  # (G, E, S, K), S chunks of K steps
    total = log_decay.cumsum(-1)
    whole = total[..., -1:]
    # Backward heads count from the end: the running sum that excludes step t itself, negated, makes a later source
    # j and an earlier reader i differ by the decay of the steps i .. j - 1.
    forward = heads - backward_heads
    clock = torch.cat([total[:, :forward], (log_decay - total)[:, forward:]], dim=1)
    lag = clock[..., :, None] - clock[..., None, :]  # (G, E, S, K, K): reader i, source j
    seen = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
    unseen = ~torch.stack([seen] * forward + [seen.T] * backward_heads)[:, None]  # (E, 1, K, K)
    within = lag.masked_fill(unseen, -torch.inf).exp()
    entered = torch.cat([total[:, :forward], (whole + log_decay - total)[:, forward:]], dim=1).exp()  # (G, E, S, K)
    left = torch.cat([(whole - total)[:, :forward], (total - log_decay)[:, forward:]], dim=1).exp()

    B, C = (t.unflatten(1, (steps, chunk)) for t in (B, C))  # (G, S, K, N)
    affinity = (C @ B.transpose(-1, -2)).unsqueeze(1)  # (G, 1, S, K, K), shared by all heads
    weighted = (x * dt.to(x.dtype)[..., None]).unflatten(1, (steps, chunk)).permute(0, 3, 1, 2, 4)  # (G, E, S, K, P)
    inside = (affinity * within.to(x.dtype)) @ weighted
    gained = (B.unsqueeze(1) * left[..., None].to(x.dtype)).transpose(-1, -2) @ weighted  # (G, E, S, N, P)
    carried = _carry(gained, whole[..., 0].exp(), forward)
    outside = (C.unsqueeze(1) * entered[..., None].to(x.dtype)) @ carried.to(x.dtype)
    y = (inside + outside).permute(0, 2, 3, 1, 4).reshape(batch, steps * chunk, heads, -1)
    y = y + D.to(x.dtype)[:, None] * x
    return y[:, :length]


def _carry(gained: Tensor, decay: Tensor, forward: int) -> Tensor:
    """State that enters each chunk: carried[s] = decay[s-1] * carried[s-1] + gained[s-1] (reversed for backward heads).

    gained (G, E, S, N, P), decay (G, E, S).  Two levels (groups of about sqrt(S) chunks) keep the Python loops short.
    """
    gained = torch.cat([gained[:, :forward], gained[:, forward:].flip(2)], dim=1).to(decay.dtype)
    decay = torch.cat([decay[:, :forward], decay[:, forward:].flip(2)], dim=1)[..., None, None]
    count = gained.shape[2]
    group = max(1, int(count**0.5))
    pad = -count % group
    gained, decay = (F.pad(t, (0, 0, 0, 0, 0, pad)).unflatten(2, (-1, group)) for t in (gained, decay))

    state = torch.zeros_like(gained[:, :, :, 0])  # within groups, all groups at once
    passed = torch.ones_like(decay[:, :, :, 0])
    states, reach = [], []
    for k in range(group):
        states.append(state)
        reach.append(passed)
        state = decay[:, :, :, k] * state + gained[:, :, :, k]
        passed = decay[:, :, :, k] * passed
    entering = torch.zeros_like(state[:, :, 0])  # from group to group
    entries = []
    for s in range(state.shape[2]):
        entries.append(entering)
        entering = passed[:, :, s] * entering + state[:, :, s]
    carried = torch.stack(states, 3) + torch.stack(reach, 3) * torch.stack(entries, 2).unsqueeze(3)
    carried = carried.flatten(2, 3)[:, :, :count]
    return torch.cat([carried[:, :forward], carried[:, forward:].flip(2)], dim=1)


@functools.cache
def _fused_scan():
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except ModuleNotFoundError as error:  # absent is fine; a broken install is worth a warning
        if error.name != "mamba_ssm":
            warnings.warn(
                f"mamba_ssm is installed but does not import ({error}); using the PyTorch scan", stacklevel=2
            )
        return None
    return mamba_chunk_scan_combined


def _scan_triton(fused, x, dt, A, B, C, D, backward_heads: int, chunk: int) -> Tensor:
    """`mamba_ssm`'s kernel; backward heads are a second call on the reversed sequence."""
    forward = x.shape[2] - backward_heads

    def one_way(heads: slice, order) -> Tensor:
        args = [order(t).contiguous() for t in (x[:, :, heads], dt[:, :, heads], B.unsqueeze(2), C.unsqueeze(2))]
        return order(fused(args[0], args[1], A[heads], args[2], args[3], chunk_size=chunk, D=D[heads]))

    parts = [one_way(slice(0, forward), lambda t: t)] if forward else []
    if backward_heads:
        parts.append(one_way(slice(forward, None), lambda t: t.flip(1)))
    return torch.cat(parts, dim=2)
