"""Stacks fused by this package and by others: MEF-SSIM of brackets, sharpness of focus stacks, peak memory.

python scripts/benchmark_stacks.py --mef DATA/stacks/MEF --mff DATA/stacks/MFF
python scripts/benchmark_stacks.py --mff DATA/stacks/MFF --openfocus PATH/bin/openfocus
python scripts/benchmark_stacks.py --memory 5 50 --megapixels 6
python scripts/benchmark_stacks.py --moving
python scripts/benchmark_stacks.py --colours DATA/stacks/MEF

Others are OpenCV's Mertens fusion, `enfuse` if it is installed, and OpenFocus if --openfocus names it.  MEF-SSIM (Ma et
al., IEEE TIP 2015, doi:10.1109/TIP.2015.2442920) is over all images of the bracket, three scales.  Sharpness is
gradient energy (Gaussian mean of squared differences, 1.5 pixels) over that of the sharpest image at each pixel, at
most 1, weighted by the latter: 1 for a result that is everywhere as sharp as the sharpest image.  Noise counts as
sharp.  With --colours, those of the middle exposure of each bracket are told from the others, at its own luminance, and
compared with it by CIEDE2000 where it is neither clipped nor nearly black.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import format_rows, peak_memory, run_alone
from numpy import ndarray
from skimage import data as photographs
from skimage.color import deltaE_ciede2000, rgb2lab

from adasffuse import load_fuser
from adasffuse.cli.arguments import Parser, at_least, positive
from adasffuse.data.synthesis import expose
from adasffuse.images.color import ChromaMean, as_rgb, is_gray, luminance, rgb_to_ycbcr, with_chroma
from adasffuse.images.folders import images_of
from adasffuse.images.image import ImageError
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise, write_image
from adasffuse.inference.stack import StackOptions, fuse_stack
from adasffuse.losses.metrics import exposure_structure
from adasffuse.process import run_script, say
from adasffuse.registration.stacks import STACK_METHODS

Method = Callable[[list[Path], Path], ndarray]  # files of a stack and a scratch folder, to (H, W, 3) uint8


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--mef", type=Path, help="folder of folders with exposures")
    parser.add_argument("--mff", type=Path, help="folder of folders with focus settings")
    parser.add_argument("--openfocus", help="the openfocus program to compare with, best in an environment of its own")
    parser.add_argument(
        "--align",
        choices=("none", *STACK_METHODS),
        default="none",
        help="registration by this package (default: %(default)s)",
    )
    parser.add_argument(
        "--memory", nargs="+", type=at_least(1), metavar="N", help="measure the peak memory of stacks of N made images"
    )
    parser.add_argument(
        "--moving",
        action="store_true",
        help="measure made brackets in which something moves: PSNR to those in which it stays",
    )
    parser.add_argument("--colours", type=Path, metavar="DIR", help="folder of folders with three exposures or more")
    parser.add_argument("--megapixels", type=positive, default=6, help="size of made images (default: %(default)s)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # measure a stack of so many images here
    args = parser.parse_args(argv)
    if not (args.mef or args.mff or args.colours or args.moving or args.memory or args.one):
        parser.error("nothing to measure: give --mef, --mff, --colours, --moving or --memory")
    return args


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    if args.one:
        say(json.dumps({"GiB": peak_of(args.one, args.megapixels, args.align)}))
        return
    for task, folder, score in (("mef", args.mef, exposure_score), ("mff", args.mff, sharpness)):
        if folder:
            say(table(task, folder, score, args))
    if args.colours:
        say(colours(args.colours))
    if args.moving:
        say(ghosts())
    for count in args.memory or ():
        command = [sys.executable, __file__, "--one", str(count), "--megapixels", str(args.megapixels)]
        what = f"{count} images of {args.megapixels:g} megapixels, --align {args.align}"
        peak = run_alone([*command, "--align", args.align], what)["GiB"]
        say(f"{what}: peak {peak:.2f} GiB")


def methods(task: str, args: argparse.Namespace) -> dict[str, Method]:
    """This package's sizes, and the other methods that are available."""
    options = StackOptions(align=args.align, depth="8")
    found: dict[str, Method] = {f"AdaSFFuse {size}": ours(task, size, options) for size in ("tiny", "small")}
    if task == "mef":
        found["Mertens (OpenCV)"] = mertens
    if shutil.which("enfuse"):
        found["enfuse"] = lambda files, scratch: by_program(files, scratch, enfuse_command(task))
    if args.openfocus and task == "mff":
        for method in ("stackmffv3", "guided_filter"):
            start = [args.openfocus, "--cpu", "-m", method, "--align", "none", "-o"]
            found[f"OpenFocus {method}"] = partial(by_program, command=partial(openfocus_command, start))
    return found


