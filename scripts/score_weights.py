"""Score table of a weights file beside simple methods: fuse every pair as the test_*_RGB.py scripts do, score the PNGs.

python scripts/score_weights.py --weights released --size small --root_path DATA/test \
    --datasets IVF IVF_MSRS MEF MFF MIF --extra DATA/detection/LLVIP --markdown scores.md --json scores.json

Methods are ranked by VIFF, Qabf, SSIM, SCD and MI; EN, SD and SF reward noise and are reported without a rank.
Multi-exposure sets also get MEF-SSIM, with OpenCV's Mertens fusion in colour beside the others, and the highlights that
a result clips though a source holds them; coloured medical sets the fidelity of the chroma.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.classical.baselines import BASELINES
from adasffuse.cli.fuse import METHOD
from adasffuse.device import PRECISIONS
from adasffuse.files import one_line, write_text
from adasffuse.images.color import fit_gamut, luminance, rgb_to_ycbcr, ycbcr_to_rgb
from adasffuse.images.pairs import Scene, SceneFolder, find_scenes, read_scene, scene_folders
from adasffuse.images.read import ImageError, read_image, write_png
from adasffuse.inference import Fuser, fuse_folder, load_fuser
from adasffuse.metrics import ScoreTable
from adasffuse.metrics.cache import default_cache
from adasffuse.metrics.folder import Settings, score_pairs
from adasffuse.models.weights import file_sha256, released_weights
from adasffuse.process import run_program, say
from adasffuse.tasks import GENERAL, TASKS, Task, find_task

RANKED = ("VIFF", "Qabf", "SSIM", "SCD", "MI")
REPORTED = ("EN", "SD", "SF")
RELEASED = "released"
# Contrast, saturation and exposure exponents of Mertens fusion in colour: the paper's, and OpenCV's defaults.
COLOR_MERTENS = {"mertens colour": (1, 1, 1), "mertens colour, OpenCV defaults": (1, 1, 0)}
CLIPPED, HELD = 254, (20, 235)  # levels: a result from the first on is white, a source within the others shows detail
CHROMA_LEVELS = 2  # how far Cb and Cr of a saved file may be off


@dataclass(frozen=True)
class Scored:
    """Scores of one set of pairs."""

    name: str
    table: ScoreTable  # metrics RANKED
    reported: ScoreTable  # metrics REPORTED
    checks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # what only this task asks for

    @property
    def pairs(self) -> int:
        return len(self.table.common_names())

    def place(self) -> int:
        """Ours among all methods by mean rank, 1 the first; ties share the better place."""
        ranks = self.table.mean_ranks()
        return 1 + sum(rank < ranks[METHOD] for rank in ranks.values())

    def verdict(self) -> str:
        """Mean rank and place in words, with the best other method."""
        ranks = self.table.mean_ranks()
        other = min((method for method in ranks if method != METHOD), key=ranks.__getitem__)
        place = "first" if self.place() == 1 else f"place {self.place()} of {len(ranks)}"
        if ranks[other] == ranks[METHOD]:
            place += f", shared with {other}"
        return f"mean rank {ranks[METHOD]:.2f}, {place}; best other: {other} {ranks[other]:.2f}"

    def to_dict(self) -> dict:
        """Plain JSON values, means rounded to 4 digits."""
        means = {m: self.table.means(m) | self.reported.means(m) for m in self.table.methods}
        return {
            "pairs": self.pairs,
            **{m: {k: rounded(v) for k, v in scores.items()} for m, scores in means.items()},
            "mean_rank": {m: rounded(rank) for m, rank in self.table.mean_ranks().items()},
            "place": self.place(),
            **{name: {k: rounded(v, 6) for k, v in values.items()} for name, values in self.checks.items()},
        }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights", default=RELEASED, metavar="FILE", help="weights file, 'released' or 'general' (%(default)s)"
    )
    parser.add_argument("--size", choices=("base", "small"), default="small", help="of released weights (%(default)s)")
    parser.add_argument("--root_path", type=Path, metavar="DIR", help="folder of data sets")
    parser.add_argument("--datasets", nargs="+", default=[], metavar="NAME", help="e.g. IVF_MSRS, MIF, MIF/PET-MRI")
    parser.add_argument("--extra", nargs="+", default=[], type=Path, metavar="DIR", help="with infrared/ and visible/")
    parser.add_argument("--pairs", type=int, metavar="N", help="of every set only N pairs, evenly spaced")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the fused images in DIR/NAME")
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR", help="of scores (%(default)s)")
    parser.add_argument("--no_cache", dest="cache", action="store_const", const=None)
    parser.add_argument("--workers", type=int, metavar="N", help="processes that score (all cores)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the network (%(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    if not (args.datasets or args.extra) or bool(args.datasets) != bool(args.root_path):
        parser.error("give --root_path with --datasets, or --extra, or all three")
    if args.pairs is not None and args.pairs < 1:
        parser.error(f"--pairs must be 1 or more, got {args.pairs}")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_program(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    try:
        weights = None if args.weights == RELEASED else Path(args.weights)
        if args.weights == GENERAL:
            weights = released_weights(GENERAL, args.size)
        sets = [found for name in args.datasets for found in dataset_folders(args.root_path, name)]
        sets += [extra_folder(path) for path in args.extra]
        network = {"size": args.size, "weights": weights, "device": args.device, "precision": args.precision}
        fusers = {task.id: load_fuser(task.id, **network) for task, _ in sets}
        results = []
        for scored in score_sets(sets, fusers, Settings(cache=args.cache), args.pairs, args.out, args.workers):
            say(f"\n{scored.name}: {scored.verdict()}\n{as_text(scored)}")
            results.append(scored)
        files = {weights or released_weights(task, args.size) for task in fusers}
        hashes = {path.name: file_sha256(path) for path in sorted(files)}
        precision = ", ".join(sorted({f"{fuser.precision} on {fuser.device.type}" for fuser in fusers.values()}))
        reports = {
            "markdown": as_markdown(hashes, precision, results),
            "json": as_json(hashes, precision, results),
        }
        for name, text in reports.items():
            path = getattr(args, name)
            if path:
                write_text(path, text)
    except (ValueError, OSError) as error:
        say(f"error: {one_line(error)}", sys.stderr)
        return 1
    first = [scored for scored in results if scored.place() == 1]
    shared = sum("shared" in scored.verdict() for scored in first)
    say(f"\nfirst in mean rank on {len(first)} of {len(results)} sets, {shared} of them shared with another method")
    return 0


def dataset_folders(root: Path, dataset: str) -> list[tuple[Task, SceneFolder]]:
    """Task and folders of a data set below a root, one entry per subset."""
    return [(find_task(Path(dataset).parts[0]), folder) for folder in scene_folders(root, dataset)]


def extra_folder(path: Path) -> tuple[Task, SceneFolder]:
    """Task and folders of pairs that lie outside the usual layout; the names of its folders tell the task.

    Raises:
        ImageError: no task has such folders.
    """
    for task in TASKS.values():
        for sources in task.sources:
            folders = tuple(path / name for name in sources.folders)
            if all(folder.is_dir() for folder in folders):
                return task, SceneFolder(path.resolve().name, folders)
    known = ", ".join(dict.fromkeys("/ and ".join(s.folders) + "/" for task in TASKS.values() for s in task.sources))
    raise ImageError(f"{path} holds the two folders of no task; expected {known}")


def score_sets(
    sets: Sequence[tuple[Task, SceneFolder]],
    fusers: Mapping[str, Fuser],
    settings: Settings,
    pairs: int | None = None,
    out: Path | None = None,
    workers: int | None = None,
) -> Iterator[Scored]:
    """Fuse and score sets of pairs, one after the other.

    Args:
        fusers: by id of the task.
        settings: convention and cache of the scores; its metrics are not used.
        pairs: of every set only so many pairs, evenly spaced.
        out: where fused images are kept.
    Raises:
        ImageError: a pair cannot be read or fused.
    """
    for task, folder in sets:
        with tempfile.TemporaryDirectory() as temporary:
            chosen = some_pairs(folder, pairs, Path(temporary)) if pairs else folder
            save_dir = (out or Path(temporary, "fused")) / folder.name
            yield score_set(fusers[task.id], chosen, save_dir, settings, workers)


def score_set(fuser: Fuser, folder: SceneFolder, save_dir: Path, settings: Settings, workers: int | None) -> Scored:
    """Fuse a folder of pairs to `save_dir`, score the files and the baselines."""
    report = fuse_folder(fuser, folder, save_dir)
    if report.failed:
        name, reason = report.failed[0]
        raise ImageError(f"{folder.name}: {len(report.failed)} pairs not fused, the first: {name}: {reason}")
    pairs = report.fused
    methods = {METHOD: {pair.stem: save_dir / f"{pair.stem}.png" for pair in pairs}} | dict.fromkeys(BASELINES)

    def score(methods: Mapping, metrics: tuple[str, ...]) -> ScoreTable:
        chosen = Settings(metrics, settings.convention, settings.per_channel, settings.cache)
        table = score_pairs(pairs, methods, settings=chosen, workers=workers)
        if table.unscored:  # a table for a card is complete or none
            raise ImageError(f"{folder.name}: {'; '.join(table.notes())}")
        return table

    whole = score(methods, (*RANKED, *REPORTED))
    checks: dict[str, dict[str, float]] = {}
    if fuser.task.id == "mef":
        with tempfile.TemporaryDirectory() as temporary:
            table = score(methods | color_mertens(pairs, Path(temporary)), ("MEF_SSIM",))
        checks["MEF_SSIM"] = {method: table.means(method)["MEF_SSIM"] for method in table.methods}
        checks["clipped_highlights"] = clipped_highlights(pairs, methods)
    if fuser.task.color == "a" and (chroma := chroma_fidelity(pairs, methods[METHOD])):
        checks["chroma"] = chroma
    return Scored(folder.name, columns(whole, RANKED), columns(whole, REPORTED), checks)


def some_pairs(folder: SceneFolder, count: int, where: Path) -> SceneFolder:
    """A copy below `where` of `count` evenly spaced pairs of a folder, or of all where there are fewer."""
    pairs, _ = find_scenes(folder.folders)
    chosen = sorted({round(i) for i in np.linspace(0, len(pairs) - 1, count)})
    copy = SceneFolder(folder.name, tuple(where / source.name for source in folder.folders))
    for pair in (pairs[i] for i in chosen):
        for source, target in zip(pair.paths, copy.folders):
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return copy


def columns(table: ScoreTable, metrics: tuple[str, ...]) -> ScoreTable:
    """The same rows with some of the metrics, so that only these are ranked."""
    chosen = ScoreTable(metrics, table.convention)
    for row in table.rows:
        chosen.add(row.method, row.name, row.size, row.scores)
    return chosen


def color_mertens(pairs: Sequence[Scene], where: Path) -> dict[str, dict[str, Path]]:
    """Method to stem to file of OpenCV's exposure fusion in colour, saved as PNG below `where`."""
    files: dict[str, dict[str, Path]] = {method: {} for method in COLOR_MERTENS}
    for pair in pairs:
        a, b = (np.rint(image.pixels * 255).astype(np.uint8) for image in read_scene(pair))
        sources = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in (a, b)]
        for number, (method, exponents) in enumerate(COLOR_MERTENS.items()):
            fused = cv2.createMergeMertens(*exponents).process(sources)
            files[method][pair.stem] = where / str(number) / f"{pair.stem}.png"
            write_png(files[method][pair.stem], np.rint(fused.clip(0, 1) * 255).astype(np.uint8))
    return files


