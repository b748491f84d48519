"""State-space duality (SSD) scan of Mamba-2 (Dao and Gu, arXiv 2405.21060): the recurrence and its chunked form.

Per head, with a scalar decay, state h (P x N), input x (P) and shared B, C (N):

    h_t = exp(dt_t * A) * h_(t-1) + dt_t * outer(x_t, B_t),        y_t = h_t C_t + D * x_t

Shapes: G batch, L length, E heads, P head_dim, N d_state.  x (G, L, E, P), dt (G, L, E) >= 0, A and D (E,) with
A <= 0, B and C (G, L, N); the result has the shape of x.  The last `backward_heads` heads run backward.

`scan` cuts the sequence into chunks.  Within a chunk the decays between all pairs of steps form a matrix, so that the
chunk is a few matrix products; the chunk states are passed on by matrices of the same kind.  Exponents are never
positive, so any decay is safe.  No branch depends on a tensor's value, so the scan can be exported and captured.
"""

import functools
import math
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK, SHORT_CHUNK = 64, 32  # steps; the shorter for d_state <= 32, whose chunk states are cheap
_FORGOTTEN = -32.0  # smallest exponent of one step: exp(-32) is nothing, and larger sums lose digits in float32
_LOG2_E = math.log2(math.e)
_SMALLEST = -100.0  # smallest exponent of 2: below it lie denormal numbers, which are slow
_GROUP = 16  # chunks whose states are passed on by one matrix
_MOST_LEVELS = 5  # nesting of groups for a length unknown at export: up to _GROUP ** 5 chunks
_PAIRS = 1 << 20  # on a CPU, elements of the decay matrices that are computed at a time


def scan_reference(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backward_heads: int = 0
) -> Tensor:
    """The recurrence above, step by step; the tests compare `scan` with it."""

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
    chunk: int | None = None,
    backend: str = "auto",
) -> Tensor:
    """State-space scan of sequences of any length, on any device; shapes as in the module's docstring.

    Args:
        dt: float32 or wider, whatever the dtype of x, B and C.
        chunk: steps per chunk, None for SHORT_CHUNK or CHUNK; changes time and memory, not the result.
        backend: 'torch'; 'triton', the CUDA kernels of `mamba_ssm`, which multiply float32 as TF32; or 'auto':
            'triton' for bfloat16 and float16 on CUDA if `mamba_ssm` is installed, else 'torch'.
    Raises:
        ValueError: unknown backend.
        RuntimeError: backend 'triton' without `mamba_ssm` or without CUDA tensors.
    """
    if backend not in ("auto", "torch", "triton"):
        raise ValueError(f"backend must be 'auto', 'torch' or 'triton', got {backend!r}")
    chunk = chunk or (SHORT_CHUNK if B.shape[-1] <= SHORT_CHUNK else CHUNK)
    usable = x.is_cuda and backend != "torch" and fused_scan() is not None
    if backend == "triton" and not usable:
        raise RuntimeError(f"backend 'triton' needs mamba_ssm and CUDA tensors (x is on {x.device}); use 'auto'")
    if usable and (backend == "triton" or x.dtype in (torch.bfloat16, torch.float16)):
        return _scan_triton(x, dt, A, B, C, D, backward_heads, chunk)
    return _scan_chunked(x, dt, A, B, C, D, backward_heads, chunk)


