"""Training speed on this machine: patches per second, where a step's time goes, peak memory, scaling of processes.

python scripts/benchmark_training.py --size small base --precision float32 bfloat16 --crop 128 --batch 4 --processes 2

Every row is measured in a fresh process (or several, under torchrun) on images written to a temporary folder, with the
trainer's own loader, loss and update.  Rates are from undisturbed steps; shares are from further steps that wait for
the end of each part:

data       waiting for the loader (with --workers 0: reading, cropping and stacking)
forward    the network, sources sent to the device included
loss       its terms
backward   gradients, with several processes their exchange included
optimiser  the rest: clearing and clipping gradients, Adam, running average of the weights

On a GPU the floor is three times that of a forward pass (see `measuring.least_work`; the backward pass has two products
for each), at the rates of a large product and a large copy; `share` is the floor over the time of a step, `next` the
operator that takes most of the GPU's time.  The backend of the scan is printed below the table, with the reason.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from measuring import (
    against_floor,
    ceilings,
    forget_peak,
    format_rows,
    largest_operator,
    least_work,
    peak_memory,
    run_alone,
    seconds,
    wait_for,
)

from adasffuse.cli.arguments import Parser, add_device_option, at_least, width_and_height
from adasffuse.data.mixture import MixedCrops
from adasffuse.device import pick_device
from adasffuse.files import check_outputs, write_text
from adasffuse.images.write import write_image
from adasffuse.models import SIZES
from adasffuse.process import SPINS, keep_freed_memory, run_script, say
from adasffuse.training import trainer
from adasffuse.training.options import Options, parse_options
from adasffuse.training.processes import Processes, join_processes
from adasffuse.training.run import Run

PARTS = ("data", "forward", "loss", "backward", "optimiser")
COLUMNS = ("size", "precision", "crop", "batch", "processes", "patches_s", "step_s", "spread_s", *PARTS, "peak_MB")
ON_GPU = ("GFLOP", "GB", "bound", "floor_s", "share", "next")  # further columns on a GPU
NEVER = 10**9  # steps: the benchmark ends the loader, not the options


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--size", nargs="+", choices=SIZES, default=["small", "base"], help="sizes of the network (default: small base)"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=("float32", "bfloat16"),
        default=["float32", "bfloat16"],
        help="arithmetic of the network (default: both)",
    )
    parser.add_argument("--crop", type=int, nargs="+", default=[128], help="pixels per side of a crop (default: 128)")
    parser.add_argument(
        "--batch", type=at_least(1), nargs="+", default=[4], help="crops per step and process (default: 4)"
    )
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=torch.get_num_threads(),
        help="CPU threads of each process (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=at_least(0), default=0, help="loader processes of each process (default: %(default)s)"
    )
    parser.add_argument(
        "--processes", type=at_least(1), default=1, help="also measure this many processes (default: %(default)s)"
    )
    add_device_option(parser)
    parser.add_argument("--warmup", type=at_least(0), default=2, help="steps that are not timed (default: %(default)s)")
    parser.add_argument("--repeats", type=at_least(1), default=10, help="steps that are timed (default: %(default)s)")
    parser.add_argument(
        "--images",
        type=width_and_height,
        default=(640, 480),
        metavar="WxH",
        help="size of the images (default: 640x480)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements as JSON")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # measure a row here: size,precision,crop,batch ROOT
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    args.command = [os.path.abspath(__file__), *(sys.argv[1:] if argv is None else argv)]
    return run_script(run, args)


def run(args: argparse.Namespace) -> None:
    check_outputs({"--json": args.json})
    if args.one:
        row = measure(args, args.one[0], args.one[1])
        if row is not None:
            say(json.dumps(row))
        return
    wanted = [",".join(map(str, v)) for v in itertools.product(args.size, args.precision, args.crop, args.batch)]
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # for the processes that measure, as the trainer sets it
    rows = []
    with tempfile.TemporaryDirectory() as root:
        for one in wanted:
            run_options(args, one, root, 1)  # raises for impossible ones
        write_images(Path(root), *args.images)
        for one in wanted:
            alone: dict[str, Any] = {}
            for count in sorted({1, args.processes}):
                launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
                launch = [sys.executable, *(launch if count > 1 else [])]
                row = run_alone([*launch, *args.command, "--one", one, root], f"{one} in {count} processes")
                alone = alone or row
                row["scaling"] = row["patches_s"] / (count * alone["patches_s"])
                rows.append(row)
    say(
        f"device {rows[0]['device']}, torch {torch.__version__}; each process: {args.threads} threads, {args.workers} "
        "loader processes, its own batch; parts are shares of a step"
    )
    on_gpu = rows[0]["device"].startswith("cuda")
    if on_gpu:
        best = ceilings(pick_device(args.device))
        say(", ".join(f"{name} {rate:.0f} {'GB' if name == 'copy' else 'GFLOP'}/s" for name, rate in best.items()))
        for row in rows:
            row |= against_floor(row["step_s"], row["precision"], row["GFLOP"], row["GB"], best)
    columns = list(COLUMNS)
    if args.processes > 1:
        columns.append("scaling")
    if on_gpu:
        columns += ON_GPU
    say(format_rows(columns, rows))
    if args.json:
        write_text(args.json, json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


def write_images(root: Path, width: int, height: int, count: int = 8) -> None:
    """Write infrared-visible pairs of smooth noise, gray and colour, in the layout of data sets."""
    random = np.random.default_rng(0)
    for number in range(count):
        for folder, shape in (("infrared", (height, width)), ("visible", (height, width, 3))):
            noise = cv2.GaussianBlur(random.normal(size=shape), (0, 0), 3)
            pixels = 127 + 60 * noise / noise.std() + random.normal(size=shape)  # structure, and some grain
            write_image(root / "IVF" / folder / f"{number}.png", pixels.clip(0, 255).astype(np.uint8))


def run_options(args: argparse.Namespace, one: str, root: str, world: int) -> Options:
    """Options of the run to measure: the task's loss, and the size's network."""
    size, precision, crop, batch = one.split(",")
    data = {"root_path": root, "datasets": ["IVF"], "crop": int(crop)}
    return parse_options(
        {
            "name": "benchmark",
            "task": "ivf",
            "size": size,
            "data": {**data, "workers": args.workers, "cache_mb": 4096},
            "train": {"steps": NEVER, "batch_size": int(batch) * world, "precision": precision},
        }
    )


def measure(args: argparse.Namespace, one: str, root: str) -> dict[str, Any] | None:
    """Rate, shares and peak memory of training in this process; None in all but the first process of torchrun."""
    keep_freed_memory(one_arena=True)
    torch.set_num_threads(args.threads)
    with join_processes(args.device) as processes:
        before = peak_memory(processes.device)
        options = run_options(args, one, root, processes.world)
        run, data = Run(options, processes), MixedCrops(options.parts)
        batches = iter(trainer.make_loader(options, data, processes, start=0))

        def step() -> None:
            run.update(next(batches))

        for _ in range(args.warmup):
            step()
        forget_peak(processes.device)
        times = [seconds(step, processes.device) for _ in range(args.repeats)]
        shares = measure_shares(run, batches, args.repeats)
        peak = peak_memory(processes.device) - before
        row: dict[str, Any] = {}
        if processes.device.type == "cuda":
            row["next"] = largest_operator(step)  # by all processes: their gradients meet
            row |= step_work(run, next(batches))
        return row | describe(options, processes, times, shares, peak) if processes.main else None


def step_work(run: Run, batch: dict[str, Any]) -> dict[str, float]:
    """Least operations and bytes of a step: three times those of a forward pass."""
    with torch.no_grad():
        gflop, gigabytes = least_work(lambda: run.fuse(run.model, batch))
    return {"GFLOP": 3 * gflop, "GB": 3 * gigabytes}


def describe(
    options: Options, processes: Processes, times: list[float], shares: dict[str, float], peak: int
) -> dict[str, Any]:
    """A row of the table."""
    part, batch, median = options.parts[0], options.train.batch_size, statistics.median(times)
    return {
        "device": str(processes.device),
        "threads": torch.get_num_threads(),
        "workers": part.data.workers,
        "size": options.size,
        "precision": options.train.precision,
        "crop": part.data.crop,
        "batch": batch // processes.world,
        "processes": processes.world,
        "patches_s": batch / median,
        "step_s": median,
        "spread_s": max(times) - min(times),
        **shares,
        "peak_MB": peak / 2**20,
    }


def measure_shares(run: Run, batches: Iterator[dict], steps: int) -> dict[str, float]:
    """Share of each of `PARTS` in the time of some steps; their sum is 1."""
    spent: Counter[str] = Counter()
    device = run.processes.device
    with (
        timed(run, "fuse", spent, "forward", device),
        timed(run, "loss", spent, "loss", device),
        timed(torch.Tensor, "backward", spent, "backward", device),
    ):
        for _ in range(steps):
            started = time.perf_counter()
            batch = next(batches)
            loaded = time.perf_counter()
            spent["data"] += loaded - started
            run.update(batch)
            wait_for(device)
            spent["update"] += time.perf_counter() - loaded
    spent["optimiser"] = spent["update"] - spent["forward"] - spent["loss"] - spent["backward"]
    total = spent["data"] + spent["update"]
    return {name: spent[name] / total for name in PARTS}


@contextmanager
def timed(owner: Any, name: str, spent: Counter[str], part: str, device: torch.device) -> Iterator[None]:
    """Add the seconds in the function `owner.name`, with its queued work, to `spent[part]`."""
    function: Callable = getattr(owner, name)
    own = name in vars(owner)

    @wraps(function)
    def timing(*args, **kwargs):
        started = time.perf_counter()
        result = function(*args, **kwargs)
        wait_for(device)
        spent[part] += time.perf_counter() - started
        return result

    setattr(owner, name, timing)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, function)
        else:
            delattr(owner, name)  # an object's method lies in its class


if __name__ == "__main__":
    sys.exit(main())
