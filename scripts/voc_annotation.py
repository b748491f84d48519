"""Check the labels of a data set, and write which frames are for training, validation and testing.

python scripts/voc_annotation.py DATA --task detect --trainval_percent 0.9 --train_percent 0.9 --seed 0
python scripts/voc_annotation.py DATA --task segment --check

DATA holds infrared/ visible/ and labels/ or Annotations/, or VOCdevkit/VOC2007.  Every image, box and mask is read; all
faults are listed at once, and then no list is written.  One split serves all modalities.  --lists takes a folder with
train.txt, val.txt and test.txt as they are, instead of drawing frames.  Lists of another split, such as a published
one, are replaced only with --replace.
"""

import argparse
import sys
from pathlib import Path

from adasffuse.cli.arguments import Parser
from adasffuse.cli.downstream import add_label_options, classes_of, frames_of
from adasffuse.downstream.classes import TASKS
from adasffuse.downstream.frames import FrameSet, drawn_splits, read_lists, write_lists
from adasffuse.images.image import ImageError
from adasffuse.messages import counted
from adasffuse.process import run_script, say, say_all_notices


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("data", nargs=1, type=Path, metavar="DATA", help="labelled data set")
    parser.add_argument(
        "--task", choices=TASKS, default="detect", help="kind of the labels, boxes or masks (default: %(default)s)"
    )
    add_label_options(parser)
    parser.add_argument(
        "--trainval_percent",
        type=float,
        default=0.9,
        help="share of frames for training and validation (default: %(default)s)",
    )
    parser.add_argument(
        "--train_percent", type=float, default=0.9, help="share of these for training (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the split (default: %(default)s)")
    parser.add_argument("--lists", type=Path, metavar="DIR", help="folder with train.txt, val.txt and test.txt to take")
    parser.add_argument("--replace", action="store_true", help="replace lists that hold another split")
    parser.add_argument("--check", action="store_true", help="only check the labels, write nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    found = frames_of(args, args.task, classes_of(args, args.task), lists=args.check)
    say_all_notices([*found.notices, *found.judgement.mended])
    say(f"{args.data[0]}: {counted(len(found.frames), 'frame')}, no faults")
    if args.check:
        return
    if args.lists:
        splits = _given(args.lists, found.frames)
    else:
        splits = drawn_splits(list(found.frames), args.trainval_percent, args.train_percent, args.seed)
    files = write_lists(args.data[0], splits, args.task, args.replace)
    say(", ".join(f"{len(stems)} {name}" for name, stems in splits.items()) + f" -> {files[0].parent}")


def _given(folder: Path, frames: dict) -> dict[str, list[str]]:
    """The lists of a folder; every name must be a frame, and in one list only."""
    found = FrameSet(frames, {})
    splits = read_lists(folder, frames, found.judgement)
    found.refuse_faults()
    if not any(splits.values()):
        raise ImageError(f"{folder}: none of train.txt, val.txt and test.txt is there, or all are empty")
    return splits


if __name__ == "__main__":
    sys.exit(main())