def clipped_highlights(pairs: Sequence[Scene], methods: Mapping[str, Mapping[str, Path] | None]) -> dict[str, float]:
    """Of the pixels that a source holds (Y within HELD), the share that a result shows white; mean over images."""
    shares: dict[str, list[float]] = {method: [] for method in methods}
    for pair in pairs:
        a, b = (luminance(image.pixels) for image in read_scene(pair))
        held = np.logical_or(*((levels(y) >= HELD[0]) & (levels(y) <= HELD[1]) for y in (a, b)))
        for method, files in methods.items():
            fused = luminance(read_image(files[pair.stem]).pixels) if files else BASELINES[method](a, b)
            shares[method].append(float((levels(fused) >= CLIPPED)[held].mean()) if held.any() else 0.0)
    return {method: float(np.mean(values)) for method, values in shares.items()}


def chroma_fidelity(pairs: Sequence[Scene], files: Mapping[str, Path]) -> dict[str, float]:
    """How well saved images keep the chroma of source A, over all pixels of all pairs in which it has colour.

    Returns:
        max_angle_degrees: largest turn of the chroma before rounding, where it is one level or more;
        gamut_forced: share of coloured pixels that the gamut shrank;
        within_levels: share of the other pixels whose Cb and Cr in the file are within CHROMA_LEVELS of the source's,
        which 8-bit sources allow to hold exactly; max_levels: their largest difference;
        forced_within_levels: share of shrunk pixels that are as near to what the gamut allows.
        Empty where nothing has colour.
    """
    turns, forced, free_off, forced_off = [], [], [], []
    for pair in pairs:
        source, saved = read_image(pair.paths[0]).pixels, read_image(files[pair.stem]).pixels
        if source.ndim == 2:
            continue
        saved = saved if saved.ndim == 3 else np.repeat(saved[..., None], 3, axis=2)
        _, cb, cr = rgb_to_ycbcr(source)
        y = levels(luminance(saved)) / np.float32(255)
        colored = np.hypot(cb, cr) * 255 >= 1
        fitted = fit_gamut(y, cb, cr)
        _, *before_rounding = rgb_to_ycbcr(ycbcr_to_rgb(y, *fitted))
        turn = np.angle((before_rounding[0] + 1j * before_rounding[1]) * (cb - 1j * cr), deg=True)
        turns.append(np.abs(turn)[np.hypot(*fitted) * 255 >= 1])
        shrunk = np.hypot(*fitted) < np.hypot(cb, cr) * np.float32(1 - 1e-5)
        forced.append(shrunk[colored])
        _, *of_file = rgb_to_ycbcr(saved)
        off = np.maximum(*(np.abs(chroma - target) * 255 for chroma, target in zip(of_file, fitted)))
        free_off.append(off[~shrunk])
        forced_off.append(off[shrunk])
    if not forced:
        return {}
    off, off_forced = np.concatenate(free_off), np.concatenate(forced_off)
    return {
        "max_angle_degrees": float(max((t.max() for t in turns if t.size), default=0.0)),
        "gamut_forced": float(np.concatenate(forced).mean()),
        "within_levels": float((off <= CHROMA_LEVELS).mean()) if off.size else 1.0,
        "max_levels": float(off.max(initial=0)),
        "forced_within_levels": float((off_forced <= CHROMA_LEVELS).mean()) if off_forced.size else 1.0,
    }


