"""Accuracy of registration: known affine movements, known smooth fields, and scores of the fused results.

python scripts/benchmark_registration.py --root_path DATA/test --datasets IVF IVF_MSRS MIF/PET-MRI --count 8
python scripts/benchmark_registration.py --root_path DATA/train --datasets IVF IVF_M3FD --checks
python scripts/benchmark_registration.py --root_path DATA/train --datasets IVF --turns "mirrored left to right"
python scripts/benchmark_registration.py --root_path DATA/train --datasets MIF/SPECT-MRI --slices 12
python scripts/benchmark_registration.py --rendered 8 --heads 8
python scripts/benchmark_registration.py --fields DATA/misaligned/IVF_MSRS --clean DATA/test/IVF_MSRS

Known affine movements: source A is warped so that the corners move by up to 5 % of the width, and registered to B.  The
first figure is the corner error, the mean distance at the four corners in pixels.  It includes the misalignment of the
original pair; the second figure is relative to the estimate for the original pair.  The third is the second over the
pixels where B is not black, since a head is far from the corners.  --similar: only turn, scale and shift.  Known
fields: the mean distance over the pixels, beside no registration and an affine one.  Other work on the machine affects
times.

--scores: moved and original pairs are registered, fused, and scored in the rectangle where all hold data: each against
its own sources, and all against those of the original pair.  All lack data in the same regions, since the other source
is faded in beside these; what that costs the original pair is told by itself.  Scored beside the estimate are the known
map, whose loss is that of resampling twice, and the estimate with all resampling in one, whose loss is the estimate's.

--slices N: of each head, whose slices have names that differ in their last three digits, up to N slices are moved by
one known movement and registered together, as `align --save` does.

--checks: number of accepted pairs: original, moved, and of different scenes (two per pair); processor time of the
misalignment score; and the share of image quarters in which registering the original pair raises the correlation of
gradient strengths, which the estimate does not use.  --turns: number of pairs in which source A is suspected to be
turned or mirrored, as A comes and after it was turned in each of the seven ways: of pairs that are not registered, and
of those that registration accepts; and what it refuses with the turn as the reason.

--rendered: displacement of aligned images, and corner error after known affine and perspective movements.  --heads:
corner error of rendered functional scans against the aligned MRI, original and moved.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from scoring import RANKED

from adasffuse.cli.arguments import Parser, at_least
from adasffuse.images.color import luminance
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.image import Image, ImageError
from adasffuse.images.levels import expanded
from adasffuse.images.notices import pick_evenly
from adasffuse.images.pairs import Scene, find_scenes, read_scene
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise
from adasffuse.inference.fuser import load_fuser
from adasffuse.inference.misalignment import seen_misalignment
from adasffuse.metrics import evaluate
from adasffuse.process import run_script, say
from adasffuse.registration.aligner import Aligner, calibrate, measure_of
from adasffuse.registration.estimate import estimate, misalignment
from adasffuse.registration.palette import palette_values
from adasffuse.registration.transform import (
    METHODS,
    AlignmentError,
    Transform,
    TurnedError,
    corner_shift,
    warp_image,
)
from adasffuse.registration.turns import TURNS, size_of_turned, turn_matrix
from adasffuse.scenes.head import head
from adasffuse.scenes.street import night_scene
from adasffuse.tasks import find_task

OFFSET = 0.05  # largest movement of the corners, of the width
SHOWN = 0.1  # pixels of a higher luminance are not black
UNDONE = {  # what undoes a turn, where that is another one
    "turned by 90 degrees clockwise": "turned by 90 degrees counterclockwise",
    "turned by 90 degrees counterclockwise": "turned by 90 degrees clockwise",
}
FUNCTIONAL_BLUR = 3  # pixels, standard deviation


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--root_path", type=Path, help="folder of data sets whose pairs are moved")
    parser.add_argument("--datasets", nargs="+", default=["IVF"], help="names of these data sets (default: IVF)")
    parser.add_argument(
        "--count", type=at_least(1), default=8, help="pairs of each data set, evenly spread (default: %(default)s)"
    )
    parser.add_argument(
        "--half", choices=("even", "odd"), help="every second pair: choose on one half, test on the other"
    )
    parser.add_argument(
        "--method",
        choices=("affine", "homography"),
        default="affine",
        help="what may differ between the sources (default: %(default)s)",
    )
    parser.add_argument("--fields", type=Path, help="folder with infrared_warped/ and grid/NAME.npz")
    parser.add_argument("--clean", type=Path, help="data set of the same names, with infrared/ and visible/")
    parser.add_argument("--scores", action="store_true", help="also fuse, and compare with the aligned originals")
    parser.add_argument("--similar", action="store_true", help="known movements that turn, scale and shift only")
    parser.add_argument(
        "--slices",
        type=at_least(0),
        default=0,
        metavar="N",
        help="register up to N slices of each head together, in place of pairs (default: %(default)s)",
    )
    parser.add_argument(
        "--checks", action="store_true", help="show which pairs are accepted and improved, in place of the errors"
    )
    parser.add_argument(
        "--turns",
        nargs="*",
        choices=tuple(TURNS),
        help="show which images that are turned in these ways are noticed, in place of the errors (default: all ways)",
    )
    parser.add_argument(
        "--rendered",
        type=at_least(0),
        default=0,
        metavar="N",
        help="number of rendered streets to register (default: %(default)s)",
    )
    parser.add_argument(
        "--heads",
        type=at_least(0),
        default=0,
        metavar="N",
        help="number of rendered functional scans and MRI to register (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="random seed of the movements (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    if not (args.root_path or args.rendered or args.heads or args.fields):
        parser.error("nothing to register: give --root_path, --rendered, --heads or --fields")
    if bool(args.fields) != bool(args.clean):
        parser.error("--fields and --clean go together: warped images, and the same pairs as they come")
    return args


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    if args.root_path:
        for dataset in args.datasets:
            for folder in scene_folders(args.root_path, dataset):
                scenes = find_scenes(folder.folders)[0]
                scenes = {"even": scenes[::2], "odd": scenes[1::2], None: scenes}[args.half]
                if args.slices:
                    say(slices_line(folder.name, scenes, args))
                elif args.turns is not None:
                    say(turns_line(folder.name, scenes, args))
                elif args.checks:
                    pairs = [read_scene(scene) for scene in pick_evenly(scenes, args.count)]
                    say(checks_line(folder.name, pairs, measure_of(find_task(folder.name).id), args))
                else:
                    say(affine_line(folder.name, scenes, args))
    if args.rendered:
        pairs = [rendered_pair(seed) for seed in range(args.rendered)]
        name = "rendered streets of 320x240 pixels that lie on each other"
        say(checks_line(name, pairs, "edges", args) if args.checks else rendered_lines(name, pairs))
    if args.heads:
        say(head_lines(args.heads))
    if args.fields:
        say(field_lines(args))


def known_perspective(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random homography (3, 3) that moves each corner by up to OFFSET of the width."""
    height, width = size
    corners = np.float32([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
    moved = corners + rng.uniform(-1, 1, (4, 2)).astype(np.float32) * OFFSET * width / np.sqrt(2)
    return cv2.getPerspectiveTransform(corners, moved.astype(np.float32))


def known_movement(size: tuple[int, int], rng: np.random.Generator, similar: bool = False) -> np.ndarray:
    """A random affine matrix (3, 3), or a similarity, that moves the corners by up to OFFSET of the width."""
    height, width = size
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1]], np.float32)
    moved = corners + rng.uniform(-1, 1, (3, 2)).astype(np.float32) * OFFSET * width / np.sqrt(2)
    if similar:  # the third corner follows from the first two
        right = moved[1] - moved[0]
        moved[2] = moved[0] + np.float32([-right[1], right[0]]) * (height - 1) / (width - 1)
    return np.vstack([cv2.getAffineTransform(corners, moved.astype(np.float32)), [0, 0, 1]])


