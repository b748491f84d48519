"""Does fusion help a detector or a segmenter?"""

from __future__ import annotations  # names of these rooms load PyTorch where they are used

import argparse
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from adasffuse import downstream, inference
from adasffuse.cli.arguments import (
    SourcesParser,
    add_device_option,
    add_out_option,
    add_precision_option,
    add_range_option,
    at_least,
    given_path,
    named_values,
    ranges_of,
    width_and_height,
)
from adasffuse.cli.shared import ended_by
from adasffuse.downstream.classes import CLASSES, TASKS, ClassList, find_classes, listed_classes
from adasffuse.downstream.frames import Frame, FrameSet, find_frames, trained_on
from adasffuse.downstream.labels import BoxRules
from adasffuse.downstream.packages import LITE0, needed
from adasffuse.files import LOCK_FILE, check_outputs, keeping_others_out
from adasffuse.images.image import ImageError
from adasffuse.messages import counted, first_of, printable, told
from adasffuse.process import Terminated, prepare_process, say, say_all_notices

DESCRIPTION = """Train a network on each kind of image of labelled frames: infrared, visible, fused; compare the scores.

  adasffuse downstream DATA --task segment --out OUT
  adasffuse downstream DATA --task detect --modalities infrared visible fused mine=FOLDER --out OUT

DATA holds infrared/ visible/ with labels/ or Annotations/, or VOCdevkit/VOC2007, and lists train.txt and test.txt;
scripts/voc_annotation.py checks labels and draws such lists.  What is missing is fused.  All modalities get the same
seeds, frames, augmentation and budget.  The same command again goes on where it was interrupted.
"""
EPILOG = "Exit status: 0 all runs are finished, 1 something failed and is named, 2 impossible arguments."
DEFAULT_MODALITIES = ("infrared", "visible", "average", "fused")
_MULTIPLE = 32  # pixels: the coarsest stride of the networks
_LARGEST = 4096  # pixels
_MODEL = {"detect": "fcos", "segment": "fpn"}
_LEARNING_RATE = {"detect": 5e-4, "segment": 1e-3}


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    parser = SourcesParser(
        prog,
        usage="%(prog)s DATA --task detect|segment --out OUT [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("data", nargs="+", type=given_path, metavar="DATA", help="labelled data sets, which are joined")
    parser.add_argument("--task", required=True, choices=TASKS, help="kind of the labels, boxes or masks")
    add_out_option(parser, "OUT", "folder of the runs, tables and figures", required=True)
    parser.add_argument(
        "--modalities",
        nargs="+",
        default=list(DEFAULT_MODALITIES),
        metavar="KIND",
        help="kinds of images to compare: infrared, visible, average, max, laplacian, gff, fused, fused_SIZE, "
        "NAME=FOLDER of images by any method, NAME=WEIGHTS of our network (default: infrared visible average "
        "fused)",
    )
    for side in "ab":  # source A is infrared, source B visible
        add_range_option(parser, side)
    add_label_options(parser)
    parser.add_argument(
        "--groups",
        nargs="+",
        default=[],
        metavar="NAME=PATTERN",
        help='frames that are also scored apart, such as day="*D" night="*N"',
    )
    parser.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="NAME=DATA",
        help="other labelled data sets, of which all frames are scored apart; classes that are not listed are left out",
    )
    network = parser.add_argument_group("network")
    network.add_argument(
        "--model",
        help="network; segment: fpn, unet, segformer_b0 to _b5 (default: fpn); detect: fcos, retinanet, ssdlite, "
        "or of ultralytics (AGPL-3.0) yolov5nu, yolov8n, ... (default: fcos)",
    )
    network.add_argument(
        "--backbone",
        default=LITE0,
        help="backbone of fpn, unet, fcos and retinanet, by timm's name (default: %(default)s)",
    )
    network.add_argument(
        "--weights",
        help="start: scratch, imagenet, or what the model knows, a folder or hub name of SegFormer, a .pt file of "
        "YOLO (default: imagenet where the backbone is timm's, else scratch)",
    )
    network.add_argument(
        "--size",
        type=_network_size,
        default="256x192",
        metavar="WIDTHxHEIGHT",
        help=f"size of the network's images, multiples of {_MULTIPLE} (default: %(default)s)",
    )
    budget = parser.add_argument_group("budget")
    budget.add_argument(
        "--seeds", type=at_least(1), default=3, help="number of runs per kind of image (default: %(default)s)"
    )
    budget.add_argument("--epochs", type=int, default=10, help="passes over the training frames (default: %(default)s)")
    budget.add_argument("--batch", type=int, default=8, help="frames per step (default: %(default)s)")
    budget.add_argument(
        "--learning_rate", type=float, help="largest step size (default: 1e-3 for segment, 5e-4 for detect)"
    )
    budget.add_argument(
        "--equal_classes", action="store_true", help="weigh rare classes no more than others; segment only"
    )
    running = parser.add_argument_group("running")
    add_device_option(running)
    add_precision_option(running)
    running.add_argument(
        "--jobs",
        type=at_least(1),
        default=1,
        help="number of runs at a time, which share the cores (default: %(default)s)",
    )
    running.add_argument(
        "--applied",
        default="visible",
        metavar="KIND",
        help="kind whose networks are also scored on all other kinds, or none (default: %(default)s)",
    )
    running.add_argument(
        "--drawn", type=at_least(0), default=4, help="number of test frames that are drawn (default: %(default)s)"
    )
    return parser


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Add the list of classes, and what happens to boxes that are not as they should be."""
    parser.add_argument(
        "--classes",
        metavar="LIST",
        help=f"classes of the labels: {', '.join(sorted({*CLASSES['detect'], *CLASSES['segment']}))}, or a file "
        "with a class per line (default: classes.txt of DATA)",
    )
    parser.add_argument(
        "--mend_boxes",
        action="store_true",
        help="mend boxes: exchange swapped corners, cut at borders, drop what has no area",
    )
    parser.add_argument("--skip_unlisted", action="store_true", help="leave out boxes of classes that are not listed")


def run(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Compare as the arguments say; the exit status."""
    args = make_parser(prog).parse_args(argv)
    try:
        with inference.join_ranks() as ranks:
            return _run(args, ranks)
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        return ended_by(error)


