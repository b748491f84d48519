"""Speed of `adasffuse video` and steadiness of its results, on a rendered street.

python scripts/benchmark_video.py                    # frames/s of each step alone, and of all together
python scripts/benchmark_video.py --steadiness       # change from frame to frame, static scene and moving figure
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import format_rows, seconds
from torch import Tensor

from adasffuse import Fuser, load_fuser
from adasffuse.cli.arguments import Parser, at_least
from adasffuse.images.color import luminance
from adasffuse.images.frames import VideoFile
from adasffuse.images.masks import dilate
from adasffuse.images.noise import denoised
from adasffuse.images.video_writing import write_video
from adasffuse.inference.video import fuse_video
from adasffuse.models.network import stack_sources
from adasffuse.process import run_script, say
from adasffuse.scenes.street import night_scene

SHOWN = ("A", "B", "fused", "still weights", "smoothed weights", "denoise 1")
NOISES = ((1, 1), (2, 2), (4, 4), (4, 1), (1, 4))  # gray levels of source A and B
SEEDS = (3, 14, 21)  # of the streets
SEEN = 0.02  # least share of the figure in a pixel that counts as touched
SHARE = 0.2  # weight of a new frame when weights are smoothed over time


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--steadiness", action="store_true", help="measure how steady results are, in place of the speed"
    )
    parser.add_argument("--size", help="size of the released weights (default: tiny)")
    parser.add_argument("--weights", metavar="FILE", help="other weights")
    parser.add_argument(
        "--frames", type=at_least(1), default=40, help="frames of the speed test (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=at_least(1), default=2, help="CPU threads of the network (default: %(default)s)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    fuser = load_fuser("ivf", args.size or (None if args.weights else "tiny"), weights=args.weights)
    if args.steadiness:
        say(format_rows(("noise A, B", *SHOWN), list(static(fuser))))
        say(format_rows(("street", "near", "far", "largest far", "ghost"), list(moving(fuser))))
    else:
        with tempfile.TemporaryDirectory() as folder:
            say(format_rows(("step", "frames/s", "of network"), speed(fuser, Path(folder), args.frames)))


def speed(fuser: Fuser, folder: Path, count: int) -> list[dict]:
    """Frames per second of each step alone, and of all together."""
    scene = night_scene(np.random.default_rng(SEEDS[0]), (480, 640))
    rng = np.random.default_rng(0)
    paths = folder / "a.mp4", folder / "b.mp4"
    for path, clean in zip(paths, (scene.infrared, scene.visible)):
        write(path, [noisy(clean, 2, rng) for _ in range(count)])
    pairs = list(zip(*([frame.image for frame in VideoFile(path)] for path in paths)))
    prepared = [fuser.prepare(*pair) for pair in pairs]
    fuser.fuse_prepared(prepared[0])
    lumas: list[np.ndarray] = []
    results: list[np.ndarray] = []
    steps = {
        "network": lambda: lumas.extend(fuser.fuse_prepared(one) for one in prepared),
        "read both": lambda: [list(VideoFile(path)) for path in paths],
        "prepare": lambda: [fuser.prepare(*pair) for pair in pairs],
        "colour": lambda: results.extend(fuser.finish(*pair) for pair in zip(lumas, prepared)),
        "encode": lambda: write(folder / "c.mp4", results),
        "all together": lambda: fuse_video(fuser, *map(VideoFile, paths), folder / "fused.mp4"),
    }
    rates = {name: count / seconds(step, fuser.device) for name, step in steps.items()}
    return [{"step": name, "frames/s": rate, "of network": rate / rates["network"]} for name, rate in rates.items()]


def static(fuser: Fuser, frames: int = 6) -> Iterator[dict]:
    """Mean absolute change of luminance between frames of a static scene, 8-bit levels, fresh noise in every frame.

    Still weights: those of the scene without noise.  Smoothed weights: a running mean over about `1 / SHARE` frames.
    Denoise 1: of sources without what is taken for noise.
    """
    for noise in NOISES:
        changes = []
        for seed in SEEDS:
            clean = [luminance(image) for image in street(seed)]
            still, rng, smoothed, shown = weights(fuser, *clean), np.random.default_rng(seed), None, []
            for _ in range(frames):
                pair = [noisy(image, level, rng) / np.float32(255) for image, level in zip(clean, noise)]
                own = weights(fuser, *pair)
                smoothed = own if smoothed is None else mixed(smoothed, own)
                calm = [denoised(image, 1) for image in pair]
                fused = [composed(fuser, *pair, maps) for maps in (own, still, smoothed)]
                shown.append([*pair, *fused, composed(fuser, *calm, weights(fuser, *calm))])
            changes.append([mean_change(column) for column in zip(*shown)])
        yield {"noise A, B": f"{noise[0]}, {noise[1]}", **dict(zip(SHOWN, np.mean(changes, axis=0)))}


def moving(fuser: Fuser, frames: int = 12, step: int = 6) -> Iterator[dict]:
    """A hot figure walks through a scene without noise: mean change of the static pixels, 8-bit levels.

    Near: 4 to 32 pixels from the figure; far: beyond.  Ghost: mean difference that smoothed weights would make where
    the figure has been, against each frame's own weights.
    """
    for seed in SEEDS:
        clean = [luminance(image) for image in street(seed)]
        before, smoothed, rows, ghosts = None, None, [], []
        for number in range(frames):
            inside = figure(clean[0].shape, 40 + step * number)
            pair = [image * (1 - inside) + value * inside for image, value in zip(clean, (0.95, 0.06))]
            own = weights(fuser, *pair)
            smoothed = own if smoothed is None else mixed(smoothed, own)
            fused = composed(fuser, *pair, own)
            if before is not None:
                change = 255 * np.abs(fused - before[0])
                both = np.maximum(inside, before[1]) > SEEN
                near, far = dilate(both, 4), dilate(both, 32)
                rows.append((change[far & ~near].mean(), change[~far].mean(), change[~far].max()))
                left = (before[1] > 0.5) & ~dilate(inside > SEEN, 1)
                ghosts.append(255 * np.abs(composed(fuser, *pair, smoothed) - fused)[left].mean())
            before = fused, inside
        near, far, largest = np.mean(rows, axis=0)
        yield {"street": seed, "near": near, "far": far, "largest far": largest, "ghost": np.mean(ghosts)}


def street(seed: int, height: int = 240, width: int = 320) -> tuple[np.ndarray, np.ndarray]:
    """Infrared and visible image of a rendered street, reduced to half, which also halves its noise."""
    scene = night_scene(np.random.default_rng(seed), (2 * height, 2 * width))
    return tuple(cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA) for x in (scene.infrared, scene.visible))


def noisy(image: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """uint8 with Gaussian noise of `level` gray levels."""
    return np.rint((255 * image + rng.normal(0, level, image.shape)).clip(0, 255)).astype(np.uint8)


def figure(shape: tuple[int, int], x: int) -> np.ndarray:
    """(H, W) float32, 1 inside an upright figure."""
    inside = np.zeros(shape, np.float32)
    cv2.ellipse(inside, (x, 150), (9, 28), 0, 0, 360, 1, -1)
    cv2.circle(inside, (x, 115), 8, 1, -1)
    return cv2.GaussianBlur(inside, (0, 0), 1)


def mean_change(images: Sequence[np.ndarray]) -> float:
    return 255 * float(np.mean([np.abs(after - before).mean() for before, after in itertools.pairwise(images)]))


@torch.inference_mode()
def weights(fuser: Fuser, a: np.ndarray, b: np.ndarray) -> tuple[Tensor, ...]:
    return fuser.model.weight_maps(as_tensor(a, b), fuser.task.kinds_of(2))


@torch.inference_mode()
def composed(fuser: Fuser, a: np.ndarray, b: np.ndarray, maps: tuple[Tensor, ...]) -> np.ndarray:
    return fuser.model.compose(as_tensor(a, b), maps, fuser.task.kinds_of(2))[0, 0].clamp(0, 1).numpy()


def mixed(smoothed: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.lerp(old, new, SHARE) for old, new in zip(smoothed, own))


def as_tensor(a: np.ndarray, b: np.ndarray) -> Tensor:
    return stack_sources(*(torch.from_numpy(np.float32(x))[None, None] for x in (a, b)))


def write(path: Path, images: Sequence[np.ndarray]) -> None:
    rate = Fraction(25)
    with write_video(path, *images[0].shape[:2], rate, 1 / rate) as writer:
        for pts, image in enumerate(images):
            writer.write(image, pts)
        writer.finish(len(images) / 25)


if __name__ == "__main__":
    sys.exit(main())
