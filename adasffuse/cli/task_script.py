"""Command line of the four fusion scripts: fuse the data set of a task, report, score."""

from __future__ import annotations  # names of `inference` and `metrics` load PyTorch and SciPy where they are used

import argparse
import shlex
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from adasffuse import inference, metrics
from adasffuse.choices import PALETTES
from adasffuse.cli.arguments import (
    Parser,
    add_align_options,
    add_fusing_options,
    add_palette_option,
    add_source_options,
    add_truth_options,
    aligner_from,
    check_truth_options,
    fuser_from,
    given_path,
    listed,
    ranges_of,
    refuse_palette_of_ct,
    words_of_source,
)
from adasffuse.cli.shared import ended_by, run_shared, say_few
from adasffuse.files import check_outputs
from adasffuse.images.boxes import PEOPLE
from adasffuse.images.color import luminance
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.pairs import Scene, SceneError, SceneFolder, read_scene
from adasffuse.images.ranges import RangeSpec
from adasffuse.inference.results import SaveError
from adasffuse.messages import counted
from adasffuse.process import say, say_all_notices, status_of
from adasffuse.registration.aligner import Aligner
from adasffuse.tasks import Task, find_task, guess_task

METHOD = "AdaSFFuse"
SCORING_ALIGNED = "write them with 'adasffuse align A B -o DIR' and fuse those to have scores"
COMPARED = ("average", "max", "laplacian")  # baselines scored beside the network


def parse_args(task: Task, argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        usage="%(prog)s [--root_path ROOT | --A_dir DIR --B_dir DIR] [options]",
        description=f"Fuse {task.title} pairs in colour and score the results.\n"
        "Without --root_path the built-in sample pairs are fused with the released weights.",
    )
    a, b = task.sources[0].folders
    parser.add_argument(
        "--root_path", type=given_path, metavar="ROOT", help="folder of data sets; images lie in ROOT/DATASET/FOLDER"
    )
    parser.add_argument("--dataset", metavar="NAME", help=f"data set in it, TASK or TASK_NAME (default: {task.folder})")
    parser.add_argument(
        "--A_dir",
        type=given_path,
        metavar="DIR",
        help=f"folder of source A, in the data set or a path of its own (default: {a}); together with --B_dir and "
        "without --root_path, any two folders",
    )
    parser.add_argument("--B_dir", type=given_path, metavar="DIR", help=f"folder of source B (default: {b})")
    add_source_options(parser, parser.add_argument_group("reading the sources"))
    add_align_options(parser.add_argument_group("registration"))
    parser.add_argument(
        "--save_dir",
        type=given_path,
        metavar="DIR",
        default=Path("results"),
        help="folder of the results, which go to SAVE_DIR/DATASET (default: %(default)s)",
    )
    add_fusing_options(parser, "--model_path")
    if task.color == "a":
        add_palette_option(parser)
    else:
        parser.set_defaults(palette=PALETTES[0])
    scores = parser.add_argument_group("scores")
    scores.add_argument("--no_scores", action="store_true", help="fuse only, print no scores")
    add_truth_options(scores)
    return parser.parse_args(argv)


def run(task_id: str, argv: list[str] | None = None) -> int:
    """Fuse and score as the arguments say; the exit status: 0, 1 where anything failed, or 2, see `status_of`.

    Started by torchrun, all processes share each folder, and the first one reports.
    """
    task = find_task(task_id)
    args = parse_args(task, argv)
    return run_shared(partial(_run, task, args), advice=_advice)