def _run(args: argparse.Namespace, ranks: inference.Ranks) -> int:
    needed("torchvision", "adasffuse downstream")
    needed("matplotlib", "the report")  # asked for before hours of training
    if args.task == "detect":
        needed("faster_coco_eval", "scoring detectors")
    check_outputs(folders={"--out": args.out}, inputs=args.data)
    downstream.refuse_other_task(args.out, args.task)
    ranges = ranges_of(args)
    experiment, modalities = _experiment(args, ranks)  # impossible arguments leave no folder behind
    frames = [*experiment.train, *experiment.scored]
    read = [path for frame in frames for path in (*frame.images.values(), frame.mask) if path is not None]
    check_outputs(folders={"--out": args.out}, inputs={path.parent for path in read})
    windows = downstream.windows_of(ranges, frames)
    if ranks.main:
        say_all_notices(downstream.source_notices(modalities, frames, windows), sys.stderr)
    with ExitStack() as stack:
        if ranks.main:
            args.out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(keeping_others_out(args.out, LOCK_FILE))
        experiment = replace(experiment, files=_images(modalities, experiment, windows, ranks))
        results, failed = _carry_out_all(experiment, ranks.share(experiment.runs), args.jobs)
        parts = ranks.gather((results, failed))
    if not ranks.main:
        return int(bool(failed))
    results = {run: content for part, _ in parts for run, content in part.items()}
    results = {run: results[run] for run in experiment.runs if run in results}
    failed = [line for _, part in parts for line in part]
    if results:
        report = downstream.Report.of(experiment, results)
        say(report.text())
        files = downstream.write_report(report, results, args.drawn)
        say("\nwritten: " + ", ".join(printable(path) for path in files))
    for line in failed:
        say(f"failed: {printable(line)}", sys.stderr)
    return int(bool(failed))


def classes_of(args: argparse.Namespace, task: str) -> ClassList:
    """The list that was asked for, or that of the first data set."""
    if not args.data[0].is_dir():
        raise ImageError(f"{args.data[0]}: no such folder of labelled frames")
    if args.classes:
        return find_classes(args.classes, task)
    found = listed_classes(args.data[0], task)
    if found is None:
        raise ImageError(
            f"{args.data[0]}: no classes.txt; give --classes with a file, or one of {', '.join(CLASSES[task])}"
        )
    return found