def moved_by(image: Image, matrix: np.ndarray) -> Image:
    """The image with its content moved by the matrix."""
    size = image.pixels.shape[:2]
    return warp_image(image, Transform("affine", np.linalg.inv(matrix), size, size))


def shift_of_content(matrix: np.ndarray, other: np.ndarray, image: Image) -> float:
    """Mean distance between the pixels of an image that are not black under two matrices."""
    y, x = np.nonzero(luminance(image.pixels) > SHOWN)
    points = np.stack([x, y], axis=1)[None].astype(np.float64)
    gap = cv2.perspectiveTransform(points, matrix) - cv2.perspectiveTransform(points, other)
    return float(np.hypot(gap[..., 0], gap[..., 1]).mean())


def affine_line(name: str, scenes: list[Scene], args: argparse.Namespace) -> str:
    """Corner errors of one data set."""
    task = find_task(name)
    measure, rng = measure_of(task.id), np.random.default_rng(args.seed)
    errors, relative, shown, seconds, failed, ratios = [], [], [], [], 0, []
    fuser = load_fuser(task.id) if args.scores else None
    for scene in pick_evenly(scenes, args.count):
        a, b = read_scene(scene)
        size = b.pixels.shape[:2]
        truth = known_movement(size, rng, args.similar)
        moving = moved_by(a, truth)
        started = time.perf_counter()
        try:
            found = estimate(moving, b, args.method, measure).transform
            seconds.append(time.perf_counter() - started)
            own = estimate(a, b, args.method, measure).transform.matrix
        except AlignmentError:
            failed += 1
            errors.append(np.inf)
            continue
        errors.append(corner_shift(found.matrix, truth, size))
        relative.append(corner_shift(found.matrix, truth @ own, size))
        shown.append(shift_of_content(found.matrix, truth @ own, b))
        if fuser:
            known = Transform("affine", truth @ own, size, moving.pixels.shape[:2])
            at_once = replace(known, matrix=np.linalg.solve(truth, found.matrix))
            aligned = {
                "estimated": warp_image(moving, found),
                "known map": warp_image(moving, known),
                "estimated, resampled once": warp_image(a, at_once),
            }
            original = warp_image(a, replace(known, matrix=own))
            ratios.append(score_ratios(fuser, original, b, aligned))
    text = (
        f"{name}: n = {len(errors)}, corner error median {np.median(errors):.2f} px, within 3 px "
        f"{np.mean(np.array(errors) < 3):.0%}; relative to the pair's own estimate median "
        f"{np.median(relative):.2f} px, within 3 px {np.mean(np.array(relative) < 3):.0%}, of what B shows "
        f"{np.median(shown):.2f} px; {failed} failed; {np.median(seconds):.2f} s per pair"
    )
    return text + (f"\n  {table_of(ratios)}" if ratios else "")


