"""`adasffuse stack`: exposure brackets and focus stacks, one folder per stack, to one image each."""

from __future__ import annotations  # names of `inference` load PyTorch where they are used

import argparse
import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from adasffuse import inference
from adasffuse.choices import GHOSTS
from adasffuse.cli.arguments import (
    ReportingParser,
    add_dry_run_option,
    add_fusing_options,
    add_json_option,
    add_metadata_option,
    add_out_option,
    fuser_from,
    given_path,
    range_of,
)
from adasffuse.cli.shared import run_shared, say_few, say_report
from adasffuse.cli.stacks import work_of_stacks
from adasffuse.files import check_outputs
from adasffuse.images.formats import file_of
from adasffuse.images.metadata import lost_place, read_metadata
from adasffuse.images.pairs import Scene
from adasffuse.inference.journal import stamps
from adasffuse.inference.results import (
    SaveError,
    alone_in,
    former_results,
    journal_of,
    note_result,
    outdated_notice,
    save_result,
    stale_results,
)
from adasffuse.inference.work import Work
from adasffuse.messages import counted, printable, told
from adasffuse.process import say
from adasffuse.registration.stacks import STACK_METHODS
from adasffuse.tasks import TASKS

DESCRIPTION = """Fuse stacks of any number of images: exposures, or focus settings.

  adasffuse stack bracket -o fused.png --task mef               the images of one folder
  adasffuse stack stacks -o fused --task mff                    a folder of folders: one result for each
  adasffuse stack a.jpg b.jpg c.jpg -o fused.png --task mef     files, also "*.jpg"
  adasffuse stack photos -o fused --task mef --images_per_stack 3   a folder of brackets of 3 images each
  adasffuse stack shots -o fused --task mef --pattern "*.CR2"   RAW files beside JPEG files of the same shots
  adasffuse stack z.tif -o fused.png --task mff                 the pages of a TIFF file; of each channel apart

Images are read one after the other, so memory does not grow with their number.
"""
EPILOG = """Exit status: 0 everything was fused, 1 something failed and is named, 2 impossible arguments.
Several processes share several stacks: torchrun --nproc_per_node 4 -m adasffuse stack STACKS -o OUT --task TASK."""


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    parser = ReportingParser(
        prog,
        usage="%(prog)s STACK ... -o OUT --task mef|mff [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "stacks",
        nargs="+",
        type=given_path,
        metavar="STACK",
        help="folder of images, folder of such folders, files, or TIFF file of several pages",
    )
    add_out_option(parser, "OUT", "result of one stack: a file; of several: a folder", required=True)
    one_kind = [task.id for task in TASKS.values() if len(task.kinds) == 1]
    parser.add_argument(
        "--task",
        required=True,
        type=str.lower,
        choices=one_kind,
        help="; ".join(f"{name}: {TASKS[name].title}" for name in one_kind),
    )
    parser.add_argument(
        "--align",
        choices=("none", *STACK_METHODS),
        default="none",
        help="register each image to the middle one; similarity: shift, scale and a small turn (default: %(default)s)",
    )
    parser.add_argument(
        "--images_per_stack",
        type=int,
        metavar="N",
        help="cut each folder, or the listed files, into stacks of N images by their names; a result has the name "
        "of the first image of its stack",
    )
    parser.add_argument(
        "--ghosts",
        choices=GHOSTS,
        default="keep",
        help="what moves between exposures; remove: show it as in the one that is clipped least (default: %(default)s)",
    )
    parser.add_argument(
        "--pattern",
        metavar="NAME",
        help="which images of each folder, or of the listed files, are taken, such as '*.CR2' where the camera wrote "
        "JPEG files beside them",
    )
    running = parser.add_argument_group("running")
    add_dry_run_option(running)
    running.add_argument("--resume", action="store_true", help="skip stacks that an earlier run has finished")
    add_json_option(running)
    reading = parser.add_argument_group("reading the images")
    reading.add_argument(
        "--range",
        nargs="+",
        metavar=("LOW", "HIGH"),
        help="values that become black and white, in files deeper than 8 bits: two numbers; 'folder' or two "
        "percentages, measured for each stack. 'inverted' behind them makes high values dark",
    )
    reading.add_argument(
        "--no_data", type=float, metavar="VALUE", help="value that means 'no data', besides NaN and the file's own"
    )
    results = parser.add_argument_group("results")
    add_metadata_option(results, "the image in the middle of the stack, by its name")
    add_fusing_options(parser, results=results, stretch=False, strength=False)
    return parser