def ours(task: str, size: str, options: StackOptions) -> Method:
    fuser = load_fuser(task, size)
    return lambda files, _: as_rgb(fuse_stack(fuser, files, options).pixels)


def openfocus_command(start: list[str], names: list[str], out: str) -> list[str]:
    return [*start, out, "-i", *names]


def mertens(files: list[Path], _: Path) -> ndarray:
    images = [cv2.imread(str(file)) for file in files]
    return np.rint(cv2.createMergeMertens().process(images).clip(0, 1) * 255).astype(np.uint8)[..., ::-1]


def enfuse_command(task: str) -> Callable[[list[str], str], list[str]]:
    focus = ["--exposure-weight=0", "--saturation-weight=0", "--contrast-weight=1", "--hard-mask"]
    return lambda names, out: ["enfuse", *(focus if task == "mff" else []), "-o", out, *names]


def by_program(files: list[Path], scratch: Path, command: Callable[[list[str], str], list[str]]) -> ndarray:
    out = scratch / "out.png"
    subprocess.run(command([str(file) for file in files], str(out)), check=True, capture_output=True)
    return cv2.imread(str(out))[..., ::-1]


def stacks_below(folder: Path, least: int = 2) -> dict[str, list[Path]]:
    """Name and images of each stack, a folder of its own.

    Raises:
        ImageError: there is none, or one has fewer than `least` images.
    """
    found = {place.name: images_of(place) for place in sorted(folder.iterdir()) if place.is_dir()}
    if not found:
        raise ImageError(f"{folder} holds no folders; each stack lies in one of its own")
    for name, files in found.items():
        if len(files) < least:
            raise ImageError(f"{folder / name} holds {len(files)} images; {least} or more are needed")
    return found


def table(task: str, folder: Path, score: Callable[[list[ndarray], ndarray], float], args: argparse.Namespace) -> str:
    """A row for each stack, a column for each method, and the means."""
    found, rows = methods(task, args), []
    for stack, files in stacks_below(folder).items():
        sources = [luminance(read_image(file).pixels) for file in files]
        row = {"stack": f"{stack} ({len(files)})"}
        for name, fuse in found.items():
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    fused = fuse(files, Path(scratch))
                except (subprocess.CalledProcessError, ValueError) as error:
                    say(f"{name} on {stack}: {str(error)[:200]}", sys.stderr)
                    continue
            if fused.shape[:2] == sources[0].shape:
                row[name] = score(sources, luminance(fused.astype(np.float32) / 255))
        rows.append(row)
    means = {"stack": "mean"}
    for name in found:
        values = [row[name] for row in rows if name in row]
        means[name] = float(np.mean(values)) if values else float("nan")
    cells = [{key: f"{v:.4f}" if isinstance(v, float) else v for key, v in row.items()} for row in (*rows, means)]
    return f"{task}, {score.__name__}\n" + format_rows(
        ("stack", *found), [{name: row.get(name, "-") for name in ("stack", *found)} for row in cells]
    )


def exposure_score(sources: list[ndarray], fused: ndarray) -> float:
    """MEF-SSIM of three scales."""
    tensors = [torch.from_numpy(image)[None, None] for image in (*sources, fused)]
    return float(exposure_structure(torch.stack(tensors[:-1]), tensors[-1]))


def sharpness(sources: list[ndarray], fused: ndarray) -> float:
    """Gradient energy over that of the sharpest image."""
    sharpest = np.max([gradient_energy(image) for image in sources], axis=0)
    share = np.minimum(gradient_energy(fused) / np.maximum(sharpest, 1e-9), 1)
    return float((share * sharpest).sum() / sharpest.sum())


