"""Fuse the built-in sample pairs of all four tasks, print the scores and write one panel image."""

import argparse
import sys
from pathlib import Path

from adasffuse.cli import fuse as cli
from adasffuse.data.samples import sample_pairs
from adasffuse.images.panel import contact_sheet
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.tasks import TASKS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save_dir", type=Path, default=Path("results"), help="(default: %(default)s)")
    args = parser.parse_args(argv)
    rows = []
    for task in TASKS.values():
        print(f"\n== {task.folder}: {task.title}")
        if cli.run(task.id, ["--save_dir", str(args.save_dir)]):
            return 1
        row = []
        for sample in sample_pairs(task.id):
            path = args.save_dir / "samples" / task.folder / sample.subset / "fused" / f"{sample.name}.png"
            fused = (read_image(path).pixels * 255).round().astype("uint8")
            row += [(f"{task.folder}: {sample.title}, A", sample.a), ("B", sample.b), ("fused", fused)]
        rows.append(row)
    panel = args.save_dir / "panel.png"
    write_image(panel, contact_sheet(rows))
    print(f"\npanel of all samples: {panel}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
