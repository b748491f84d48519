"""How well fused images show people, and how much else is raised as if it were one, by boxes.

python scripts/score_people.py LLVIP ROADSCENE=scripts/people/roadscene.json --weights general_tiny mine.safetensors

DATA holds infrared/, visible/, classes.txt and Annotations/, DATA=FILE pairs and a COCO file of people's boxes, where
those of the class 'ignored' may hold some.  Each data set gets a table with a row for each network, by luminance:

  bare       share of their infrared contrast, all people together, that is kept without people being raised
  retention  the same with people raised
  mean       its mean over frames, as `adasffuse score --boxes` gives it
  elsewhere  of a thousand pixels outside of these boxes, those that are raised by more than 8 levels
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from scoring import markdown, mean, names_of

from adasffuse import load_fuser
from adasffuse.downstream.classes import listed_classes
from adasffuse.downstream.frames import Frame, all_frames
from adasffuse.downstream.targets import BOXED, UNSURE
from adasffuse.files import check_outputs, name_of, printable, write_text
from adasffuse.images.boxes import PEOPLE, box_area, of_classes
from adasffuse.images.color import luminance
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise
from adasffuse.inference import Fuser
from adasffuse.metrics.targets import target_contrasts
from adasffuse.process import run_program, say

RAISED = 8  # levels, beyond which a pixel counts as raised


class Seen(NamedTuple):
    """What one frame shows: contrasts of its people together in gray levels, and pixels outside of their boxes."""

    infrared: float
    bare: float
    shown: float
    raised: int
    outside: int


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="DATA[=FILE]", help="boxed pairs")
    parser.add_argument("--weights", nargs="+", required=True, metavar="FILE", help="weights files, or released names")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run_program(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    try:
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
        if args.markdown:
            write_text(args.markdown, "\n\n".join(texts) + "\n")
    except (ValueError, OSError) as error:
        say("error: " + "\n".join(map(printable, str(error).split("\n"))), sys.stderr)
        return 1
    return 0


def boxed_frames(name: str) -> list[Frame]:
    """The frames of a data set, or those that a COCO file names, with all their boxes.

    Raises:
        ImageError: no pairs, no boxes, or they do not fit each other.
    """
    data, _, file = name.partition("=")
    classes = BOXED if file else listed_classes(Path(data), "detect") or BOXED
    return all_frames(data, "detect", classes, file or None)


def seen(frames: Sequence[Frame], bare: Fuser, released: Fuser) -> Iterator[Seen]:
    """What fusers without and with people raised make of each frame."""
    for frame in frames:
        infrared, visible = (quantise(luminance(read_image(path).pixels), "8") for path in frame.pair())
        results = [fuser.fuse(infrared, visible) for fuser in (bare, released)]
        yield seen_in(infrared, *results, frame)


def seen_in(infrared: ndarray, bare: ndarray, shown: ndarray, frame: Frame) -> Seen:
    """Of images (H, W) uint8: the infrared one, and the fused ones without and with people raised."""
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
