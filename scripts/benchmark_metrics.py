"""Time the metrics of the default convention on one thread, on made images.

python scripts/benchmark_metrics.py --size 480 640
"""

import argparse
import os
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.cli.arguments import Parser, at_least
from adasffuse.metrics.conventions import definitions
from adasffuse.process import run_script, say

TWELVE = ("EN", "SD", "SF", "AG", "MI", "MSE", "PSNR", "CC", "SCD", "VIFF", "Qabf", "SSIM")  # of the authors' evaluator


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--size",
        type=at_least(1),
        nargs=2,
        default=(480, 640),
        metavar=("HEIGHT", "WIDTH"),
        help="size of the images (default: 480 640)",
    )
    parser.add_argument(
        "--repeats", type=at_least(1), default=7, help="number of times; the fastest counts (default: %(default)s)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    cv2.setNumThreads(1)  # the rest has one thread anyway: it does not call BLAS on large arrays
    images = scene(*args.size)
    say(f"{args.size[1]}x{args.size[0]} px, one thread, fastest of {args.repeats}, load {os.getloadavg()[0]:.1f}")
    total = 0.0
    for name, definition in definitions(TWELVE, "adasffuse").items():
        milliseconds = fastest(lambda one=definition: one.score(images), args.repeats)
        say(f"{name:8} {milliseconds:9.2f} ms")
        total += milliseconds
    say(f"{'all':8} {total:9.2f} ms")


def scene(height: int, width: int) -> dict[str, ndarray]:
    """Two textured images and their mean, float64 whole numbers on 0..255."""
    random = np.random.default_rng(0)
    a, b = (
        sum(cv2.GaussianBlur(random.normal(size=(height, width)), (0, 0), sigma) * 40 * sigma for sigma in (1, 4, 16))
        for _ in range(2)
    )
    a, b = (np.clip(np.rint(128 + x), 0, 255) for x in (a, b))
    return {"a": a, "b": b, "fused": np.rint((a + b) / 2)}


def fastest(function: Callable[[], object], repeats: int) -> float:
    """Milliseconds of the fastest call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


if __name__ == "__main__":
    sys.exit(main())
