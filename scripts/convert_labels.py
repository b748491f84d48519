"""Convert boxes between Pascal VOC (XML), YOLO (txt) and COCO (JSON).

python scripts/convert_labels.py DATA --to yolo --out LABELS
python scripts/convert_labels.py DATA --to coco --out annotations.json

DATA holds images (infrared/ visible/, or VOCdevkit/VOC2007) and boxes in any of the three: Annotations/*.xml,
labels/*.txt or *.json.  All labels are judged first; with faults nothing is written.
"""

import argparse
import json
import sys
from pathlib import Path

from adasffuse.cli.arguments import Parser
from adasffuse.cli.downstream import add_label_options, classes_of, frames_of
from adasffuse.downstream.labels import coco_content, write_voc, write_yolo
from adasffuse.files import check_outputs, write_text
from adasffuse.messages import counted
from adasffuse.process import run_script, say, say_all_notices


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("data", nargs=1, type=Path, metavar="DATA", help="labelled data set")
    parser.add_argument("--to", required=True, choices=("voc", "yolo", "coco"), help="format of the new labels")
    parser.add_argument("--out", required=True, type=Path, help="folder of the new labels; of coco the JSON file")
    add_label_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    if args.to == "coco":
        check_outputs({"--out": args.out})
    else:
        check_outputs(folders={"--out": args.out})
    if args.to == "coco" and args.out.suffix.lower() != ".json":
        raise ValueError(f"--out {args.out}: COCO labels are read from a file that ends in .json; add that")
    if args.out.resolve() == args.data[0].resolve():
        raise ValueError(f"--out {args.out} is DATA itself, whose files would be replaced; give a folder of its own")
    classes = classes_of(args, "detect")
    found = frames_of(args, "detect", classes)
    frames = {stem: found.frames[stem] for stem in sorted(found.frames)}
    if args.to == "coco":
        suffix = next(iter(next(iter(frames.values())).images.values())).suffix
        content = coco_content({stem: frame.boxes for stem, frame in frames.items()}, classes, suffix)
        write_text(args.out, json.dumps(content, indent=1) + "\n")
    for stem, frame in frames.items():
        if args.to == "voc":
            write_voc(args.out / f"{stem}.xml", stem, frame.size, frame.boxes.boxes)
        elif args.to == "yolo":
            write_yolo(args.out / f"{stem}.txt", frame.size, frame.boxes.boxes, classes)
    if args.to == "yolo":
        write_text(args.out / "classes.txt", "".join(f"{name}\n" for name in classes.names))
    boxes = sum(len(frame.boxes.boxes) for frame in frames.values())
    say(f"{counted(boxes, 'box')} of {counted(len(frames), 'frame')} -> {args.out}")
    say_all_notices([*found.notices, *found.judgement.mended])


if __name__ == "__main__":
    sys.exit(main())