def _scan_chunked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backward_heads: int, chunk: int
) -> Tensor:
    """The chunked form: S chunks of K steps per sequence, R = G * S chunks in the batch.

    Products with one number per step are computed in the type of dt: PyTorch's CPU kernels broadcast bfloat16 eight
    times as slowly as float32.
    """
    batch, length, heads, _ = x.shape
    backward = (torch.arange(heads, device=x.device) >= heads - backward_heads)[:, None]  # (E, 1)
    if isinstance(length, torch.SymInt):  # export for any size: a chunk that divides every length needs no padding
        from torch.fx.experimental.symbolic_shapes import statically_known_true  # here, since it loads SymPy

        while not statically_known_true(length % chunk == 0):
            chunk //= 2
    pad = -length % chunk

    def in_chunks(t: Tensor) -> Tensor:
        """(G, L, ...) to (R, K, ...); padded steps have dt = 0, so they change nothing."""
        if pad:
            trailing = (0, 0) * (t.ndim - 2)  # no padding of the dimensions behind L
            t = F.pad(t, (*trailing, 0, pad))
        return t.unflatten(1, (-1, chunk)).flatten(0, 1)

    xs, dts, Bs, Cs = (in_chunks(t) for t in (x, dt, B, C))
    in_parts = x.device.type == "cpu" and not torch.compiler.is_compiling()
    chunks_at_once = max(1, _PAIRS // (heads * chunk**2)) if in_parts else None
    heads_at_once = 1 if in_parts else None

    # Each chunk by itself, then the states that enter the chunks, then the output from both.
    one_chunk = functools.partial(_within_chunks, A=A, backward=backward)
    local, gained, enter, total = _in_parts(one_chunk, (xs, dts, Bs, Cs), chunks_at_once)
    gained, total = (t.unflatten(0, (batch, -1)).transpose(1, 2) for t in (gained, total))  # (G, E, S, ...)
    states_of = functools.partial(_entering_states, dtype=C.dtype)
    (states,) = _in_parts(states_of, (gained, total, backward[None, :, None]), heads_at_once, dim=1)
    del gained  # twice as large as the states in bfloat16
    states = states.transpose(1, 2).reshape(xs.shape[0], -1, C.shape[-1])  # (R, E * P, N)
    (y,) = _in_parts(functools.partial(_output, D=D.to(dt.dtype)), (xs, Cs, states, local, enter), chunks_at_once)
    return y.unflatten(0, (batch, -1)).flatten(1, 2)[:, :length]


def _in_parts(
    function: Callable[..., tuple[Tensor, ...]], tensors: tuple[Tensor, ...], size: int | None, dim: int = 0
) -> tuple[Tensor, ...]:
    """`function(*tensors)`, computed on parts of the tensors so that the temporaries stay in the cache.

    Args:
        size: size of a part along `dim`; None: all at once.
    """
    if size is None or tensors[0].shape[dim] <= size:
        return function(*tensors)
    parts = [function(*pieces) for pieces in zip(*(t.split(size, dim) for t in tensors))]
    return tuple(torch.cat(pieces, dim) for pieces in zip(*parts))


def _within_chunks(
    x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, backward: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What each chunk computes without the others.

    Args:
        x: (R, K, E, P); dt (R, K, E); B, C (R, K, N); backward (E, 1).
    Returns:
        the output from steps of the same chunk (R, E, K, P), the state that the chunk adds (R, E, P * N) in the type
        of dt, the decay from entering the chunk to each step (R, K, E), and the exponent of the chunk's decay (R, E).
    """
    pair, enter, leave, total = decays((dt * A).transpose(1, 2), backward, own=True)
    given = x.to(dt.dtype) * dt.unsqueeze(-1)  # (R, K, E, P)
    affinity = (C @ B.mT).to(dt.dtype).unsqueeze(1)  # (R, 1, K, K): reader, source; shared by the heads
    local = (affinity * pair).to(x.dtype) @ given.transpose(1, 2).to(x.dtype)
    left = (given * leave.transpose(1, 2).unsqueeze(-1)).to(x.dtype)
    gained = left.flatten(2).mT @ B  # (R, E * P, N)
    return local, gained.to(dt.dtype).view(x.shape[0], x.shape[2], -1), enter.transpose(1, 2), total


def _entering_states(gained: Tensor, log_decay: Tensor, backward: Tensor, dtype: torch.dtype) -> tuple[Tensor]:
    """`entering_states` (G, E, S, P * N), computed in the type of `gained` even under autocast, returned as `dtype`."""
    with torch.autocast(gained.device.type, enabled=False):
        return (entering_states(gained, log_decay, backward).to(dtype),)


def _output(x: Tensor, C: Tensor, states: Tensor, local: Tensor, enter: Tensor, D: Tensor) -> tuple[Tensor]:
    """The output y (R, K, E, P) of each chunk: from its own steps (`local`), from its entering state, and D x."""
    read = (C @ states.mT).view_as(x)
    y = torch.addcmul(local.transpose(1, 2).to(D.dtype), enter.unsqueeze(-1), read.to(D.dtype))
    return (torch.addcmul(y, D[:, None], x.to(D.dtype)).to(x.dtype),)


def decays(log_decay: Tensor, backward: Tensor, own: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Decay factors within a sequence of K steps.

    Args:
        log_decay: (..., K), the exponent of every step, not positive.
        backward: (..., 1), whether the sequence runs from its last step to its first.
        own: whether a step reads what it adds itself, or only what came before.
    Returns:
        the decay from each source step to each reading step (..., reader, source), 0 if the reader comes first; from
        the entry to each reader, and from each source to the exit (..., K); and the exponent of the whole decay (...).
    """
    log_decay = log_decay.clamp(min=_FORGOTTEN) * _LOG2_E
    until = log_decay.cumsum(-1)
    before, total = until - log_decay, until[..., -1:]
    source = torch.where(backward, -before, until)
    reader = source if own else torch.where(backward, -until, before)
    end = torch.where(backward, 0.0, total)
    step = torch.arange(log_decay.shape[-1], device=log_decay.device)
    later = step[:, None] - step  # reader minus source
    ahead = torch.where(backward.unsqueeze(-1), -later, later) >= (0 if own else 1)
    exponent = reader.unsqueeze(-1) - source.unsqueeze(-2)  # the largest tensor: exp2 takes a third of exp's time
    pair = exponent.clamp_(_SMALLEST, 1.0).exp2_() * ahead.to(exponent.dtype)  # rounding may make 0 positive
    return pair, (reader - end + total).exp2(), (end - source).exp2(), total.squeeze(-1) / _LOG2_E


def entering_states(gained: Tensor, log_decay: Tensor, backward: Tensor, levels: int = _MOST_LEVELS) -> Tensor:
    """State passing: entering[s + 1] = exp(log_decay[s]) * entering[s] + gained[s], 0 before the first chunk.

    gained (G, E, S, M), log_decay (G, E, S), backward (E, 1, 1) or (1, E, 1, 1).  Chunks are grouped, then groups of
    groups, until one is left; if S is a symbol of `torch.export`, always `levels` times.
    """
    count = gained.shape[2]
    symbolic = isinstance(count, torch.SymInt)
    if symbolic:
        group = _GROUP  # one group at the last level: more chunks raise an index error, never a wrong result
        groups = fresh_size((count + _GROUP - 1) // _GROUP) if levels > 1 else 1
        gained, log_decay = _zeros_beyond(gained, groups * group), _zeros_beyond(log_decay, groups * group)
    else:
        groups = -(-count // _GROUP)
        group = -(-count // groups)  # groups of about equal size need little or no padding
        pad = groups * group - count
        if pad:
            gained, log_decay = F.pad(gained, (0, 0, 0, pad)), F.pad(log_decay, (0, pad))
    gained = gained.unflatten(2, (groups, group))  # (G, E, groups, group, M)
    pair, enter, leave, total = decays(log_decay.unflatten(2, (groups, group)), backward, own=False)
    state = pair @ gained
    nested = levels > 1 if symbolic else groups > 1
    if nested:
        leaving = (leave.unsqueeze(-2) @ gained).squeeze(-2)  # (G, E, groups, M)
        entering = entering_states(leaving, total, backward, levels - 1)
        state = torch.addcmul(state, enter.unsqueeze(-1), entering.unsqueeze(-2))
    state = state.flatten(2, 3)
    return state.index_select(2, torch.arange(count, device=state.device)) if symbolic else state[:, :, :count]


def fresh_size(size: int | torch.SymInt) -> int | torch.SymInt:
    """The size as a new symbol of `torch.export`, so that expressions that depend on it stay short."""
    value = torch.full((), size, dtype=torch.int64).item()
    torch._check(value >= 1)
    return value


def _zeros_beyond(x: Tensor, total: int | torch.SymInt) -> Tensor:
    """x (G, E, S, ...) padded with zeros to `total` chunks."""
    count = x.shape[2]
    index = torch.arange(total, device=x.device)
    inside = (index < count).to(x.dtype)
    return x.index_select(2, index.clamp(max=count - 1)) * inside.view(-1, *[1] * (x.ndim - 3))


@functools.cache
def fused_scan() -> Callable[..., Tensor] | None:
    """`mamba_ssm`'s scan, None if it is not installed."""
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except ImportError as error:  # absent is fine; a broken install is worth a warning
        if error.name != "mamba_ssm":
            warnings.warn(f"mamba_ssm is installed but does not import ({error}); using the PyTorch scan", stacklevel=2)
        return None
    return mamba_chunk_scan_combined


def _scan_triton(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backward_heads: int, chunk: int
) -> Tensor:
    """One call of `mamba_ssm`'s kernels: backward heads read the reversed sequence, with reversed B and C.

    The kernels take one B and C for each group of heads, and groups have one size.
    """
    forward = x.shape[2] - backward_heads
    group = math.gcd(forward, backward_heads)

    def turned(t: Tensor) -> Tensor:
        return torch.cat([t[:, :, :forward], t[:, :, forward:].flip(1)], dim=2) if backward_heads else t

    def grouped(t: Tensor) -> Tensor:
        t = t.unsqueeze(2)
        ways = t.expand(-1, -1, forward // group, -1), t.flip(1).expand(-1, -1, backward_heads // group, -1)
        return torch.cat(ways, dim=2)

    return turned(fused_scan()(turned(x), turned(dt), A, grouped(B), grouped(C), chunk_size=chunk, D=D))
