"""Score multi-focus fusion against the truth, on pairs made from sharp photographs: PSNR and SSIM of the 8-bit result.

python scripts/score_focus.py --photographs DATA/MFF_sharp --pattern "urban_*" --weights mine.safetensors --json s.json

One image of a pair is sharp in a random near region, the other in the rest.  The other region is blurred by a disc of 2
to 6 pixels radius; a blurred near region spreads over the far one, and a Gaussian softens the border.

With --colour pairs are in colour, and the root mean square error of Cb and Cr is printed, too.  With --drift 0.1 one
image of each pair is darker by that share; results are then scored times the factor that fits the truth best.
"""

import argparse
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray
from scoring import add_baselines_option, spaced, write_reports
from tqdm import tqdm

from adasffuse.classical.baselines import BASELINES
from adasffuse.cli.arguments import Parser, add_device_option, add_precision_option, add_size_option, at_least, positive
from adasffuse.cli.task_script import METHOD
from adasffuse.data.heldout import MARGIN
from adasffuse.data.synthesis import focus_far, focus_near, smooth_noise
from adasffuse.files import check_outputs
from adasffuse.images.color import luminance, rgb_to_ycbcr
from adasffuse.images.read import IMAGE_SUFFIXES, ImageError, read_image
from adasffuse.images.write import quantise
from adasffuse.inference import load_fuser
from adasffuse.metrics import ScoreTable, evaluate
from adasffuse.process import run_script, say

METRICS = ("PSNR_GT", "SSIM_GT")
RADIUS = (2.0, 6.0)  # pixels


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True, metavar="DIR", help="folder of sharp photographs")
    parser.add_argument(
        "--pattern", default="*", help="pattern of the photographs' names, such as 'urban_*' (default: %(default)s)"
    )
    parser.add_argument("--count", type=at_least(1), metavar="N", help="score only N photographs, evenly spaced")
    parser.add_argument("--weights", metavar="FILE", help="weights file or name (default: the released ones)")
    add_size_option(parser)
    add_baselines_option(parser, ("laplacian", "gff", "average", "max"))
    parser.add_argument(
        "--edge", type=positive, default=4.0, help="standard deviation of the border, in pixels (default: %(default)s)"
    )
    parser.add_argument("--colour", action="store_true", help="make pairs in colour; gray photographs are left out")
    parser.add_argument(
        "--drift", type=float, default=0.0, help="share by which one image is darker (default: %(default)s)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="random seed of the pairs (default: %(default)s)")
    add_device_option(parser)
    add_precision_option(parser)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores of every pair here")
    args = parser.parse_args(argv)
    if not 0 <= args.drift < 1:
        parser.error(f"--drift must be from 0 to below 1, got {args.drift}")
    return args


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    check_outputs({"--markdown": args.markdown, "--json": args.json})
    fuser = load_fuser("mff", args.size, args.weights, args.device, precision=args.precision)
    table, errors = ScoreTable(METRICS), []
    files = photographs(args.photographs, args.pattern, args.count)
    made = pairs(files, args.edge, args.seed, args.drift, args.colour)
    for name, a, b, truth in tqdm(made, total=len(files), unit="pair"):
        fused = {METHOD: fuser.fuse(a, b)}
        sources = [luminance(as_float(source)) for source in (a, b)]
        fused |= {n: quantise(BASELINES[n](*sources), "8") for n in args.baselines}
        if args.colour:
            errors.append(chroma_error(fused[METHOD], truth))
        for method, image in fused.items():
            scored = as_bright(image, truth) if args.drift else image
            table.add(method, name, image.shape, evaluate(a, b, scored, METRICS, reference=truth))
    if args.colour and not errors:
        raise ImageError(f"--colour: all photographs in {args.photographs} are gray")
    write_reports(args, markdown=table.markdown(), json=table.json())
    say(table.text())
    if errors:
        say(f"{METHOD}: root mean square error of Cb and Cr {np.mean(errors):.3f} levels, n = {len(errors)}")


def photographs(folder: Path, pattern: str, count: int | None) -> list[Path]:
    """Image files whose stems match, sorted; `count` evenly spaced ones if it is given.

    Raises:
        ImageError: none matches.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES and fnmatch(f.stem, pattern)]
    if not files:
        raise ImageError(f"no photograph {pattern!r} in {folder}; give another --photographs or --pattern")
    return spaced(files, count or len(files))


def pairs(
    files: list[Path], edge: float, seed: int, drift: float = 0.0, colour: bool = False
) -> Iterator[tuple[str, ndarray, ndarray, ndarray]]:
    """Name, both sources and truth, (H, W) or (H, W, 3) uint8, of photographs; a pair depends only on seed and name."""
    for file in files:
        image = read_image(file).pixels
        if colour and image.ndim == 2:
            continue
        image = quantise(image if colour else luminance(image), "8")
        if min(image.shape[:2]) < 4 * MARGIN:
            raise ImageError(f"{file}: {image.shape[1]}x{image.shape[0]} pixels are too few to make a pair from")
        rng = np.random.default_rng([seed, *file.stem.encode()])
        near, far = focus_pair(as_float(image), edge, rng)
        darker = np.float32(1 - drift)
        near, far = (near * darker, far) if rng.random() < 0.5 else (near, far * darker)
        a, b, truth = (x[MARGIN:-MARGIN, MARGIN:-MARGIN] for x in (quantise(near, "8"), quantise(far, "8"), image))
        yield file.stem, a, b, truth


def focus_pair(image: ndarray, edge: float, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
    """A photograph in [0, 1], focused near and focused far; every second one has borders along objects."""
    height, width = image.shape[:2]
    depth = smooth_noise(height, width, tuple(rng.integers(3, 9, size=2)), rng)
    if rng.random() < 0.5:
        coarse = cv2.GaussianBlur(luminance(image), (0, 0), rng.uniform(1.5, 4))
        depth = depth + coarse / np.float32(coarse.std() + 1e-3)
    near = (depth > np.quantile(depth, rng.uniform(0.25, 0.75))).astype(np.float32)
    near = cv2.GaussianBlur(near, (0, 0), edge)
    radii = rng.uniform(*RADIUS, size=2)
    return focus_near(image, near, radii[0]), focus_far(image, near, radii[1])


def chroma_error(fused: ndarray, truth: ndarray) -> float:
    """Root mean square distance of (Cb, Cr) of two RGB images, (H, W, 3) uint8, in levels."""
    planes = [rgb_to_ycbcr(as_float(image))[1:] for image in (fused, truth)]
    return float(255 * np.sqrt(sum(np.mean(np.square(x - y)) for x, y in zip(*planes))))


def as_bright(image: ndarray, truth: ndarray) -> ndarray:
    """Luminance (H, W) uint8 of an image times the factor that brings it nearest to that of the truth."""
    y, wanted = (luminance(as_float(x)) for x in (image, truth))
    return quantise(y * np.float32((y * wanted).sum() / max(np.square(y).sum(), 1e-6)), "8")


def as_float(image: ndarray) -> ndarray:
    return image.astype(np.float32) / np.float32(255)


if __name__ == "__main__":
    sys.exit(main())