def levels(y: ndarray) -> ndarray:
    """Y in [0, 1] as 8-bit levels, float32."""
    return np.rint(y * np.float32(255))


def as_text(scored: Scored) -> str:
    """The table for a terminal, EN, SD and SF behind the ranks, and the checks below."""
    lines = scored.table.text().splitlines()
    lines[1] += "".join(f"{name:>8}" for name in REPORTED)
    for number, method in enumerate(scored.table.methods):
        lines[3 + number] += "".join(f"{value:8.3f}" for value in scored.reported.means(method).values())
    rule = "-" * len(lines[1])
    lines[2] = lines[3 + len(scored.table.methods)] = rule
    return "\n".join([*lines, *check_lines(scored)])


def check_lines(scored: Scored) -> list[str]:
    """What only this task asks for, a line each."""
    lines, checks = [], scored.checks
    if "MEF_SSIM" in checks:
        lines.append("MEF-SSIM: " + ", ".join(f"{m} {v:.4f}" for m, v in checks["MEF_SSIM"].items()))
    if "clipped_highlights" in checks:
        shares = ", ".join(f"{m} {v:.3%}" for m, v in checks["clipped_highlights"].items())
        lines.append(f"White (>= {CLIPPED}) where a source is within {HELD[0]}..{HELD[1]}, share: {shares}")
    if "chroma" in checks:
        chroma = checks["chroma"]
        lines.append(
            f"Chroma: largest turn before rounding {chroma['max_angle_degrees']:.3f} degrees; Cb and Cr of the file "
            f"within {CHROMA_LEVELS} levels on {chroma['within_levels']:.4%} of the pixels (largest difference "
            f"{chroma['max_levels']:.2f}), without the {chroma['gamut_forced']:.2%} of coloured pixels that the gamut "
            f"forced to less ({chroma['forced_within_levels']:.4%} of these within {CHROMA_LEVELS} levels of its limit)"
        )
    return lines