def frames_of(args: argparse.Namespace, task: str, classes: ClassList, lists: bool = True) -> FrameSet:
    """All frames; faults, those of the lists among them where these are read, raise."""
    found = find_frames(args.data, task, classes, BoxRules(args.mend_boxes, args.skip_unlisted), lists)
    found.refuse_faults()
    return found


def _experiment(
    args: argparse.Namespace, ranks: inference.Ranks
) -> tuple[downstream.Experiment, list[downstream.Modality]]:
    """What the arguments ask for, without the files of its images, and the kinds of images; nothing is written."""
    classes = classes_of(args, args.task)
    modalities = [downstream.parse_modality(text) for text in args.modalities]
    names = [modality.name for modality in modalities]
    if len(set(names)) < len(names):
        raise ValueError(f"--modalities names one kind of image twice: {', '.join(names)}")
    if args.applied not in (*names, "visible", "none"):
        raise ValueError(f"--applied {args.applied}: not among --modalities ({', '.join(names)}), nor 'none'")
    if args.equal_classes and args.task == "detect":
        raise ValueError("--equal_classes is for --task segment")
    from adasffuse.device import pick_device, pick_precision  # here: arguments are read without PyTorch

    device = pick_device(args.device)
    model = args.model or _MODEL[args.task]
    own_backbone = model in ("fpn", "unet", "fcos", "retinanet")
    rate = _LEARNING_RATE[args.task] if args.learning_rate is None else args.learning_rate
    budget = downstream.Budget(args.epochs, args.batch, rate, precision=pick_precision(args.precision, device))
    groups = named_values(args.groups, "--groups", 'NAME=PATTERN, e.g. night="*N"', taken=[downstream.ALL])
    others = others_of(args, args.task, classes)
    if groups.keys() & others.keys():
        raise ValueError(f"--also and --groups both name {', '.join(groups.keys() & others.keys())}")
    found = frames_of(args, args.task, classes)
    train, test = _train_and_test(found, args, classes)
    used = [*train, *test, *(frame for frames in others.values() for frame in frames)]
    if len({frame.stem for frame in used}) < len(used):
        raise ImageError("two frames have one name; rename those of --also")
    if ranks.main:
        say_all_notices([*found.notices, *_mended(found)], sys.stderr)
        repeated = trained_on(train, used[len(train) :])
        if repeated:
            say(
                f"notice: the images of {printable(first_of(repeated))} are trained on, too, under other names; the "
                "scores say little about other frames: leave them out of train.txt or of the tests",
                sys.stderr,
            )
        for one in modalities:
            if downstream.takes_stored(one, used):
                say(f"notice: fused images are those of {printable(used[0].images['fused'].parent)}", sys.stderr)
    experiment = downstream.Experiment(
        task=args.task,
        classes=classes,
        train=tuple(train),
        test=tuple(test),
        files={},
        out=args.out,
        model=model,
        backbone=args.backbone,
        weights=args.weights or ("imagenet" if own_backbone else "scratch"),
        size=args.size,
        budget=budget,
        seeds=tuple(range(args.seeds)),
        groups=groups,
        others=others,
        balanced=not args.equal_classes,
        applied=args.applied if args.applied in names else None,
        device=args.device,
    )
    empty = groups.keys() - experiment.scored_groups().keys()
    if empty:
        raise ValueError(f"--groups: no test frame is called like {', '.join(groups[name] for name in sorted(empty))}")
    downstream.check_network(experiment)
    for one in modalities:
        downstream.check_images(one, used)
    return experiment, modalities


def _train_and_test(found: FrameSet, args: argparse.Namespace, classes: ClassList) -> tuple[list[Frame], list[Frame]]:
    """The frames of both lists; raises ImageError where they are too few, or a detector's hold no box."""
    train, test = found.of("train"), found.of("test") or found.of("val")
    if len(train) < 2 or not test:
        raise ImageError(
            f"{args.data[0]}: the lists name {counted(len(train), 'frame')} for training and {len(test)} for testing; "
            "scripts/voc_annotation.py draws train.txt, val.txt and test.txt"
        )
    for use, frames in (("training", train), ("test", test)):
        if args.task == "detect" and not any(frame.boxes.boxes for frame in frames):
            raise ImageError(
                f"{args.data[0]}: none of the {len(frames)} {use} frames has a box of {', '.join(classes.names)}; "
                "scripts/voc_annotation.py draws other lists"
            )
    return train, test


