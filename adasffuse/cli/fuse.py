"""Command line of the four fusion scripts: fuse the data set of a task, report, score."""

import argparse
import sys
import time
from pathlib import Path

from adasffuse.data.samples import sample_pairs, write_samples
from adasffuse.device import PRECISIONS
from adasffuse.images.pairs import SceneFolder, scene_folders
from adasffuse.images.read import ImageError
from adasffuse.inference.folder import FolderReport, fuse_folder
from adasffuse.inference.fuser import DEFAULT_OVERLAP, DEFAULT_TILE, load_fuser
from adasffuse.metrics import ScoreTable
from adasffuse.metrics.folder import score_pairs
from adasffuse.tasks import Task, find_task

METHOD = "AdaSFFuse"
COMPARED = ("average", "max", "laplacian")  # baselines scored beside the network


def parse_args(task: Task, argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"Fuse {task.title} pairs in colour and score the results. "
        "Without --root_path the built-in sample pairs are fused with the released weights.",
    )
    a, b = task.sources[0].a, task.sources[0].b
    parser.add_argument("--root_path", type=Path, help="folder of data sets: pairs lie in ROOT/DATASET/FOLDER")
    parser.add_argument("--dataset", default=task.folder, help="data set below it, TASK or TASK_NAME (%(default)s)")
    parser.add_argument("--A_dir", help=f"folder of source A, below the data set or a full path (default: {a})")
    parser.add_argument("--B_dir", help=f"folder of source B (default: {b})")
    parser.add_argument(
        "--model_path",
        "--weights",
        help="weights file of your own training, or 'general': released ones of all tasks (default: this task's)",
    )
    parser.add_argument("--size", choices=("base", "small"), default="small", help="released weights (%(default)s)")
    parser.add_argument(
        "--save_dir", type=Path, default=Path("results"), help="results go to SAVE_DIR/DATASET (%(default)s)"
    )
    parser.add_argument(
        "--tile",
        type=int,
        default=DEFAULT_TILE,
        help="images of more than TILE x TILE pixels are fused in tiles of that area; a multiple of 16; 0: never "
        "(%(default)s)",
    )
    parser.add_argument(
        "--tile_overlap",
        type=int,
        default=DEFAULT_OVERLAP,
        help="pixels that tiles share, a multiple of 16 (%(default)s)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="arithmetic of the network; auto: bfloat16 where the processor has it (%(default)s)",
    )
    parser.set_defaults(night=0.0)
    if task.night:
        parser.add_argument(
            "--night",
            type=float,
            metavar="LOGIT",
            help="let the visible image decide how bright dark regions are: 6 keeps nights dark (%(default)s)",
        )
    parser.add_argument(
        "--range",
        nargs="+",
        metavar=("LOW", "HIGH"),
        help="values of 16-bit files that become black and white, "
        "or 'folder': lowest and highest of all files (default: 0 65535)",
    )
    parser.add_argument(
        "--stretch", action="store_true", help="spread each result to 0..255; only to reproduce published numbers"
    )
    parser.add_argument("--no_scores", action="store_true", help="fuse only, print no scores")
    return parser.parse_args(argv)


def run(task_id: str, argv: list[str] | None = None) -> int:
    """Fuse and score as the arguments say; the exit status: 0, or 1 where anything failed."""
    task = find_task(task_id)
    args = parse_args(task, argv)
    try:
        value_range = _value_range(args.range)
        if find_task(args.dataset.split("/")[0]) != task:  # MIF/PET-MRI is one subset
            raise ValueError(f"--dataset {args.dataset} is no {task.folder} data set; use its own test script")
        fuser = load_fuser(
            task.id,
            args.size,
            args.model_path,
            args.device,
            args.tile,
            args.tile_overlap,
            args.precision,
            args.night,
        )
        jobs = _sample_jobs(task, args) if args.root_path is None else _jobs(args)
        failed = False
        for folder, save_dir in jobs:
            try:
                report = fuse_folder(fuser, folder, save_dir, value_range, args.stretch)
            except ImageError as error:  # the other subsets are fused all the same
                print(f"error: {error}", file=sys.stderr)
                failed = True
                continue
            failed |= bool(report.failed)
            print(report.summary())
            for notice in dict.fromkeys(report.notices):
                print(f"notice: {notice}")
            if report.fused and not args.no_scores:
                started = time.perf_counter()
                table = score(report)
                print(f"{report.name}: {len(table.rows)} images scored in {time.perf_counter() - started:.1f} s")
                print(table.text())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(failed)


def score(report: FolderReport) -> ScoreTable:
    """Metrics of the saved files of a folder, and of the baselines on the same pairs."""
    saved = {pair.stem: report.save_dir / f"{pair.stem}.png" for pair in report.fused}
    return score_pairs(report.fused, {METHOD: saved} | dict.fromkeys(COMPARED), ranges=report.ranges)


def _jobs(args: argparse.Namespace) -> list[tuple[SceneFolder, Path]]:
    folders = scene_folders(args.root_path, args.dataset, args.A_dir, args.B_dir)
    return [(folder, args.save_dir / folder.name) for folder in folders]


def _sample_jobs(task: Task, args: argparse.Namespace) -> list[tuple[SceneFolder, Path]]:
    """Write the samples below the results and fuse them there: SAVE_DIR/samples/IVF/{infrared,visible,fused}."""
    root = args.save_dir / "samples"
    write_samples(root)
    print("built-in samples (no --root_path given):")
    for sample in sample_pairs(task.id):
        print(f"  {sample.name}: {sample.title}")
    return [(folder, folder.folders[0].parent / "fused") for folder in scene_folders(root, task.folder)]


def _value_range(values: list[str] | None) -> tuple[float, float] | str | None:
    if values is None or values == ["folder"]:
        return values and "folder"
    try:
        low, high = (float(value) for value in values)
    except ValueError:
        raise ValueError(f"--range takes LOW HIGH in the files' values, or 'folder'; got {' '.join(values)}") from None
    if not low < high:
        raise ValueError(f"--range needs LOW < HIGH, got {low:g} {high:g}")
    return low, high