def as_markdown(hashes: Mapping[str, str], precision: str, results: Sequence[Scored]) -> str:
    """A summary line per set, then the table of each."""
    files = ", ".join(f"`{name}` (SHA-256 {sha[:12]}...)" for name, sha in hashes.items())
    text = [f"Weights: {files}; {precision}.", ""]
    text += ["| set | pairs | " + " | ".join(RANKED) + " | result |", "| --- " + "| ---: " * 6 + "| --- |"]
    for scored in results:
        means = " | ".join(f"{value:.3f}" for value in scored.table.means(METHOD).values())
        text.append(f"| {scored.name} | {scored.pairs} | {means} | {scored.verdict()} |")
    for scored in results:
        lines = scored.table.markdown().rstrip().splitlines()
        lines[0] += "".join(f" {name} |" for name in REPORTED)
        lines[1] += " ---: |" * len(REPORTED)
        for number, method in enumerate(scored.table.methods):
            lines[2 + number] += "".join(f" {value:.3f} |" for value in scored.reported.means(method).values())
        text += ["", f"### {scored.name}", "", *lines]
        for line in check_lines(scored):
            text += ["", line]
    return "\n".join(text) + "\n"


def as_json(hashes: Mapping[str, str], precision: str, results: Sequence[Scored]) -> str:
    """Files with their SHA-256, and the scores of every set."""
    content = {
        "weights": hashes,
        "precision": precision,
        "convention": results[0].table.convention,
        "sets": {scored.name: scored.to_dict() for scored in results},
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def rounded(value: float, digits: int = 4) -> float | None:
    """JSON has no NaN: null."""
    return round(value, digits) if np.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
