"""Peak memory and seconds of `adasffuse fuse` on made pairs of many megapixels, each in a process of its own.

python scripts/benchmark_large.py --megapixels 24 --size small
python scripts/benchmark_large.py --megapixels 24 --scores
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from adasffuse.images.write import write_image

_GRAIN = 64  # pixels per side of what the made images show


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=int, nargs="+", default=[24], help="(24)")
    parser.add_argument("--size", default="small", help="released weights (%(default)s)")
    parser.add_argument("--scores", action="store_true", help="also score")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    more = ["--size", args.size, *(["--scores"] if args.scores else [])]
    for megapixels in args.megapixels:
        with tempfile.TemporaryDirectory() as folder:
            files = [str(Path(folder) / name) for name in ("infrared.png", "visible.png", "fused.png")]
            make_pair(files[0], files[1], megapixels)
            command = [*files[:2], "-o", files[2], "--task", "ivf", *more]
            started = time.perf_counter()
            done = subprocess.run([sys.executable, "-m", "adasffuse", "fuse", *command], stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
            if done.returncode:
                return done.returncode
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # the largest child so far
        print(f"{megapixels} megapixels, {' '.join(more)}: peak {peak:.2f} GiB, {seconds:.0f} s", flush=True)
    return 0


def make_pair(infrared: str, visible: str, megapixels: int) -> None:
    """A gray and a colour image of smooth noise, 8 bits."""
    side = round((megapixels * 1e6) ** 0.5)
    grain = np.random.default_rng(0).integers(0, 256, (side // _GRAIN, side // _GRAIN, 3), np.uint8)
    colours = cv2.resize(grain, (side, side), interpolation=cv2.INTER_CUBIC)
    write_image(visible, colours)
    write_image(infrared, np.ascontiguousarray(colours[::-1, :, 1]))


if __name__ == "__main__":
    sys.exit(main())
