"""Peak memory and seconds of `adasffuse fuse` or `score` on made pairs of many megapixels, each in its own process.

python scripts/benchmark_large.py --megapixels 24 --size small
python scripts/benchmark_large.py --megapixels 24 --scores
python scripts/benchmark_large.py --megapixels 24 --align affine
python scripts/benchmark_large.py --megapixels 100 --size tiny --depth 16 --suffix .tif
python scripts/benchmark_large.py --megapixels 6 --metrics QP
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

from adasffuse.cli.arguments import Parser, at_least
from adasffuse.images.write import write_image
from adasffuse.registration.transform import METHODS

_GRAIN = 64  # pixels per side of what the made images show


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--megapixels", type=at_least(1), nargs="+", default=[24], help="sizes of the images (default: 24)"
    )
    parser.add_argument("--size", default="small", help="size of the released weights (default: %(default)s)")
    parser.add_argument("--scores", action="store_true", help="also score")
    parser.add_argument("--align", choices=METHODS, help="register the pair, which is off by 1 %% of its width")
    parser.add_argument(
        "--depth", type=int, choices=(8, 16), default=8, help="bits of the sources (default: %(default)s)"
    )
    parser.add_argument(
        "--suffix", choices=(".png", ".tif"), default=".png", help="suffix of all files (default: %(default)s)"
    )
    parser.add_argument("--metrics", nargs="+", help="score the mean of the sources by these metrics, and fuse nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    for megapixels in args.megapixels:
        with tempfile.TemporaryDirectory() as folder:
            infrared, visible = (Path(folder) / name / f"pair{args.suffix}" for name in ("infrared", "visible"))
            make_pair(infrared, visible, megapixels, args.depth)
            if args.metrics:
                what = ["--metrics", *args.metrics]
                command = ["score", "--source_a", str(infrared.parent), "--source_b", str(visible.parent)]
                command += ["--baselines", "average", "--no_cache", "--workers", "1", *what]
            else:
                what = ["--size", args.size]
                if args.scores:
                    what.append("--scores")
                if args.align:
                    what += ["--align", args.align]
                fused = Path(folder) / f"fused{args.suffix}"
                command = ["fuse", str(infrared), str(visible), "-o", str(fused), "--task", "ivf", *what]
            started = time.perf_counter()
            done = subprocess.run([sys.executable, "-m", "adasffuse", *command], stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
            if done.returncode:
                return done.returncode
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # the largest child so far
        pair = f"{megapixels} megapixels, {args.depth} bits, {args.suffix}"
        print(f"{pair}, {' '.join(what)}: peak {peak:.2f} GiB, {seconds:.0f} s", flush=True)
    return 0


def make_pair(infrared: Path, visible: Path, megapixels: int, depth: int) -> None:
    """A gray and a colour image of smooth noise, of 8 or 16 bits; the gray one lies 1 % of the width off."""
    side = round((megapixels * 1e6) ** 0.5)
    dtype = np.uint8 if depth == 8 else np.uint16
    grain = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (side // _GRAIN, side // _GRAIN, 3), dtype)
    colours = cv2.resize(grain, (side, side), interpolation=cv2.INTER_CUBIC)
    write_image(visible, colours)
    write_image(infrared, np.roll(np.iinfo(dtype).max - colours[..., 1], side // 100, axis=1))


if __name__ == "__main__":
    sys.exit(main())
