"""Render a labelled data set in which fusion must help: some classes differ in temperature, others in colour alone.

python scripts/render_objects.py OUT --train 48 --test 16
adasffuse downstream OUT --task segment --out RUNS --size 128x96 --seeds 1
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from adasffuse.cli.arguments import Parser, at_least
from adasffuse.downstream.frames import write_lists
from adasffuse.downstream.labels import write_voc
from adasffuse.files import check_outputs, write_text
from adasffuse.images.boxes import Box
from adasffuse.images.write import write_image
from adasffuse.messages import counted
from adasffuse.process import run_script, say
from adasffuse.scenes.objects import CLASSES, objects_frame


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the data set")
    parser.add_argument(
        "--train", type=at_least(1), default=48, help="number of training frames (default: %(default)s)"
    )
    parser.add_argument("--test", type=at_least(1), default=16, help="number of test frames (default: %(default)s)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="random seed of the scenes (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    stems = [f"{number:04d}" for number in range(args.train + args.test)]
    check_outputs(folders={"out": args.out})
    for number, stem in enumerate(stems):
        frame = objects_frame(np.random.default_rng((args.seed, number)))
        write_image(args.out / "infrared" / f"{stem}.png", frame.infrared)
        write_image(args.out / "visible" / f"{stem}.png", frame.visible)
        write_image(args.out / "labels" / f"{stem}.png", frame.mask)
        boxes = [Box(name, *edges) for name, edges in frame.boxes]
        write_voc(args.out / "Annotations" / f"{stem}.xml", stem, frame.mask.shape, boxes)
    write_text(args.out / "classes.txt", "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES)))
    write_text(args.out / "classes_boxes.txt", "".join(f"{name}\n" for name in CLASSES[1:]))
    splits = {"train": stems[: args.train], "val": [], "test": stems[args.train :]}
    write_lists(args.out, splits, "segment", replace=True)
    say(f"{counted(len(stems), 'frame')} in {args.out}")


if __name__ == "__main__":
    sys.exit(main())