def gradient_energy(image: ndarray) -> ndarray:
    """Squared differences to the right and downwards, averaged by a Gaussian of 1.5 pixels."""
    dx, dy = (cv2.Sobel(image, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
    return cv2.GaussianBlur(dx * dx + dy * dy, (0, 0), 1.5)


def colours(folder: Path) -> str:
    """Mean CIEDE2000 of the middle exposures' colours, told by the two ends and by all others of the brackets."""
    rows = []
    for stack, files in stacks_below(folder, least=3).items():
        images = [read_image(file).pixels for file in files]
        if any(is_gray(image) for image in images):
            raise ImageError(f"{folder / stack} holds gray images; their colours cannot be told")
        middle = len(images) // 2
        others = {"two ends": [images[0], images[-1]], "all others": images[:middle] + images[middle + 1 :]}
        row = {"bracket": stack, "exposures": len(images)}
        for name, sources in others.items():
            for method, chroma in (("AdaSFFuse", told_chroma), ("Mertens (OpenCV)", mertens_chroma)):
                row[f"{method}, {name}"] = f"{color_error(images[middle], chroma, sources):.2f}"
        rows.append(row)
    means = {key: f"{np.mean([float(row[key]) for row in rows]):.2f}" for key in list(rows[0])[2:]}
    return format_rows(list(rows[0]), [*rows, {"bracket": "mean", "exposures": "", **means}])


def color_error(truth: ndarray, chroma: Callable[[list[ndarray], ndarray], tuple[ndarray, ndarray]], sources) -> float:
    """Mean CIEDE2000 of a photograph, (H, W, 3) in [0, 1], and its luminance with the chroma that sources tell."""
    y = luminance(truth)
    told = with_chroma(y, chroma(sources, y), "exposed", "float")
    apart = deltaE_ciede2000(rgb2lab(truth), rgb2lab(told))
    return float(apart[(truth.max(axis=2) < 0.97) & (y > 0.04)].mean())


def told_chroma(sources: list[ndarray], luma: ndarray) -> tuple[ndarray, ndarray]:
    mean = ChromaMean("exposed")
    for source in sources:
        mean.add(source, luma)
    return mean.result()


def mertens_chroma(sources: list[ndarray], _: ndarray) -> tuple[ndarray, ndarray]:
    fused = cv2.createMergeMertens().process([quantise(source, "8") for source in sources])
    return rgb_to_ycbcr(fused.clip(0, 1))[1:]


def ghosts() -> str:
    """A table of brackets in which a photograph of 90x90 pixels moves by 70 from exposure to exposure: PSNR in dB."""
    fuser, rows = load_fuser("mef"), []
    around = slice(130, 260), slice(60, 530)
    for name, stops in product(("coffee", "chelsea", "astronaut", "rocket"), ((-2, 0, 2), (-3, -1.5, 0, 1.5, 3))):
        with tempfile.TemporaryDirectory() as folder:
            still, moving = (moving_bracket(Path(folder, str(step)), name, stops, step) for step in (0, 70))
            truth = fuse_stack(fuser, still).pixels
            kept = fuse_stack(fuser, moving).pixels
            removed, same = (
                fuse_stack(fuser, stack, StackOptions(ghosts="remove")).pixels for stack in (moving, still)
            )
        row = {"photograph": name, "exposures": len(stops)}
        row |= {"kept": decibels(kept[around], truth[around]), "removed": decibels(removed[around], truth[around])}
        rows.append(row | {"removed, nothing moves": decibels(same, truth)})
    return format_rows(list(rows[0]), rows)


def moving_bracket(folder: Path, name: str, stops: Sequence[float], step: int) -> list[Path]:
    """Exposures of one of scikit-image's photographs, with another one before it that moves by `step` pixels."""
    scene = cv2.resize(getattr(photographs, name)(), (600, 400), interpolation=cv2.INTER_AREA)
    thing = cv2.resize(photographs.camera()[60:260, 150:350], (90, 90), interpolation=cv2.INTER_AREA)
    files = []
    for number, stop in enumerate(stops):
        image, left = scene.copy(), 250 + step * (number - len(stops) // 2)
        image[150:240, left : left + 90] = thing[..., None]
        files.append(folder / f"{number}.png")
        write_image(files[-1], expose(image / np.float32(255), stop).astype(np.float32))
    return files


def decibels(image: ndarray, truth: ndarray) -> float:
    """PSNR of 8-bit images; infinite where they are equal."""
    error = np.square(image.astype(float) - truth).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def peak_of(count: int, megapixels: float, align: str) -> float:
    """Peak memory of this process, in GiB, after fusing a made focus stack in colour."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = height * 3 // 2
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    scene = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number:02d}.png" for number in range(count)]
        blurred = cv2.GaussianBlur(scene, (0, 0), 8)
        for number, file in enumerate(files):
            image = blurred.copy()
            rows = slice(number * height // count, (number + 1) * height // count)
            image[rows] = scene[rows]
            write_image(file, image)
        del coarse, scene, blurred, image
        fuse_stack(load_fuser("mff", "tiny"), files, StackOptions(align=align))
    return peak_memory(torch.device("cpu")) / 2**30


if __name__ == "__main__":
    sys.exit(main())
