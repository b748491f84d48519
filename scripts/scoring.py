"""Shared by the scoring scripts: fuse sets of pairs like the programs, and score the saved files beside simple methods.

Methods are ranked by VIFF, Qabf, SSIM, SCD and MI.  EN, SD and SF reward noise and are reported without a rank; so are
spurious brightness and, for infrared sets with a folder `Annotations` beside the sources, target retention.  The
identity error is measured on two pairs of every set.  Multi-exposure sets also get MEF-SSIM, with OpenCV's Mertens
fusion in colour as a further method, and the share of highlights that a result clips although a source holds them;
coloured medical sets get the fidelity of the chroma.
"""

import argparse
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from adasffuse.classical.baselines import BASELINES
from adasffuse.cli.arguments import add_device_option, at_least, listed
from adasffuse.cli.task_script import METHOD, identity_errors
from adasffuse.data.luma import readings_of
from adasffuse.data.options import DataOptions
from adasffuse.files import name_of, write_text
from adasffuse.images.color import as_rgb, luminance
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.image import ImageError
from adasffuse.images.pairs import Scene, SceneFolder, find_scenes, read_scene
from adasffuse.images.ranges import RangeSpec
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise, write_image
from adasffuse.inference import Fuser, fuse_folder, load_fuser
from adasffuse.metrics import DEFAULT_METRICS, ScoreTable
from adasffuse.metrics.cache import default_cache
from adasffuse.metrics.color import chroma_fidelity
from adasffuse.metrics.folder import score_pairs
from adasffuse.metrics.hard_cases import hard_case_total, score_hard_case
from adasffuse.metrics.job import Settings
from adasffuse.metrics.matching import find_annotations
from adasffuse.metrics.tones import TONES, lost_tone
from adasffuse.scenes.street import night_scene
from adasffuse.tasks import TASKS, Task, find_task

RELEASED = Path(__file__).resolve().parents[1] / "adasffuse" / "weights"  # weights and their cards
RANKED = ("VIFF", "Qabf", "SSIM", "SCD", "MI")
BESIDE = ("Spurious", "Retention")  # scores that are never ranked; the second needs boxes
REPORTED = ("EN", "SD", "SF", "Spurious")
ANNOTATIONS = "Annotations"  # folder of Pascal VOC files beside the sources
IDENTITY_PAIRS = 2  # pairs of every set, evenly spaced, for the identity error
# Contrast, saturation and exposure exponents of Mertens fusion in colour: the paper's, and OpenCV's defaults.
COLOR_MERTENS = {"mertens colour": (1, 1, 1), "mertens colour, OpenCV defaults": (1, 1, 0)}