def slices_line(name: str, scenes: list[Scene], args: argparse.Namespace) -> str:
    """Corner errors of calibrations by slices of one head each."""
    measure, rng = measure_of(find_task(name).id), np.random.default_rng(args.seed)
    heads: dict[str, list[Scene]] = {}
    for scene in scenes:
        heads.setdefault(scene.stem[:-3], []).append(scene)
    errors, relative, counts, failed = [], [], [], 0
    for head_scenes in heads.values():
        slices = [(scene.stem, *read_scene(scene)) for scene in pick_evenly(head_scenes, args.slices)]
        size = slices[0][2].pixels.shape[:2]
        truth = known_movement(size, rng, args.similar)
        try:
            found, own = (
                calibrate(pairs, args.method, measure).transform.matrix
                for pairs in ([(stem, moved_by(a, truth), b) for stem, a, b in slices], slices)
            )
        except AlignmentError:
            failed += 1
            continue
        errors.append(corner_shift(found, truth, size))
        relative.append(corner_shift(found, truth @ own, size))
        counts.append(len(slices))
    if not errors:
        return f"{name}: none of {failed} heads could be registered"
    return (
        f"{name}: n = {len(errors)} heads of {min(counts)} to {max(counts)} slices, corner error median "
        f"{np.median(errors):.2f} px, largest {np.max(errors):.2f} px; relative to the head's own estimate median "
        f"{np.median(relative):.2f} px, within 3 px {np.mean(np.array(relative) < 3):.0%}, largest "
        f"{np.max(relative):.2f} px; {failed} failed"
    )