def run(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Fuse as the arguments say; the exit status: 0 only if everything was fused."""
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.images_per_stack is not None and args.images_per_stack < 2:
        parser.error(f"--images_per_stack: a stack has two or more images, got {args.images_per_stack}")
    if args.pattern is not None and Path(args.pattern).name != args.pattern:
        parser.error(f"--pattern is for names of files, in each folder that is given, got {args.pattern!r}")
    if args.ghosts == "remove" and args.task != "mef":
        parser.error("--ghosts remove is for exposures; in focus stacks movement cannot be told from blur")
    return run_shared(partial(_run, args), args.json)


def _run(args: argparse.Namespace, ranks: inference.Ranks) -> int:
    work, failed, notices = work_of_stacks(args)
    if args.resume and work.file:
        raise ValueError("--resume is for folders of results; give a folder as -o")
    if not args.dry_run:
        check_outputs({"-o": work.file}, {"-o": None if work.file else work.save_dir})
    options = inference.StackOptions(range_of("--range", args.range), args.no_data, args.align, args.depth, args.ghosts)
    fuser = fuser_from(args, args.task)
    settings = inference.settings_of(
        fuser,
        range=args.range,
        no_data=args.no_data,
        align=args.align,
        depth=args.depth,
        ghosts=args.ghosts,
        metadata=args.keep_metadata,
        kind="stack",
    )
    if args.dry_run:
        return _dry_run(args, fuser, work, failed, notices, options, settings) if ranks.main else 0
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    lost: list[tuple[str, str]] = []
    hidden = None if ranks.main and not args.json else True
    outdated = 0
    with alone_in(work, ranks.rank), journal_of(work.save_dir, settings, args.resume, ranks.rank) as journal:
        for scene in tqdm(ranks.share(work.scenes), "stacks", unit="stack", disable=hidden):
            before = stamps(scene.paths)
            finished = journal.finished(scene) if args.resume else None
            if finished:
                rows.append({"name": scene.stem, "result": str(work.save_dir / finished.name), "skipped": True})
                continue
            outdated += args.resume and journal.outdated(scene)
            try:
                fused, target = _fuse(fuser, work, scene, options, args.keep_metadata)
            except SaveError:
                raise
            except (ValueError, OSError, MemoryError, RuntimeError, cv2.error) as error:
                lost.append((scene.stem, told(error)))
                continue
            if work.file is None:
                note_result(journal, scene, before, [target])
            rows.append(_row(scene, fused, target))
    rows_of, lost_of, olds, seconds = zip(*ranks.gather((rows, lost, outdated, time.perf_counter() - started)))
    order = {scene.stem: number for number, scene in enumerate(work.scenes)}
    rows = sorted(itertools.chain(*rows_of), key=lambda row: order[row["name"]])
    failed += sorted(itertools.chain(*lost_of), key=lambda one: order[one[0]])
    notices += outdated_notice(sum(olds)) + stale_results(work, [name for name, _ in failed])
    if work.file is None:
        notices += former_results(Path(row["result"]) for row in rows)
    if ranks.main:
        _tell(args, fuser, rows, failed, notices, work, max(seconds))
    return int(bool(failed))


def _fuse(
    fuser: inference.Fuser, work: Work, scene: Scene, options: inference.StackOptions, keep: str
) -> tuple[inference.FusedStack, Path]:
    """Fuse a stack and write the result with the metadata to keep; the file of the result."""
    fused = inference.fuse_stack(fuser, scene.paths, options)
    target = work.result(scene, fused.depth)
    giver = file_of(scene.paths[len(scene.paths) // 2])
    metadata = read_metadata(giver, keep)
    save_result(target, fused.pixels, fused.depth, metadata)
    if lost := lost_place(target, metadata):
        fused.notices.append(f"{giver}: {lost}")
    return fused, target


def _dry_run(
    args: argparse.Namespace,
    fuser: inference.Fuser,
    work: Work,
    failed: list[tuple[str, str]],
    notices: list[str],
    options: inference.StackOptions,
    settings: str,
) -> int:
    """Read all stacks, one image at a time, and say what would come of them."""
    planned: list[dict[str, Any]] = []
    skipped: list[str] = []
    journal = journal_of(work.save_dir, settings, args.resume)
    for scene in tqdm(work.scenes, "stacks", unit="stack", disable=True if args.json else None):
        if args.resume and journal.finished(scene):
            skipped.append(scene.stem)
            continue
        try:
            depth, of_stack = inference.plan_stack(fuser, scene.paths, options)
            result = work.result(scene, depth)
            inference.check_result(result, depth)
        except (ValueError, OSError, MemoryError, cv2.error) as error:
            failed.append((scene.stem, told(error)))
            continue
        planned.append({"name": scene.stem, "images": len(scene.paths), "result": str(result), "notices": of_stack})
    failed += inference.unwritable(work.save_dir)
    if args.json:
        say_report({"dry_run": True, "task": args.task, "planned": planned, "skipped": skipped}, failed, notices)
        return int(bool(failed))
    for one in planned:
        say(printable(f"  {one['name']}: {one['images']} images -> {one['result']}"))
    _say_notices_of(planned)
    say_few("  would fail", failed)
    say_few("notice", (("", notice) for notice in notices))
    before = f", {len(skipped)} finished before" if skipped else ""
    say(f"{len(planned)} would be fused{before}, {len(failed)} would fail; nothing was written")
    return int(bool(failed))


def _row(scene: Scene, fused: inference.FusedStack, target: Path) -> dict[str, Any]:
    return {
        "name": scene.stem,
        "images": len(scene.paths),
        "used": fused.used,
        "result": str(target),
        "notices": fused.notices,
        "largest_shift": round(max(fused.shifts, default=0.0), 2),
    }


def _tell(
    args: argparse.Namespace,
    fuser: inference.Fuser,
    rows: list[dict[str, Any]],
    failed: list[tuple[str, str]],
    notices: list[str],
    work: Work,
    seconds: float,
) -> None:
    """Print what became of the stacks."""
    network = f"{fuser.precision} on {fuser.device}"
    fused = [row for row in rows if "skipped" not in row]
    if args.json:
        values = {"task": args.task, "network": network, "stacks": rows, "seconds": round(seconds, 3)}
        say_report(values, failed, notices)
        return
    for row in fused:
        moved = f", moved by up to {row['largest_shift']} pixels" if row["largest_shift"] else ""
        say(printable(f"  {row['name']}: {row['used']} of {row['images']} images{moved} -> {row['result']}"))
    _say_notices_of(fused)
    before = f", {len(rows) - len(fused)} finished before" if len(rows) > len(fused) else ""
    pace = f", {seconds / len(fused):.2f} s per stack in {network}" if fused else ""
    place = f" -> {printable(work.file or work.save_dir)}" if rows else ""
    say(f"{counted(len(fused), 'stack')} fused{pace}{before}, {len(failed)} failed{place}")
    say_few("  failed", failed)
    say_few("notice", (("", notice) for notice in notices))


def _say_notices_of(rows: Sequence[dict[str, Any]]) -> None:
    """Print the notices of stacks, with their names where there are several."""
    say_few("  notice", ((row["name"] if len(rows) > 1 else "", notice) for row in rows for notice in row["notices"]))