@dataclass(frozen=True)
class Scored:
    """Scores of one set of pairs."""

    name: str
    table: ScoreTable  # RANKED, and beside them REPORTED and perhaps Retention
    checks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # of fuser and task

    @property
    def pairs(self) -> int:
        return len(self.table.common_names())

    def place(self) -> int:
        """Our place among all methods by mean rank, from 1; ties share the better place."""
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
        means = {m: self.table.means(m) for m in self.table.methods}
        return {
            "pairs": self.pairs,
            **{m: {k: rounded(v) for k, v in scores.items()} for m, scores in means.items()},
            "mean_rank": {m: rounded(rank) for m, rank in self.table.mean_ranks().items()},
            "place": self.place(),
            **{name: {k: rounded(v, 6) for k, v in values.items()} for name, values in self.checks.items()},
        }


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the scripts that fuse and score pairs share."""
    add_device_option(parser)
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        metavar="DIR",
        help="folder where scores are remembered (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=at_least(1), metavar="N", help="number of processes that score (default: all cores)"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here")


def add_baselines_option(parser: argparse.ArgumentParser, default: Iterable[str]) -> None:
    """Add the simple methods that are scored beside the network."""
    parser.add_argument(
        "--baselines",
        type=baselines_in,
        default=",".join(default),
        metavar="LIST",
        help="simple methods to score, too (default: %(default)s)",
    )


def baselines_in(text: str) -> list[str]:
    """The simple methods in a list such as 'gff,max'.

    Raises:
        ArgumentTypeError: there is no such method.
    """
    names = listed([text])
    unknown = set(names) - set(BASELINES)
    if unknown:
        raise argparse.ArgumentTypeError(f"no baseline {', '.join(sorted(unknown))}; there are {', '.join(BASELINES)}")
    return names


def chosen_sets(root: Path | None, datasets: Sequence[str], extra: Sequence[Path]) -> list[tuple[Task, SceneFolder]]:
    """Task and folders of data sets below a root, one entry per subset, and of sets outside that layout.

    Raises:
        SceneError: a data set or one of its folders is missing.
        ImageError: the folders of an extra set are those of no task.
    """
    sets = []
    for name in datasets:
        sets += [(find_task(Path(name).parts[0]), folder) for folder in scene_folders(root, name)]
    return sets + [extra_folder(path) for path in extra]


def extra_folder(path: Path) -> tuple[Task, SceneFolder]:
    """Task and folders of pairs that lie outside the usual layout; the names of its folders tell the task.

    Raises:
        ImageError: no task has such folders.
    """
    for task in TASKS.values():
        for sources in task.sources:
            folders = tuple(path / name for name in sources.folders)
            if all(folder.is_dir() for folder in folders):
                return task, SceneFolder(name_of(path), folders)
    known = ", ".join(dict.fromkeys("/ and ".join(s.folders) + "/" for task in TASKS.values() for s in task.sources))
    raise ImageError(f"{path} holds the two folders of no task; expected {known}")


def score_sets(
    sets: Sequence[tuple[Task, SceneFolder]],
    fusers: Mapping[str, Fuser],
    settings: Settings,
    pairs: int | None = None,
    every: Mapping[str, int] | None = None,
    out: Path | None = None,
    workers: int | None = None,
) -> Iterator[Scored]:
    """Fuse and score sets of pairs, one after the other.

    Args:
        fusers: fuser by id of the task.
        settings: convention and cache of the scores; its metrics are not used.
        pairs: number of evenly spaced pairs per set; None: all.
        every: name of a set to N: only every Nth of its pairs, sorted by name, from the first on.
        out: folder for the fused images; None: they are not kept.
    Raises:
        ImageError: a pair cannot be read or fused.
        ValueError: two sets have one name, or `every` names a set that is not among these.
    """
    every = every or {}
    known = [folder.name for _, folder in sets]
    for name in {name for name in known if known.count(name) > 1}:
        raise ValueError(f"two sets are called {name}, which names their results; rename the folder of one")
    for name in every.keys() - known:
        raise ValueError(f"--every {name}: no such set; expected one of {', '.join(known)}")
    for task, folder in sets:
        with tempfile.TemporaryDirectory() as temporary:
            step = every.get(folder.name, 1)
            chosen = some_pairs(folder, pairs, step, Path(temporary)) if pairs or step > 1 else folder
            save_dir = (out or Path(temporary, "fused")) / folder.name
            boxes = folder.folders[0].parent / ANNOTATIONS
            yield score_set(fusers[task.id], chosen, save_dir, settings, workers, boxes)


def score_set(
    fuser: Fuser,
    folder: SceneFolder,
    save_dir: Path,
    settings: Settings,
    workers: int | None,
    boxes: Path,
) -> Scored:
    """Fuse a folder of pairs to `save_dir` and score files and baselines; `boxes` may hold boxes of infrared pairs."""
    report = fuse_folder(fuser, folder, save_dir)
    if report.failed:
        name, reason = report.failed[0]
        raise ImageError(f"{folder.name}: {len(report.failed)} pairs not fused, the first: {name}: {reason}")
    pairs = report.fused
    methods = {METHOD: {pair.stem: save_dir / f"{pair.stem}.png" for pair in pairs}} | dict.fromkeys(BASELINES)

    annotations, _ = find_annotations(pairs, boxes_of(pairs, boxes) if fuser.task.id == "ivf" else None)

    def score(methods: Mapping, metrics: tuple[str, ...], beside: tuple[str, ...] = ()) -> ScoreTable:
        chosen = replace(settings, metrics=metrics, beside=beside)
        table = score_pairs(pairs, methods, settings=chosen, workers=workers, annotations=annotations)
        if table.unscored:  # a card needs complete scores
            raise ImageError(f"{folder.name}: {'; '.join(table.notes())}")
        return table

    whole = score(methods, RANKED, (*REPORTED, "Retention") if annotations else REPORTED)
    checks: dict[str, dict[str, float]] = {"identity_error": identity_errors(fuser, spaced(pairs, IDENTITY_PAIRS))}
    if fuser.task.id == "mef":
        with tempfile.TemporaryDirectory() as temporary:
            table = score(methods | color_mertens(pairs, Path(temporary)), ("MEF_SSIM",))
        checks["MEF_SSIM"] = {method: table.means(method)["MEF_SSIM"] for method in table.methods}
        checks |= lost_tones(pairs, methods)
    if fuser.task.color == "a":
        saved = ((read_image(pair.paths[0]).pixels, read_image(methods[METHOD][pair.stem]).pixels) for pair in pairs)
        if chroma := chroma_fidelity(saved):
            checks["chroma"] = chroma
    return Scored(folder.name, whole, checks)


def boxes_of(pairs: Sequence[Scene], folder: Path) -> Path | None:
    """A folder that may hold an XML file of each pair; None if it holds none."""
    return folder if any((folder / f"{pair.stem}.xml").is_file() for pair in pairs) else None


def compare_networks(
    networks: Mapping[str, str | Path],
    task: Task,
    data: DataOptions,
    folder: SceneFolder,
    pairs: Sequence[Scene],
    args: argparse.Namespace,
) -> ScoreTable:
    """Scores, with those beside the ranked ones, of what networks and the simple methods make of pairs.

    They are read as in training.

    Args:
        networks: weights by the name that the table gives them.
        data: how training reads the folder.
        folder: value ranges are taken over all its pairs; `Annotations` beside its sources may hold boxes.
        args: those of `add_scoring_options`.
    Raises:
        ImageError: a pair cannot be fused.
    """
    scenes, _ = find_scenes(folder.folders, data.patterns)
    readings = readings_of(data, [scene.paths for scene in scenes], task)
    windows = [reading.window for reading in readings]
    ranges = [None if w is None else RangeSpec("fixed", min(w), max(w), inverted=w[0] > w[1]) for w in windows]
    files: dict[str, dict[str, Path] | None] = {}
    with tempfile.TemporaryDirectory() as temporary:
        chosen = copy_pairs(folder, pairs, Path(temporary, "sources"))
        for name, weights in networks.items():
            fuser, results = load_fuser(task.id, weights=weights, device=args.device), Path(temporary, name)
            fused = fuse_folder(fuser, chosen, results, ranges=ranges, no_data=[one.no_data for one in readings])
            if fused.failed:
                raise ImageError(fused.summary())
            files[name] = fused.files
        annotations, _ = find_annotations(fused.fused, boxes_of(fused.fused, folder.folders[0].parent / ANNOTATIONS))
        return score_pairs(
            fused.fused,  # the same of every network
            files | dict.fromkeys(BASELINES),
            settings=Settings(cache=args.cache, beside=BESIDE if annotations else BESIDE[:1]),
            workers=args.workers,
            ranges=fused.ranges,
            no_data=fused.no_data,
            annotations=annotations,
            thermal=task.thermal,
        )


def names_of(weights: list[str]) -> dict[str, str]:
    """Weights by the name that tables give them: the file's, or the whole path where files share one.

    Raises:
        ValueError: a file is named twice.
    """
    if len(set(weights)) < len(weights):
        raise ValueError("--weights names a file twice")
    stems = [Path(one).stem for one in weights]
    return dict(zip(stems if len(set(stems)) == len(stems) else weights, weights))


def night_total(weights: str | Path, count: int, seed: int = 0, device: str = "auto") -> float:
    """Mean total of the first `count` rendered night streets of score_hard_cases.py, fused by a network."""
    fuser, totals = load_fuser("ivf", weights=weights, device=device), []
    for number in range(count):
        case = night_scene(np.random.default_rng((seed, 0, number)))
        fused = quantise(fuser.fuse_luminance(case.infrared, luminance(case.visible)), "8")
        totals.append(hard_case_total(score_hard_case(case, fused.astype(float))))
    return mean(totals)


def some_pairs(folder: SceneFolder, count: int | None, step: int, where: Path) -> SceneFolder:
    """Copy a folder below `where`, with every `step`th pair, and of these `count` evenly spaced ones or all."""
    pairs = find_scenes(folder.folders)[0][::step]
    return copy_pairs(folder, spaced(pairs, count or len(pairs)), where)


def copy_pairs(folder: SceneFolder, pairs: Sequence[Scene], where: Path) -> SceneFolder:
    """Copy a folder below `where` with some of its pairs, whose files are named like the pairs."""
    copy = SceneFolder(folder.name, tuple(where / source.name for source in folder.folders))
    for pair in pairs:
        for source, target in zip(pair.paths, copy.folders):
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / f"{pair.stem}{source.suffix}")
    return copy


def spaced(items: Sequence, count: int) -> list:
    """`count` evenly spaced items, or all if there are fewer."""
    return [items[i] for i in sorted({round(i) for i in np.linspace(0, len(items) - 1, count)})]


def color_mertens(pairs: Sequence[Scene], where: Path) -> dict[str, dict[str, Path]]:
    """OpenCV's exposure fusion in colour, saved as PNG below `where`: method to stem to file."""
    files: dict[str, dict[str, Path]] = {method: {} for method in COLOR_MERTENS}
    for pair in pairs:
        sources = [as_rgb(quantise(image.pixels, "8")) for image in read_scene(pair)]
        for number, (method, exponents) in enumerate(COLOR_MERTENS.items()):
            fused = cv2.createMergeMertens(*exponents).process(sources)
            files[method][pair.stem] = where / str(number) / f"{pair.stem}.png"
            write_image(files[method][pair.stem], fused)
    return files