def checks_line(name: str, pairs: list[Sequence[Image]], measure: str, args: argparse.Namespace) -> str:
    """A line with the results of --checks for some pairs.

    Raises:
        ValueError: there are so few that a pair would be compared with itself as a different scene.
    """
    if len(pairs) < 3:
        raise ValueError(f"--checks compares different scenes: 3 pairs or more are needed, got {len(pairs)} of {name}")
    rng = np.random.default_rng(args.seed)
    right, moved, wrong, improved, seconds = 0, 0, 0, [], []
    for number, (a, b) in enumerate(pairs):
        started = time.process_time()
        misalignment(a, b)
        seconds.append(time.process_time() - started)
        for far in (len(pairs) // 2, len(pairs) // 3):
            wrong += accepted(pairs[(number + far) % len(pairs)][0], b, args.method, measure) is not None
        moving = moved_by(a, known_movement(a.pixels.shape[:2], rng))
        moved += accepted(moving, b, args.method, measure) is not None
        found = accepted(a, b, args.method, measure)
        if found is not None:
            right += 1
            improved += quarters_improved(a, warp_image(a, found), b)
    return (
        f"{name}: accepted {right} of {len(pairs)} pairs, {moved} of them moved, {wrong} of {2 * len(pairs)} pairs of "
        f"different scenes; gradients agree better in {np.mean(improved):.0%} of {len(improved)} quarters; score "
        f"{1e3 * np.median(seconds):.0f} ms"
    )


def turns_line(name: str, scenes: list[Scene], args: argparse.Namespace) -> str:
    """How often source A seems to be turned: as it comes, and after it was turned in some ways."""
    task = find_task(name)
    aligner = Aligner(args.method, measure=measure_of(task.id))
    scenes = pick_evenly(scenes, args.count)
    found = {way: Counter() for way in ("", *(args.turns or TURNS))}
    for scene in scenes:
        a, b = read_scene(scene)
        for way, count in found.items():
            moving, right = turned(a, way), UNDONE.get(way, way)
            seen = seen_misalignment(task, [moving, b], None)
            said = "" if seen is None else seen.turned
            count["suspected"] += said != ""
            count["right"] += said == right
            try:
                images = aligner.align([moving, b])
            except TurnedError as error:
                count["named" if error.way == right else "named wrongly"] += 1
            except AlignmentError:
                count["refused"] += 1
            else:
                seen = seen_misalignment(task, images, aligner)
                said = "" if seen is None else seen.turned
                count["accepted"] += 1
                count["suspected, registered"] += said != ""
                count["right, registered"] += said == right
    lines = [f"{name}: {len(scenes)} pairs"]
    for way, count in found.items():
        lines.append(
            f"  A {way or 'as it comes'}: {count['suspected']} suspected, {count['right'] if way else 0} rightly; "
            f"{count['accepted']} registered, {count['suspected, registered']} of them suspected, "
            f"{count['right, registered'] if way else 0} rightly; {count['named']} refused for the right turn, "
            f"{count['named wrongly']} for a wrong one, {count['refused']} for none"
        )
    return "\n".join(lines)


def turned(image: Image, way: str) -> Image:
    """An image turned in one of the `TURNS`, '' for none."""
    if not way:
        return image
    size = image.pixels.shape[:2]
    matrix, flags = turn_matrix(way, size)[:2], cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return replace(image, pixels=cv2.warpAffine(image.pixels, matrix, size_of_turned(way, size)[::-1], flags=flags))


def summary(errors: list[float]) -> str:
    """Median and largest of errors in pixels, in words."""
    return f"median {np.median(errors):.2f}, largest {np.max(errors):.2f} px" if errors else "of none"


def accepted(moving: Image, target: Image, method: str, measure: str) -> Transform | None:
    """What is estimated of a pair; None if the estimate is refused."""
    try:
        return estimate(moving, target, method, measure).transform
    except AlignmentError:
        return None


def quarters_improved(before: Image, after: Image, target: Image) -> list[bool]:
    """For each quarter of an image, whether gradient strengths correlate better with the target's than before."""
    strengths = [gradient_strength(luminance(image.pixels)) for image in (before, after, target)]
    height, width = strengths[0].shape
    known = np.ones((height, width), bool)
    if after.valid is not None:
        known = cv2.erode(after.valid.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    better = []
    for top in (0, height // 2):
        for left in (0, width // 2):
            quarter = slice(top + 16, top + height // 2 - 16), slice(left + 16, left + width // 2 - 16)
            one, other, wanted = (strength[quarter][known[quarter]] for strength in strengths)
            better.append(bool(np.corrcoef(other, wanted)[0, 1] > np.corrcoef(one, wanted)[0, 1]))
    return better


def gradient_strength(luma: np.ndarray) -> np.ndarray:
    """Logarithm of the gradient's length."""
    smooth = cv2.GaussianBlur(np.sqrt(luma), (0, 0), 1)
    return np.log(1e-3 + np.hypot(*(cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))))


def rendered_pair(seed: int) -> tuple[Image, Image]:
    """Infrared and visible image of a rendered street."""
    scene = night_scene(np.random.default_rng(seed), (240, 320))
    return Image(np.float32(scene.infrared)), Image(np.float32(scene.visible))


def rendered_lines(name: str, pairs: list[Sequence[Image]]) -> str:
    """Displacement of aligned images by each method, and its errors after known movements, in pixels."""
    lines = [f"{len(pairs)} {name}"]
    kinds = {"affine": known_movement, "perspective": known_perspective}
    for method in METHODS:
        shifts, refused = [], 0
        for pair in pairs:
            try:
                shifts.append(estimate(*pair, method).shift)
            except AlignmentError:
                refused += 1
        moved = f"moved by {min(shifts):.2f} to {max(shifts):.2f} px on average" if shifts else "none"
        lines.append(f"  {method}: {moved}; {refused} refused")
        for kind, draw in kinds.items() if method in ("affine", "homography") else ():
            rng, errors = np.random.default_rng(0), []
            for a, b in pairs:
                matrix, size = draw(b.pixels.shape[:2], rng), b.pixels.shape[:2]
                found = accepted(moved_by(a, matrix), b, method, "edges")
                if found:
                    errors.append(corner_shift(found.matrix, matrix, size))
            refused = len(pairs) - len(errors)
            lines.append(f"    after known movements ({kind}): corner error {summary(errors)}; {refused} refused")
    return "\n".join(lines)


def head_lines(count: int) -> str:
    """Corner errors of rendered functional scans against their aligned MRI, original and moved, in pixels."""
    lines = [f"{count} rendered heads of 192x192 pixels, functional scans blurred by {FUNCTIONAL_BLUR} px"]
    for name in ("PET", "SPECT"):
        rng, errors, refused = np.random.default_rng(0), {"as they lie": [], "moved": []}, 0
        for seed in range(count):
            case = head(seed, 192)
            scan, mri = (palette_values(np.float32(case[key]) / 255) for key in (name, "MRI"))
            scan, mri, size = Image(cv2.GaussianBlur(scan, (0, 0), FUNCTIONAL_BLUR)), Image(mri), mri.shape
            for kind, matrix in (("as they lie", np.eye(3)), ("moved", known_movement(size, rng))):
                found = accepted(moved_by(scan, matrix), mri, "affine", "medical")
                if found:
                    errors[kind].append(corner_shift(found.matrix, matrix, size))
                else:
                    refused += 1
        kinds = ", ".join(f"{kind}: {summary(found)}" for kind, found in errors.items())
        lines.append(f"  {name}: corner error {kinds}; {refused} of {2 * count} refused")
    return "\n".join(lines)


def score_ratios(fuser, original: Image, b: Image, aligned: dict[str, Image]) -> dict[str, dict[str, float]]:
    """Scores of fused pairs over those of the original pair, where all of them hold data.

    Every source A, the original too, is fused as if it held data only where all of them do.

    Args:
        original: original source A, aligned to `b`.
        aligned: moved and aligned forms of source A, by name.
    Returns:
        Name to metric to ratio, for each name scored against its own sources and against those of the original; and for
        the original that lacks data over the one that does not.
    """
    complete = original
    images = [original, *aligned.values(), b]
    common = np.all([image.valid for image in images if image.valid is not None] or [True], axis=0)
    common = np.broadcast_to(common, b.pixels.shape[:2])
    part = filled_rectangle(common)
    original, *rest = (holding_only(image, common) for image in images[:-1])
    aligned = dict(zip(aligned, rest))

    def shown(image: Image) -> np.ndarray:
        return np.ascontiguousarray(quantise(luminance(image.pixels), "8")[part])

    def scores(fused: np.ndarray, source: Image) -> dict[str, float]:
        return evaluate(shown(source), shown(b), fused, metrics=RANKED)

    def fused(source: Image) -> np.ndarray:
        return np.ascontiguousarray(fuser.fuse(source, b, depth="8")[part])

    wanted, whole = (scores(fused(image), original) for image in (original, complete))
    ratios = {"original, of the regions without data": {score: wanted[score] / whole[score] for score in RANKED}}
    for name, image in aligned.items():
        result = fused(image)
        for against, source in (("own sources", image), ("the original's sources", original)):
            found = scores(result, source)
            ratios[f"{name}, against {against}"] = {score: found[score] / wanted[score] for score in RANKED}
    return ratios


def holding_only(image: Image, where: np.ndarray) -> Image:
    """The image with data only where it holds data and `where` (H, W) is True."""
    valid = where if image.valid is None else where & image.valid
    pixels = expanded(image.pixels)
    return replace(image, pixels=np.where(valid if pixels.ndim == 2 else valid[..., None], pixels, 0), valid=valid)


def filled_rectangle(valid: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a rectangle of True, found by cutting off the side with most False until there is none.

    Raises:
        ImageError: there is none.
    """
    top, left, bottom, right = 0, 0, *valid.shape
    while top < bottom and left < right and not valid[top:bottom, left:right].all():
        part = valid[top:bottom, left:right]
        missing = [1 - float(side.mean()) for side in (part[0], part[-1], part[:, 0], part[:, -1])]
        match int(np.argmax(missing)):
            case 0:
                top += 1
            case 1:
                bottom -= 1
            case 2:
                left += 1
            case 3:
                right -= 1
    if top >= bottom or left >= right:
        raise ImageError("the aligned images have no rectangle in common to be scored in")
    return slice(top, bottom), slice(left, right)


def table_of(ratios: list[dict[str, dict[str, float]]]) -> str:
    lines = [f"fused scores / those of the aligned originals, mean of {len(ratios)}:"]
    for name in ratios[0]:
        means = ", ".join(f"{score} {np.mean([ratio[name][score] for ratio in ratios]):.3f}" for score in RANKED)
        lines.append(f"    {name}: {means}")
    return "\n".join(lines)


def fields(args: argparse.Namespace) -> Iterator[tuple[Image, Image, Image, np.ndarray]]:
    """Warped infrared, infrared, visible, and the displacement of each pixel of the warped image, (H, W, 2)."""
    files = sorted((args.fields / "grid").glob("*.npz"))
    for path in pick_evenly(files, args.count):
        names = [args.fields / "infrared_warped", args.clean / "infrared", args.clean / "visible"]
        images = [read_image(next(folder.glob(f"{path.stem}.*"))) for folder in names]
        nodes = np.load(path)["displacement"].astype(np.float32)
        height, width = images[0].pixels.shape[:2]
        x, y = np.meshgrid(np.arange(width, dtype=np.float32) / 8, np.arange(height, dtype=np.float32) / 8)
        yield *images, cv2.remap(nodes, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def undone(places: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Positions in the warped image of some positions in the infrared image, (H, W, 2): inverts the displacement."""
    found = places.copy()
    for _ in range(20):
        at = cv2.remap(displacement, found[..., 0], found[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        found = places - at
    return found


def mean_distance(places: np.ndarray, others: np.ndarray, where: np.ndarray) -> float:
    return float(np.hypot(*np.moveaxis(places - others, -1, 0))[where].mean())


def field_lines(args: argparse.Namespace) -> str:
    """Endpoint errors of known smooth fields."""
    methods = ("affine", "deformable")
    errors: dict[str, list[float]] = {name: [] for name in ("nothing", *methods)}
    errors |= {f"{method}, relative": [] for method in methods}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    ratios, failed = [], 0
    fuser = load_fuser("ivf") if args.scores else None
    for warped, infrared, visible, displacement in fields(args):
        height, width = warped.pixels.shape[:2]
        here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
        truth = undone(here, displacement)
        inside = ((truth >= 0) & (truth <= np.float32([width - 1, height - 1]))).all(axis=2)
        errors["nothing"].append(mean_distance(truth, here, inside))
        for method in methods:
            started = time.perf_counter()
            try:
                positions = estimate(warped, visible, method).transform.positions()
                seconds[method].append(time.perf_counter() - started)
                own = estimate(infrared, visible, method).transform.positions()
            except AlignmentError:
                failed += 1
                continue
            errors[method].append(mean_distance(positions, truth, inside))
            errors[f"{method}, relative"].append(mean_distance(positions, undone(own, displacement), inside))
        if fuser:
            try:
                original, aligned = (Aligner("deformable").align([a, visible])[0] for a in (infrared, warped))
            except AlignmentError:
                continue
            ratios.append(score_ratios(fuser, original, visible, {"estimated": aligned}))
    lines = [f"known fields: n = {len(errors['nothing'])}, {failed} estimates failed"]
    for name, values in errors.items():
        took = f", {np.median(seconds[name]):.2f} s per pair" if seconds.get(name) else ""
        found = f"mean {np.mean(values):.2f} px, largest {np.max(values):.2f} px" if values else "of none"
        lines.append(f"  {name}: endpoint error {found}{took}")
    if ratios:
        lines.append(f"  {table_of(ratios)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
