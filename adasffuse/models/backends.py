"""Which implementation of the scan runs, and how the fastest one is found.

'torch': PyTorch's operators, `scan_chunked` on the CPU and `scan_pairwise` on a GPU; 'compiled': `scan_pairwise`
through `torch.compile`; 'triton': the kernels of `mamba_ssm`, on CUDA, which multiply float32 as TF32.  'auto' is
'torch' wherever there is no CUDA.

On CUDA the first call of every case (device, precision, heads, length to a power of two, with or without gradient) runs
what can be used on its own tensors and keeps the fastest; the logger `adasffuse.models.backends` says which and why.
The time to launch kernels counts, as it does in training; a CUDA graph later saves that of any backend.
Results agree within rounding, not bit for bit, and two runs, or two processes of one run, may choose differently: for
results that repeat bit for bit, name the backend with `using`.  While a CUDA graph is captured, and inside a network
that `torch.compile` sees as a whole, nothing can be timed: a new case is 'torch' there.
"""

import functools
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from adasffuse.models.pairwise import scan_compiled, scan_pairwise

BACKENDS = ("torch", "compiled", "triton")
_REPEATS = 5  # timed calls of a candidate, after two that may compile
_log = logging.getLogger(__name__)
_wanted = "auto"  # what 'auto' stands for, see `using`


class Case(NamedTuple):
    """What the choice depends on."""

    device: torch.device
    dtype: torch.dtype
    heads: int
    backward_heads: int
    head: int
    state: int
    steps: int  # of the whole batch, rounded up to a power of two
    gradient: bool

    def __str__(self) -> str:
        dtype, gradient = str(self.dtype).removeprefix("torch."), " with gradient" * self.gradient
        return f"{self.heads} x {self.head} channels, up to {self.steps} steps, {dtype}{gradient}"


chosen: dict[Case, str] = {}  # filled by `fastest`


@contextmanager
def using(backend: str) -> Iterator[None]:
    """Within, scans that were not told their backend use this one; 'auto' chooses.  For measuring and repeating.

    Raises:
        ValueError: unknown backend.
    """
    global _wanted
    check(backend)
    before, _wanted = _wanted, backend
    try:
        yield
    finally:
        _wanted = before


def check(backend: str) -> None:
    """Raise ValueError where there is no such backend."""
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"backend must be one of auto, {', '.join(BACKENDS)}, got {backend!r}")


def pick(backend: str, tensors: tuple[Tensor, ...], backward_heads: int, chunk: int) -> str:
    """The backend that a scan of these x, dt, A, B, C, D takes when asked for `backend`, never 'auto'."""
    backend, x = _wanted if backend == "auto" else backend, tensors[0]
    if backend != "auto":
        return backend
    if not x.is_cuda or torch.compiler.is_compiling():
        return "torch"
    case = case_of(tensors, backward_heads)
    if case not in chosen and torch.cuda.is_current_stream_capturing():
        return "torch"
    return chosen.get(case) or fastest(case, candidates(tensors, backward_heads, chunk), milliseconds)


def case_of(tensors: tuple[Tensor, ...], backward_heads: int) -> Case:
    """The case that a scan of these x, dt, A, B, C, D belongs to."""
    x, state = tensors[0], tensors[3].shape[-1]
    batch, length, heads, head = x.shape
    steps = 1 << max(0, batch * length - 1).bit_length()
    gradient = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return Case(x.device, x.dtype, heads, backward_heads, head, state, steps, gradient)


def candidates(tensors: tuple[Tensor, ...], backward_heads: int, chunk: int) -> dict[str, Callable[[], object]]:
    """What can be tried on this machine: backend to an action that runs it on these tensors, with gradients if theirs
    are wanted; outside of the graph that the tensors belong to, and without drawing random numbers."""
    gradient = case_of(tensors, backward_heads).gradient

    def action(scan: Callable[..., Tensor]) -> None:
        leaves = [t.detach().requires_grad_(gradient) for t in tensors]
        y = scan(*leaves, backward_heads, chunk)
        if gradient:
            torch.autograd.grad(y, leaves, y.detach())

    known = {"torch": scan_pairwise, "compiled": scan_compiled}
    if fused_scan() is not None:
        known["triton"] = scan_triton
    return {name: functools.partial(action, scan) for name, scan in known.items()}


def fastest(
    case: Case, actions: dict[str, Callable[[], object]], clock: Callable[[Callable[[], object], torch.device], float]
) -> str:
    """Time each action once by `clock`, remember the fastest for the case, log it, return it.

    An action that fails is no candidate; a warning says why.  Where all fail the last error is raised.
    """
    if not chosen:
        _log.info("scan on %s: trying %s, which may take a minute", case.device, ", ".join(actions))
    times: dict[str, float] = {}
    failure: Exception | None = None
    for name, action in actions.items():
        try:
            times[name] = clock(action, case.device)
        except Exception as error:  # compilers and drivers fail in too many ways to list
            failure = error
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            warnings.warn(f"scan backend {name!r} cannot be used on {case.device}: {reason}", stacklevel=2)
    if not times:
        raise RuntimeError(f"no backend of the scan works on {case.device}") from failure
    best, *others = sorted(times, key=times.__getitem__)
    chosen[case] = best
    beaten = "; " * bool(others) + ", ".join(f"{name} {times[name]:.2f}" for name in others)
    _log.info("scan on %s: %s (%.2f ms%s) for %s", case.device, best, times[best], beaten, case)
    return best


def milliseconds(action: Callable[[], object], device: torch.device) -> float:
    """Time of an action on a CUDA device, the mean of a few calls; what the first calls compile is not counted."""
    with torch.cuda.device(device):
        for _ in range(2):
            action()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(_REPEATS):
            action()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / _REPEATS


@functools.cache
def fused_scan() -> Callable[..., Tensor] | None:
    """`mamba_ssm`'s scan, None where it is not installed."""
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except ImportError as error:  # absent is fine; a broken install is worth a warning
        if error.name != "mamba_ssm":
            warnings.warn(f"mamba_ssm is installed but does not import ({error}); using the PyTorch scan", stacklevel=2)
        return None
    return mamba_chunk_scan_combined


def scan_triton(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, backward_heads: int, chunk: int
) -> Tensor:
    """`mamba_ssm`'s kernels in one call: backward heads read the reversed sequence, with a B and C of their own.

    The kernels give every group of heads, all of one size, its B and C.
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
