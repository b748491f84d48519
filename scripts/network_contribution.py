"""What each part of a trained network contributes: scores with the part switched off, and how far it is from baselines.

python scripts/network_contribution.py --task ivf --root_path DATA/test
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from adasffuse.classical.baselines import BASELINES
from adasffuse.images.color import luminance
from adasffuse.images.pairs import find_scenes, read_scene, scene_folders
from adasffuse.images.write import quantise
from adasffuse.inference import Fuser, load_fuser
from adasffuse.metrics import DEFAULT_METRICS, ScoreTable, evaluate
from adasffuse.models import RELEASED_SIZES, AdaSFFuse
from adasffuse.models.mamba import Mixer
from adasffuse.models.spectral import SpectralFilter
from adasffuse.process import keep_freed_memory
from adasffuse.tasks import TASKS, find_task

COMPARED = ("average", "max", "laplacian")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--root_path", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--dataset", help="data set below it (default: the task's)")
    parser.add_argument("--model_path", "--weights", help="weights file (default: released weights)")
    parser.add_argument("--size", choices=RELEASED_SIZES, help="of released weights (small)")
    parser.add_argument("--pairs", type=int, default=8, help="pairs per folder, evenly spaced (default: %(default)s)")
    parser.add_argument("--device", default="auto")
    return parser.parse_args(argv)


@contextmanager
def without_band(model: AdaSFFuse, band: int) -> Iterator[None]:
    """The network with its low (0) or high (1) bands set to zero after the split."""

    def blank(_module, _inputs, bands):
        return tuple(torch.zeros_like(t) if i == band else t for i, t in enumerate(bands))

    handle = model.split.register_forward_hook(blank)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def with_parameter(model: AdaSFFuse, kind: type, name: str, value: float) -> Iterator[None]:
    """The network with one parameter of all its modules of a kind set to a value."""
    parameters = [getattr(module, name) for module in model.modules() if isinstance(module, kind)]
    kept = [p.detach().clone() for p in parameters]
    try:
        for p in parameters:
            p.data.fill_(value)
        yield
    finally:
        for p, value in zip(parameters, kept):
            p.data.copy_(value)


def variants(fuser: Fuser) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Ways of fusing (H, W) luminance: the whole network, and without each of its parts."""
    model, fuse = fuser.model, fuser.fuse_luminance

    def under(context) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def run(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            with context():
                return fuse(a, b)

        return run

    return {
        "network": fuse,
        "source A blank": lambda a, b: fuse(np.zeros_like(a), b),
        "source B blank": lambda a, b: fuse(a, np.zeros_like(b)),
        "no low band": under(lambda: without_band(model, 0)),
        "no high bands": under(lambda: without_band(model, 1)),
        "no scan": under(lambda: with_parameter(model, Mixer, "dt_bias", -1e4)),  # dt = 0: nothing enters the state
        "no FFT branch": under(lambda: with_parameter(model, SpectralFilter, "weight", 0.0)),
    }


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    keep_freed_memory(one_arena=True)
    task = find_task(args.task)
    try:
        fuser = load_fuser(task.id, args.size, args.model_path, args.device)
        for folder in scene_folders(args.root_path, args.dataset or task.folder):
            pairs, _ = find_scenes(folder.folders)
            chosen = pairs[:: max(1, len(pairs) // args.pairs)][: args.pairs]
            report(fuser, folder.name, chosen)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def report(fuser: Fuser, name: str, pairs: list) -> None:
    """Print the scores of all variants and baselines, and the PSNR of the network to each baseline and variant."""
    table, distances = ScoreTable(DEFAULT_METRICS), {}
    methods = {**variants(fuser), **{f"baseline {n}": BASELINES[n] for n in COMPARED}}
    for pair in tqdm(pairs, desc=name, unit="pair"):
        a, b = (luminance(image.pixels) for image in read_scene(pair))
        fused = {method: quantise(fuse(a, b), "8") for method, fuse in methods.items()}
        levels = [quantise(x, "8") for x in (a, b)]
        for method, image in fused.items():
            scores = evaluate(*levels, image, DEFAULT_METRICS)
            table.add(method, pair.stem, a.shape, scores)
            error = np.mean((image.astype(float) - fused["network"]) ** 2)
            distances.setdefault(method, []).append(10 * np.log10(255**2 / error) if error else np.inf)
    print(f"{name}\n{table.text()}")
    for method, values in distances.items():
        if method != "network":
            print(f"PSNR of the network's result to {method:18s} {np.mean(values):6.2f} dB")


if __name__ == "__main__":
    sys.exit(main())
