"""What the benchmark scripts share: seconds, peak memory, measuring in a fresh process, and a table of the results."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch


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


def run_alone(command: Sequence[str], what: str) -> dict:
    """The JSON object in the last line that a fresh process prints; if it fails, this one ends with its message."""
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
    return str(value) if isinstance(value, str | int) else f"{value:.3g}" if value < 100 else f"{value:.0f}"