def _run(task: Task, args: argparse.Namespace, ranks: inference.Ranks) -> int:
    ranges = ranges_of(args)
    check_truth_options(args)
    for option in ("reference", "boxes"):
        if args.no_scores and getattr(args, option) is not None:
            raise ValueError(f"--{option} is for scores; leave out --no_scores")
    check_outputs(folders={"--save_dir": args.save_dir})
    dataset, aligner = _dataset(task, args.dataset), aligner_from(args, task.id)
    fuser = fuser_from(args, task.id)
    status = 0
    for folder, save_dir in _jobs(task, dataset, args, ranks):
        try:
            report = _fuse(fuser, folder, save_dir, ranges, args, ranks, aligner)
            status = max(status, int(bool(report.failed)))
            if report.fused and ranks.main and aligner is not None and not args.no_scores:
                say(f"{report.name}: no scores, the sources as stored are not aligned; {SCORING_ALIGNED}")
            elif report.fused and ranks.main and args.palette != PALETTES[0] and not args.no_scores:
                say(f"{report.name}: no scores, source A as stored is not in the colours of {args.palette!r}")
            elif report.fused and ranks.main and not args.no_scores:
                _print_scores(report, task, args)
                say(identity_text(identity_errors(fuser, report.fused[:1], report.ranges, report.no_data)))
        except SaveError:
            raise
        except (ValueError, OSError) as error:  # the other subsets are fused all the same
            if ranks.main:
                ended_by(error, advice=_advice)
            status = max(status, status_of(error))
    return status


def score(
    report: inference.FolderReport,
    task: str = "",
    reference: Path | None = None,
    boxes: Path | None = None,
    classes: Sequence[str] = PEOPLE,
    range_reference: tuple[float, float] | None = None,
) -> metrics.ScoreTable:
    """Metrics of the saved files of a folder, and of the baselines on the same scenes, read as they were fused.

    Args:
        task: its id, which decides on what is printed beside the default metrics.
        reference, boxes, classes, range_reference: as in `adasffuse.metrics.folder.score_folders`.
    Raises:
        ImageError: a folder of true images or boxes is missing or of other scenes; a file of boxes is malformed.
    """
    methods = {METHOD: report.files} | dict.fromkeys(COMPARED)
    references, notices = metrics.find_references(report.finished, reference)
    annotations, others = metrics.find_annotations(report.finished, boxes, classes)
    beside = metrics.scores_beside(task, reference=reference is not None, boxes=boxes is not None)
    table = metrics.score_pairs(
        report.finished,
        methods,
        references,
        metrics.Settings(beside=tuple(beside), classes=tuple(classes)),
        ranges=report.ranges,
        no_data=report.no_data,
        annotations=annotations,
        thermal=find_task(task).thermal if task else None,
        range_reference=range_reference,
    )
    table.notices = notices + others  # of the images themselves fusing has told
    return table


def identity_errors(
    fuser: inference.Fuser,
    scenes: Sequence[Scene],
    ranges: Sequence[tuple[float, float] | None] | None = None,
    no_data: Sequence[float | None] | None = None,
) -> dict[str, float]:
    """`identity_error` of a fuser on all sources of some scenes.

    Args:
        ranges, no_data: as in `adasffuse.images.pairs.read_scene`.
    Returns:
        images: number of sources; largest: of their largest errors; mean: of their mean errors; in gray levels.
    """
    images = [image for scene in scenes for image in read_scene(scene, ranges, no_data)]
    errors = [metrics.identity_error(fuser.fuse_luminance, luminance(image.pixels)) for image in images]
    largest, mean = zip(*errors)
    return {"images": len(images), "largest": max(largest), "mean": sum(mean) / len(mean)}


def identity_text(identity: Mapping[str, float]) -> str:
    """What `identity_errors` returns, as a line."""
    return (
        f"Identity error of {METHOD}: largest {identity['largest']:.3f}, mean {identity['mean']:.4f} gray levels "
        f"({identity['images']} images, each fused with itself)"
    )


def _dataset(task: Task, given: str | None) -> str:
    """The data set's name, with slashes as separators: 'IVF_MSRS', 'MIF/PET-MRI' (one subset)."""
    if given is None:
        return task.folder
    parts = given.replace("\\", "/").rstrip("/").split("/")
    if find_task(parts[0]) != task:
        raise ValueError(f"--dataset {given} is no {task.folder} data set; use its own test script")
    if ".." in parts:
        raise ValueError(f"--dataset {given} leaves the folder of data sets; results go to a folder of its name")
    return "/".join(parts)