def lost_tones(pairs: Sequence[Scene], methods: Mapping[str, Mapping[str, Path] | None]) -> dict[str, dict[str, float]]:
    """For each of `TONES`, the `lost_tone` of each method, a mean over pairs."""
    shares: dict[str, dict[str, list[float]]] = {name: {method: [] for method in methods} for name in TONES}
    for pair in pairs:
        sources = [luminance(image.pixels) for image in read_scene(pair)]
        for method, files in methods.items():
            fused = luminance(read_image(files[pair.stem]).pixels) if files else BASELINES[method](*sources)
            levels = [quantise(y, "8") for y in (*sources, fused)]
            for name, tone in TONES.items():
                shares[name][method].append(lost_tone(*levels, tone))
    return {name: {method: float(np.mean(values)) for method, values in of.items()} for name, of in shares.items()}


def rounded(value: float, digits: int = 4) -> float | None:
    """A rounded value for JSON, which has no NaN: null."""
    return round(value, digits) if np.isfinite(value) else None


def summary(table: ScoreTable) -> dict[str, dict[str, float]]:
    """Method, the best first, to both mean ranks and the means of all scores."""
    five, eight = table.mean_ranks(RANKED), table.mean_ranks(DEFAULT_METRICS)
    rows = {m: {"rank of five": five[m], "rank of eight": eight[m], **table.means(m)} for m in table.methods}
    return dict(sorted(rows.items(), key=lambda item: item[1]["rank of five"]))


def mean(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN if there is none."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan


def markdown(rows: Mapping[str, Mapping[str, float]]) -> str:
    """A table with a line per method and a column per score of the first method; n/a for NaN."""
    names = list(next(iter(rows.values())))
    lines = [f"| method | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for method, row in rows.items():
        cells = ("n/a" if math.isnan(value) else f"{value:.3f}" for value in row.values())
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_reports(args: argparse.Namespace, **texts: str) -> None:
    """Write each text to the file that the option of its name gives, if it is given."""
    for option, text in texts.items():
        path = getattr(args, option)
        if path:
            write_text(path, text)
