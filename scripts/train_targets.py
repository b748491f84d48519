"""Teach a network where people are, from labelled frames, so that they stand out in its fused images.

python scripts/train_targets.py MSRS --task segment --classes msrs --weights general_small --out small.safetensors
python scripts/train_targets.py MSRS --task segment --classes msrs --weights general_small \\
    --held_out '006*' '01[45]*' --also m3fd=M3FD --also_task detect --out trial.safetensors

The frames of DATA/train.txt are taken but for those --held_out, which, like those of --also, only tell how well people
are found.  The rest of the network stays as it is.  Several --weights get the same part.
"""

import argparse
import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from tqdm import tqdm

from adasffuse.cli.downstream import add_label_options, classes_of, frames_of
from adasffuse.downstream.classes import TASKS, find_classes
from adasffuse.downstream.frames import find_frames
from adasffuse.downstream.labels import BoxRules
from adasffuse.downstream.targets import agreement, read_samples, teach
from adasffuse.files import printable
from adasffuse.models import AdaSFFuse
from adasffuse.models.growth import inherit
from adasffuse.models.targets import TargetLift
from adasffuse.models.weights import find_weights, load_weights, read_record, save_weights
from adasffuse.process import run_program, say


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, metavar="DATA", help="labelled data sets, joined")
    parser.add_argument(
        "--task", choices=TASKS, default="segment", help="whether labels are boxes or masks (%(default)s)"
    )
    add_label_options(parser)
    parser.add_argument("--held_out", nargs="+", default=[], metavar="PATTERN", help="stems that are not trained on")
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="NAME=DATA", help="other labelled sets, only looked at"
    )
    parser.add_argument("--also_task", choices=TASKS, default="detect", help="their labels (%(default)s)")
    parser.add_argument("--weights", nargs="+", required=True, help="networks that get what was learnt")
    parser.add_argument("--out", nargs="+", type=Path, required=True, metavar="FILE", help="a file for each of them")
    parser.add_argument("--steps", type=int, default=3000, help="updates (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    args = parser.parse_args(argv)
    if len(args.weights) != len(args.out):
        parser.error("--out names a file for each of --weights")
    if args.steps < 1:
        parser.error("--steps must be 1 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_program(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    try:
        networks = [load_weights(find_weights(name, "ivf")) for name in args.weights]
        classes = classes_of(args, args.task)
        found = frames_of(args, args.task, classes)
        frames = found.of("train")
        held = [f for f in frames if any(fnmatchcase(f.stem, pattern) for pattern in args.held_out)]
        frames = [f for f in frames if f not in held]
        lift = TargetLift()
        checks = {"held out": read_samples(lift, held, classes)} if held else {}
        for text in args.also:
            name, _, folder = text.partition("=")
            other = find_classes(args.classes or "m3fd", args.also_task)
            some = find_frames([folder], args.also_task, other, BoxRules(True, True), lists=False)
            checks[name] = read_samples(lift, list(some.frames.values()), other)
        samples = read_samples(lift, frames, classes)
        with tqdm(total=args.steps) as bar:
            teach(lift, samples, args.steps, seed=args.seed, progress=lambda step, loss: bar.update())
        for name, some in {"trained on": samples, **checks}.items():
            say(f"{name}, {len(some)} frames: {agreement(lift, some)}")
        for (model, task), name, path in zip(networks, args.weights, args.out):
            whole = with_targets(model, lift)
            taught = {"frames": len(frames), "steps": args.steps, "seed": args.seed}
            save_weights(
                path, whole.state_dict(), whole.options, task, **read_record(find_weights(name, "ivf")), targets=taught
            )
            say(f"-> {path}")
    except (ValueError, OSError) as error:
        say("error: " + "\n".join(map(printable, str(error).split("\n"))), sys.stderr)
        return 1
    return 0


def with_targets(model: AdaSFFuse, lift: TargetLift) -> AdaSFFuse:
    """The network with what was learnt about targets."""
    whole = AdaSFFuse(replace(model.options, targets=True))
    inherit(whole, model)
    whole.targets.load_state_dict(lift.state_dict())
    return whole


if __name__ == "__main__":
    sys.exit(main())
