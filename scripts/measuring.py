"""Shared by the benchmark scripts: time, peak memory, measuring in a fresh process, a table of the results; on GPUs the
least operations and bytes of a network, and the best rates of the GPU.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from adasffuse.models import mamba


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of an action, work queued on the device included."""
    started = time.perf_counter()
    action()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Return when all work queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """Largest memory of this process so far, in bytes: of the GPU, or resident in RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak(device: torch.device) -> None:
    """Reset the peak memory of a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def ceilings(device: torch.device, side: int = 8192, megabytes: int = 1024) -> dict[str, float]:
    """Best GFLOP/s of a large product in 'float32' and 'bfloat16', and GB/s read and written of a large 'copy'."""
    best = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2, side, side, device=device).to(dtype)
        best[str(dtype).removeprefix("torch.")] = 2 * side**3 / _quickest(lambda a=a, b=b: a @ b, device) / 1e9
    source = torch.randn(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    return best | {"copy": 2 * source.nbytes / _quickest(lambda: target.copy_(source), device) / 1e9}


def _quickest(action: Callable[[], object], device: torch.device) -> float:
    return min(seconds(action, device) for _ in range(10))


def least_work(forward: Callable[[], object]) -> tuple[float, float]:
    """GFLOP and GB of a network's forward pass that remain if all kernels are fused that can be.

    Operations are those of convolutions and products.  Bytes are those that convolutions, products, transforms and
    scans read and write once; operations between them, and the inside of a scan, count as fused.
    """
    original, traffic = mamba.scan, _Traffic()

    def scan(*args, **kwargs) -> Tensor:
        with traffic.paused():
            y = original(*args, **kwargs)
        traffic.bytes += sum(t.nbytes for t in (*args[:6], y))
        return y

    with (
        patch.object(mamba, "scan", scan),
        FlopCounterMode(display=False) as operations,
        traffic,
    ):
        forward()
    return operations.get_total_flops() / 1e9, traffic.bytes / 1e9


class _Traffic(TorchDispatchMode):
    """Sums up the bytes that products and transforms read and write."""

    _aten = torch.ops.aten
    COUNTED = (_aten.convolution, _aten.mm, _aten.bmm, _aten.addmm, _aten.baddbmm, _aten._fft_r2c, _aten._fft_c2r)

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self._counting = 0, True

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if self._counting and function.overloadpacket in self.COUNTED:
            self.bytes += sum(t.nbytes for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor))
        return result

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._counting = False
        yield
        self._counting = True


def against_floor(
    seconds: float, precision: str, gflop: float, gigabytes: float, best: dict[str, float]
) -> dict[str, float | str]:
    """The limiting resource ('FLOP' or 'GB'), the least seconds by it, and their share of the measured seconds."""
    times = {"FLOP": gflop / best[precision], "GB": gigabytes / best["copy"]}
    bound = max(times, key=times.__getitem__)
    return {"bound": bound, "floor_s": times[bound], "share": times[bound] / seconds}


def largest_operator(action: Callable[[], object]) -> str:
    """The operator whose kernels take most of a GPU's time, with its share."""
    with profile() as trace:
        action()
        torch.cuda.synchronize()
    operators = [event for event in trace.key_averages() if event.device_type == DeviceType.CPU]
    largest = max(operators, key=lambda event: event.self_device_time_total)
    return f"{largest.key} {largest.self_device_time_total / sum(e.self_device_time_total for e in operators):.0%}"


def run_alone(command: Sequence[str], what: str) -> dict:
    """The JSON object in the last line printed by a fresh process; exits with its message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"measuring {what} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def format_rows(columns: Sequence[str], rows: Sequence[dict]) -> str:
    """The rows as a table of these columns."""
    cells = [columns, *([_text(row[name]) for name in columns] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells)


def _text(value: object) -> str:
    if isinstance(value, str | int):
        return str(value)
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
