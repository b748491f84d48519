"""Score how well fused images show people, and how much else is raised by mistake, on boxed pairs.

python scripts/score_people.py LLVIP ROADSCENE=scripts/people/roadscene.json --weights general_tiny mine.safetensors

DATA holds infrared/, visible/, classes.txt and Annotations/.  DATA=FILE: pairs, and a COCO file of people's boxes;
boxes of the class 'ignored' may hold people.  Each data set gets a table with a row per network, measured on luminance:

  bare       sum of the people's contrasts over its sum in the infrared images, without raising people
  retention  the same with people raised
  mean       mean of retention over frames, as in `adasffuse score --boxes`
  elsewhere  pixels outside the boxes that are raised by more than 8 levels, per thousand
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from scoring import markdown, mean, names_of, write_reports

from adasffuse import load_fuser
from adasffuse.cli.arguments import Parser, add_device_option
from adasffuse.downstream.classes import listed_classes
from adasffuse.downstream.frames import Frame, all_frames
from adasffuse.downstream.targets import BOXED, UNSURE
from adasffuse.files import check_outputs, name_of
from adasffuse.images.boxes import PEOPLE, box_area, of_classes
from adasffuse.images.color import luminance
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise
from adasffuse.inference import Fuser
from adasffuse.metrics.targets import target_contrasts
from adasffuse.process import run_script, say

RAISED = 8  # a pixel that is brighter by more levels counts as raised


class Seen(NamedTuple):
    """Measurements of one frame."""

    infrared: float  # sum of the people's contrasts in the infrared image, gray levels
    bare: float  # the same in the image fused without raising people
    shown: float  # the same with people raised
    raised: int  # raised pixels outside the boxes
    outside: int  # pixels outside the boxes


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("data", nargs="+", metavar="DATA[=FILE]", help="data sets with boxed people")
    parser.add_argument(
        "--weights", nargs="+", required=True, metavar="FILE", help="weights files, or names of released weights"
    )
    add_device_option(parser)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    check_outputs({"--markdown": args.markdown})
    sets = {name: boxed_frames(name) for name in args.data}
    fusers = {
        name: [load_fuser("ivf", weights=weights, device=args.device, people=people) for people in (False, True)]
        for name, weights in names_of(args.weights).items()
    }
    texts = []
    for name, frames in sets.items():
        rows = {network: row(list(seen(frames, *both))) for network, both in fusers.items()}
        title = f"{name_of(name.partition('=')[0])}, {len(frames)} frames"
        texts.append(f"### {title}\n\n{markdown(rows)}")
    say("\n\n".join(texts))
    write_reports(args, markdown="\n\n".join(texts) + "\n")


def boxed_frames(name: str) -> list[Frame]:
    """The frames of a data set, or of its COCO file, with all their boxes.

    Raises:
        ImageError: no pairs, no boxes, or they do not match.
    """
    data, _, file = name.partition("=")
    classes = BOXED if file else listed_classes(Path(data), "detect") or BOXED
    return all_frames(data, classes, file or None)


def seen(frames: Sequence[Frame], bare: Fuser, released: Fuser) -> Iterator[Seen]:
    """Fuse and measure each frame, without and with people raised."""
    for frame in frames:
        infrared, visible = (quantise(luminance(read_image(path).pixels), "8") for path in frame.pair())
        results = [fuser.fuse(infrared, visible) for fuser in (bare, released)]
        yield seen_in(infrared, *results, frame)


def seen_in(infrared: ndarray, bare: ndarray, shown: ndarray, frame: Frame) -> Seen:
    """Measure a frame: infrared image, and images fused without and with people raised, each (H, W) uint8."""
    boxes = frame.boxes.boxes
    outside = np.ones(infrared.shape, bool)
    for box in of_classes(boxes, (*PEOPLE, UNSURE)):
        outside[box_area(box)] = False
    images = [image.astype(float) for image in (infrared, bare, shown)]
    raised = outside & (images[2] - images[1] > RAISED)
    contrasts = (target_contrasts(images[0], image, boxes)[1] for image in images)
    return Seen(*contrasts, int(raised.sum()), int(outside.sum()))


def row(frames: Sequence[Seen]) -> dict[str, float]:
    """The scores of a set of frames."""
    infrared, bare, shown, raised, outside = (sum(column) for column in zip(*frames))
    kept = [frame.shown / frame.infrared for frame in frames if frame.infrared]
    return {
        "bare": bare / infrared if infrared else float("nan"),
        "retention": shown / infrared if infrared else float("nan"),
        "mean": mean(kept),
        "elsewhere": 1000 * raised / outside if outside else 0.0,
    }


if __name__ == "__main__":
    sys.exit(main())
