"""How near fusion of noisy infrared and visible images comes to that of clean ones: PSNR, with and without --denoise.

python scripts/score_noise.py --infrared DATA/infrared --visible DATA/visible --noise 5 1 --grain 0.7

Sources are halved, which leaves little of their own noise.  Gaussian noise is added and rounded to 8 bits, with a grain
of so many pixels, as of enlarged images.  Results are compared with what the same network makes of the sources without
that noise.  Non-local means (Buades et al., doi:10.1109/CVPR.2005.38, by OpenCV) is told how strong the noise is.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray
from tqdm import tqdm

from adasffuse.cli.arguments import Parser, add_size_option, at_least
from adasffuse.files import check_outputs, write_text
from adasffuse.images.color import luminance
from adasffuse.images.image import ImageError
from adasffuse.images.notices import pick_evenly
from adasffuse.images.pairs import find_scenes, read_scene
from adasffuse.images.write import quantise
from adasffuse.inference import load_fuser
from adasffuse.metrics import ScoreTable, evaluate
from adasffuse.process import run_script, say

METRICS = ("PSNR_GT", "SSIM_GT")
AMOUNTS = (0.0, 0.5, 1.0)  # values of --denoise
LEAST = 32  # pixels per side


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--infrared", type=Path, required=True, metavar="DIR", help="infrared images")
    parser.add_argument("--visible", type=Path, required=True, metavar="DIR", help="visible images of the same names")
    parser.add_argument(
        "--count", type=at_least(1), default=9, help="number of pairs, evenly spaced (default: %(default)s)"
    )
    parser.add_argument(
        "--noise",
        type=float,
        nargs=2,
        default=(5.0, 1.0),
        metavar=("A", "B"),
        help="standard deviation of the noise of both sources, in gray levels (default: 5 1)",
    )
    parser.add_argument(
        "--grain", type=float, default=0.7, help="standard deviation of its grain, pixels; 0: none (default: 0.7)"
    )
    add_size_option(parser)
    parser.add_argument("--seed", type=at_least(0), default=0, help="random seed of the noise (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores of every pair here")
    args = parser.parse_args(argv)
    if not all(0 <= number < np.inf for number in (args.grain, *args.noise)):
        parser.error("--grain and --noise must be numbers, 0 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    check_outputs({"--json": args.json})
    fusers = {f"denoise {amount:g}": load_fuser("ivf", args.size, denoise=amount) for amount in AMOUNTS}
    plain = load_fuser("ivf", args.size)
    table = ScoreTable(METRICS)
    scenes, _ = find_scenes((args.infrared, args.visible))
    for scene in tqdm(pick_evenly(scenes, args.count), unit="pair"):
        rng = np.random.default_rng([args.seed, *scene.stem.encode()])
        images = [luminance(image.pixels) for image in read_scene(scene)]
        if min(images[0].shape) < LEAST:
            raise ImageError(f"{scene.paths[0]}: {LEAST} pixels per side are needed, for halves that can be scored")
        clean = [quantise(halved(image), "8") for image in images]
        noisy = [with_noise(image, level, args.grain, rng) for image, level in zip(clean, args.noise)]
        calm = [non_local_means(image, level) for image, level in zip(noisy, args.noise)]
        truth = plain.fuse(*clean)
        fused = {name: fuser.fuse(*noisy) for name, fuser in fusers.items()}
        fused["non-local means"] = plain.fuse(*calm)
        for name, image in fused.items():
            table.add(name, scene.stem, image.shape, evaluate(*clean, image, METRICS, reference=truth))
    if args.json:
        write_text(args.json, table.json())
    say(table.text())


def halved(image: ndarray) -> ndarray:
    return cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)


def with_noise(image: ndarray, level: float, grain: float, rng: np.random.Generator) -> ndarray:
    """An image, uint8, with noise of a standard deviation in gray levels and a grain in pixels."""
    noise = rng.standard_normal(image.shape)
    if grain:
        noise = cv2.GaussianBlur(noise, (0, 0), grain)
    return quantise((image + level * noise / noise.std()) / 255, "8")


def non_local_means(image: ndarray, level: float) -> ndarray:
    """An image, uint8, without noise of a known standard deviation in gray levels."""
    return cv2.fastNlMeansDenoising(image, None, level, 5, 15) if level else image


if __name__ == "__main__":
    sys.exit(main())