def _images(
    modalities: Sequence[downstream.Modality],
    experiment: downstream.Experiment,
    windows: Sequence[tuple[float, float] | None],
    ranks: inference.Ranks,
) -> dict[str, dict[str, Path]]:
    """Kind of image to stem to file; the main process makes what is missing, the others find it."""
    if not ranks.main:
        ranks.gather(None)
    frames, folder = [*experiment.train, *experiment.scored], experiment.out / "images"
    notices: list[str] = []
    files = {
        one.name: downstream.images_of(one, frames, folder / one.name, experiment.device, windows, notices)
        for one in modalities
    }
    if ranks.main:
        say_all_notices(notices, sys.stderr)
        ranks.gather(None)
    return files


def _mended(found: FrameSet) -> list[str]:
    mended = found.judgement.mended
    return [f"mended: {counted(len(mended), 'box')}, {mended[0]} for one"] if mended else []


def _network_size(text: str) -> tuple[int, int]:
    """Height and width of WIDTHxHEIGHT."""
    width, height = width_and_height(text)
    if width % _MULTIPLE or height % _MULTIPLE or max(width, height) > _LARGEST:
        raise argparse.ArgumentTypeError(f"{text}: both sides are multiples of {_MULTIPLE}, {_LARGEST} at most")
    return height, width


def others_of(args: argparse.Namespace, task: str, classes: ClassList) -> dict[str, tuple[Frame, ...]]:
    """The frames of the data sets of --also, by name; errors as `frames_of`."""
    found = {}
    for name, folder in named_values(
        args.also, "--also", "NAME=DATA, a labelled data set", taken=[downstream.ALL]
    ).items():
        frames = find_frames([folder], task, classes, BoxRules(args.mend_boxes, skip_unlisted=True))
        frames.refuse_faults()
        found[name] = tuple(frames.frames[stem] for stem in sorted(frames.frames))
    return found


def _carry_out_all(
    experiment: downstream.Experiment, runs: Sequence[downstream.Run], jobs: int
) -> tuple[dict[downstream.Run, dict[str, Any]], list[str]]:
    """Results of the runs that succeeded, and a line for each that failed; one failure stops none of the others.

    Each result is told when it is there: the runs may take hours.  An interruption ends the processes of all jobs: what
    they have saved is taken up by the next call.
    """
    results, failed = {}, []
    if jobs == 1:
        for number, one in enumerate(runs, 1):
            try:
                results[one] = downstream.carry_out(experiment, one)
                say(f"[{number}/{len(runs)}] {_told(one, results[one])}", sys.stderr)
            except (RuntimeError, FloatingPointError, OSError, MemoryError) as error:
                failed.append(f"{one}: {told(error)}")
        return results, failed
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_begin_job, initargs=(threads,)
    ) as pool:
        begun = {one: pool.submit(downstream.carry_out, experiment, one) for one in runs}
        try:
            for number, (one, job) in enumerate(begun.items(), 1):
                try:
                    results[one] = job.result()
                    say(f"[{number}/{len(runs)}] {_told(one, results[one])}", sys.stderr)
                except Exception as error:  # whatever ended the other process, its death included
                    failed.append(f"{one}: {error or type(error).__name__}")
        except (KeyboardInterrupt, Terminated):
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    return results, failed


def _told(run: downstream.Run, content: Mapping[str, Any]) -> str:
    """A run and its mean score over all classes and frames, on images of its own kind."""
    scores = content["scores"][run.modality][downstream.ALL]
    metric, shown = ("mAP", "mAP") if "mAP" in scores else ("IoU", "mIoU")
    value = scores[metric]["mean"]
    return f"{printable(run)}: {shown} {'undefined' if value is None else f'{value:.3f}'}"


def _begin_job(threads: int) -> None:
    prepare_process()  # before PyTorch is loaded
    import torch

    torch.set_num_threads(threads)