def _fuse(
    fuser: inference.Fuser,
    folder: SceneFolder,
    save_dir: Path,
    ranges: list[RangeSpec | None],
    args: argparse.Namespace,
    ranks: inference.Ranks,
    aligner: Aligner | None,
) -> inference.FolderReport:
    """Fuse one folder and print what became of it; raises ValueError where a CT is to be in false colours."""
    guess = guess_task(*map(words_of_source, folder.folders)) if args.palette != PALETTES[0] else None
    if guess is not None:
        refuse_palette_of_ct(args.palette, guess[1], "name other data sets, such as --dataset MIF/PET-MRI")
    report = inference.fuse_folder(
        fuser,
        folder,
        save_dir,
        ranges=ranges,
        no_data=(args.no_data_a, args.no_data_b),
        patterns=(args.pattern_a, args.pattern_b),
        within=args.within,
        depth=args.depth,
        stretch=args.stretch,
        align=aligner,
        palette=args.palette,
        ranks=ranks,
    )
    if ranks.main:
        print_report(report)
    return report


def print_report(report: inference.FolderReport) -> None:
    """Print what became of a folder, and what a user should know of it."""
    say(report.summary())
    say_few("notice", (("", notice) for notice in report.notices))


def _print_scores(report: inference.FolderReport, task: Task, args: argparse.Namespace) -> None:
    started = time.perf_counter()
    table = score(report, task.id, args.reference, args.boxes, listed(args.classes), args.range_reference)
    say_all_notices(table.notices)
    say(f"{report.name}: {counted(len(table.rows), 'image')} scored in {time.perf_counter() - started:.1f} s")
    say(table.text())


def _jobs(task: Task, dataset: str, args: argparse.Namespace, ranks: inference.Ranks) -> list[tuple[SceneFolder, Path]]:
    """Folders to fuse, each with the folder of its results.

    Raises:
        ValueError: the arguments name some sources, but not all.
    """
    if args.root_path is not None:
        folders = scene_folders(args.root_path, dataset, args.A_dir, args.B_dir)
        return [(folder, args.save_dir / folder.name) for folder in folders]
    if args.A_dir is not None and args.B_dir is not None:
        return [(SceneFolder(dataset, (args.A_dir, args.B_dir)), args.save_dir / dataset)]
    for option in ("A_dir", "B_dir", "dataset", "pattern_a", "pattern_b", "within"):
        if getattr(args, option) is not None:
            raise ValueError(
                f"--{option} needs --root_path, or both --A_dir and --B_dir; without any of them the samples are fused"
            )
    return _sample_jobs(task, args, ranks)


def _sample_jobs(task: Task, args: argparse.Namespace, ranks: inference.Ranks) -> list[tuple[SceneFolder, Path]]:
    """Write the samples below the results and fuse them there: SAVE_DIR/samples/IVF/{infrared,visible,fused}."""
    from adasffuse.data.samples import write_samples  # with scikit-image, which only samples need

    root = args.save_dir / "samples"
    if ranks.main:
        samples = write_samples(root, task.id)
        say("built-in samples (no --root_path given):")
        for sample in samples:
            say(f"  {sample.name}: {sample.title}")
    ranks.gather("the samples are written")
    return [(folder, folder.folders[0].parent / "fused") for folder in scene_folders(root, task.folder)]


def _advice(error: Exception) -> str:
    """The options that would help, where the error knows better folders or patterns."""
    if not isinstance(error, SceneError):
        return ""
    options = [*zip(("--A_dir", "--B_dir"), error.folders), *zip(("--pattern_a", "--pattern_b"), error.patterns)]
    if error.root:
        options.append(("--root_path", error.root))
    words = [f"{name} {shlex.quote(str(value))}" for name, value in options]
    return f"; try {' '.join(words)}" if words else ""
