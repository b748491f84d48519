"""Train the part of a network that finds people on labelled frames, so that they stand out in its fused images.

python scripts/train_targets.py MSRS --task segment --classes msrs --weights general_small --out small.safetensors
python scripts/train_targets.py MSRS --task segment --classes msrs --weights general_small \\
    --held_out '006*' '01[45]*' --also m3fd=M3FD --also_task detect --out trial.safetensors
python scripts/train_targets.py MSRS --task segment --classes msrs --weights general_small --out small.safetensors \\
    --boxes M3FD=scripts/people/m3fd.json NIR=scripts/people/nir.json \\
    --also_boxes RoadScene=scripts/people/roadscene.json

Training uses the frames of DATA/train.txt without those --held_out, and all frames in the files of --boxes; data sets
are drawn in proportion to the square root of their number of frames.  The --held_out frames and those of --also and
--also_boxes are only scored.  The rest of the network is not changed.  All --weights get the same part.
"""

import argparse
import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from tqdm import tqdm

from adasffuse.cli.arguments import Parser, at_least, named_values
from adasffuse.cli.downstream import add_label_options, classes_of, frames_of, others_of
from adasffuse.downstream.classes import TASKS, find_classes
from adasffuse.downstream.frames import Frame, all_frames
from adasffuse.downstream.targets import BOXED, agreement, read_samples, teach
from adasffuse.files import check_outputs
from adasffuse.models import AdaSFFuse
from adasffuse.models.growth import inherit
from adasffuse.models.options import INFRARED_VISIBLE
from adasffuse.models.targets import TargetLift
from adasffuse.models.weights import find_weights, load_weights, read_record, save_weights
from adasffuse.process import run_script, say


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path, metavar="DATA", help="labelled data sets, which are joined")
    parser.add_argument(
        "--task", choices=TASKS, default="segment", help="kind of the labels, boxes or masks (default: %(default)s)"
    )
    add_label_options(parser)
    parser.add_argument(
        "--held_out", nargs="+", default=[], metavar="PATTERN", help="names of frames that are not trained on"
    )
    parser.add_argument(
        "--boxes",
        nargs="+",
        default=[],
        metavar="DATA=FILE",
        help="further pairs, with a COCO file of people's boxes; boxes of the class 'ignored' are not trained on",
    )
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="NAME=DATA", help="other labelled data sets, which are only scored"
    )
    parser.add_argument(
        "--also_boxes",
        nargs="+",
        default=[],
        metavar="DATA=FILE",
        help="further pairs as in --boxes, which are only scored",
    )
    parser.add_argument(
        "--also_task", choices=TASKS, default="detect", help="kind of the labels of --also (default: %(default)s)"
    )
    parser.add_argument("--weights", nargs="+", required=True, help="networks that get the trained part")
    parser.add_argument(
        "--out", nargs="+", type=Path, required=True, metavar="FILE", help="file to write, one for each network"
    )
    parser.add_argument("--steps", type=at_least(1), default=3000, help="number of updates (default: %(default)s)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="random seed (default: %(default)s)")
    args = parser.parse_args(argv)
    if len(args.weights) != len(args.out) or len(set(args.out)) < len(args.out):
        parser.error("--out names a file of its own for each of --weights")
    return args


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    paths = [find_weights(name, "ivf") for name in args.weights]
    for path in args.out:
        check_outputs({"--out": path}, inputs=paths)
    networks = [load_weights(path) for path in paths]
    for (model, _), path in zip(networks, paths):
        if not set(INFRARED_VISIBLE) <= set(model.options.kinds):
            raise ValueError(f"{path}: the network lacks the kinds infrared and visible; use general weights")
    classes = classes_of(args, args.task)
    frames, held = _split(frames_of(args, args.task, classes).of("train"), args)
    lift = TargetLift()
    checks = {"held out": read_samples(lift, held, classes)} if held else {}
    if args.also:
        other = find_classes(args.classes or "m3fd", args.also_task)
        also = others_of(args, args.also_task, other)
        checks |= {name: read_samples(lift, labelled, other) for name, labelled in also.items()}
    checks |= {data: read_samples(lift, boxed, BOXED) for data, boxed in boxed_frames(args, "also_boxes").items()}
    cameras = {"DATA": read_samples(lift, frames, classes)}
    cameras |= {data: read_samples(lift, boxed, BOXED) for data, boxed in boxed_frames(args, "boxes").items()}
    with tqdm(total=args.steps) as bar:
        teach(lift, list(cameras.values()), args.steps, seed=args.seed, progress=lambda step, loss: bar.update())
    for title, sets in (("trained on", cameras), ("not trained on", checks)):
        for name, samples in sets.items():
            say(f"{title}: {name}, {len(samples)} frames: {agreement(lift, samples)}")
    taught = {"frames": sum(map(len, cameras.values())), "steps": args.steps, "seed": args.seed}
    for (model, task), before, path in zip(networks, paths, args.out):
        whole = with_targets(model, lift)
        save_weights(path, whole.state_dict(), whole.options, task, **read_record(before) | {"targets": taught})
        say(f"-> {path}")


def _split(listed: list[Frame], args: argparse.Namespace) -> tuple[list[Frame], list[Frame]]:
    """Split the frames of the training list into those to train on and those held out.

    Raises:
        ValueError: there is no list, a pattern fits no frame, or nothing is left.
    """
    if not listed:
        raise ValueError(f"{args.data[0]}: train.txt names no frame; scripts/voc_annotation.py draws lists")
    for pattern in args.held_out:
        if not any(fnmatchcase(frame.stem, pattern) for frame in listed):
            raise ValueError(f"--held_out {pattern}: fits no stem in train.txt, such as {listed[0].stem}")
    held = [frame for frame in listed if any(fnmatchcase(frame.stem, pattern) for pattern in args.held_out)]
    frames = [frame for frame in listed if frame not in held]
    if not frames:
        raise ValueError("--held_out leaves no frame to train on")
    return frames, held


def boxed_frames(args: argparse.Namespace, option: str) -> dict[str, list[Frame]]:
    """DATA to frames, for each DATA=FILE of an option.

    Raises:
        ImageError: DATA holds no pairs, FILE is no COCO file, or they do not match.
    """
    files = named_values(getattr(args, option), f"--{option}", "DATA=FILE, pairs and a COCO file")
    return {data: all_frames(data, BOXED, file) for data, file in files.items()}


def with_targets(model: AdaSFFuse, lift: TargetLift) -> AdaSFFuse:
    """A copy of the network with the trained `lift`."""
    whole = AdaSFFuse(replace(model.options, targets=True))
    inherit(whole, model)
    whole.targets.load_state_dict(lift.state_dict())
    return whole


if __name__ == "__main__":
    sys.exit(main())
