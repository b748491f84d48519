"""Time of fusing a folder of pairs over that of the network alone: reading, colour and writing should overlap with it.

python scripts/benchmark_folder.py --task ivf --size small --pairs 100
python scripts/benchmark_folder.py --task ivf --root_path DATA/test --dataset IVF_MSRS

The pairs are those of a data set, or the task's built-in samples at 640x480, repeated as needed.  A round fuses all of
them twice: luminance in memory, one pair after another with all threads ('network'), and copies of the files like
`test_*_RGB.py`, without scores ('folder').  `ratio` is the folder's time over the network's, `start` the seconds from
starting Python until the network was ready, `first` the first image.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from adasffuse.cli.arguments import Parser, add_device_option, at_least
from adasffuse.data.samples import sample_pairs
from adasffuse.images.color import luminance
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.pairs import SceneFolder, find_scenes, read_scene
from adasffuse.images.write import write_image
from adasffuse.inference import Fuser, fuse_folder, load_fuser
from adasffuse.models import RELEASED_SIZES
from adasffuse.process import SPINS, keep_freed_memory, run_script
from adasffuse.tasks import TASKS

SIZE = 640, 480  # of the built-in pairs, width and height


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, default="ivf", help="task of the network (default: %(default)s)")
    parser.add_argument(
        "--size", choices=RELEASED_SIZES, default="small", help="size of the released weights (default: %(default)s)"
    )
    parser.add_argument("--root_path", type=Path, help="folder of data sets (default: built-in samples)")
    parser.add_argument("--dataset", help="data set in it, of which the first subset is taken (default: the task's)")
    parser.add_argument("--pairs", type=at_least(1), default=100, help="number of pairs (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=at_least(1), default=2, help="number of times that all pairs are fused (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=at_least(1), default=torch.get_num_threads(), help="CPU threads (default: %(default)s)"
    )
    add_device_option(parser)
    parser.add_argument("--launched", type=float, help=argparse.SUPPRESS)  # measure here, in a process begun then
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if args.launched is None:  # with the setting of OpenMP that the test scripts make before they load PyTorch
        command = [sys.executable, os.path.abspath(__file__), *(sys.argv[1:] if argv is None else argv)]
        environment = {"GOMP_SPINCOUNT": SPINS} | os.environ
        return subprocess.run([*command, "--launched", str(time.time())], env=environment, check=False).returncode
    return run_script(measure, args)


def measure(args: argparse.Namespace) -> None:
    """Print what the rounds take in this process.

    Raises:
        ValueError, OSError: no such data, or a pair cannot be fused.
    """
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    fuser = load_fuser(args.task, args.size, device=args.device)
    start = time.time() - args.launched
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        name = TASKS[args.task].folder
        if args.root_path is None:
            write_samples(root / "samples", args.task)
            originals = SceneFolder(name, (root / "samples/a", root / "samples/b"))
        else:
            originals = scene_folders(args.root_path, args.dataset or name)[0]
        folder = SceneFolder(originals.name, (root / "a", root / "b"))
        copy_pairs(originals, folder, args.pairs)
        lumas = list(read_lumas(folder))

        first = network_seconds(fuser, lumas[:1])
        print(f"{args.pairs} pairs of {folder.name}, {args.size} in {fuser.precision} on {fuser.device}", end=", ")
        print(f"{args.threads} threads: start {start:.2f} s, first {first:.3f} s")
        for _ in range(args.rounds):
            alone = network_seconds(fuser, lumas)
            report = fuse_folder(fuser, folder, root / "fused")
            if report.failed:
                raise ValueError(report.summary())
            print(f"network {alone:.2f} s, folder {report.seconds:.2f} s, ratio {report.seconds / alone:.3f}")


def write_samples(root: Path, task: str) -> None:
    """The task's samples, enlarged, in folders a and b."""
    for sample in sample_pairs(task):
        for side, image in (("a", sample.a), ("b", sample.b)):
            write_image(root / side / f"{sample.name}.png", cv2.resize(image, SIZE, interpolation=cv2.INTER_CUBIC))


def copy_pairs(originals: SceneFolder, folder: SceneFolder, count: int) -> None:
    """Copy the pairs in turn until there are `count`."""
    pairs, _ = find_scenes(originals.folders)
    for side in folder.folders:
        side.mkdir()
    for number, pair in zip(range(count), itertools.cycle(pairs)):
        shutil.copy(pair.paths[0], folder.folders[0] / f"{number:06d}{pair.paths[0].suffix}")
        shutil.copy(pair.paths[1], folder.folders[1] / f"{number:06d}{pair.paths[1].suffix}")


def read_lumas(folder: SceneFolder) -> Iterator[tuple[np.ndarray, ...]]:
    """Luminance of both images of each pair, (H, W) float32 in [0, 1]."""
    for pair in find_scenes(folder.folders)[0]:
        yield tuple(luminance(image.pixels) for image in read_scene(pair))


def network_seconds(fuser: Fuser, lumas: list[tuple[np.ndarray, ...]]) -> float:
    """Seconds of the network for these pairs, one after another."""
    started = time.perf_counter()
    for pair in lumas:
        fuser.fuse_luminance(*pair)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
