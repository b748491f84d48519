"""Fuse the built-in sample pairs of all four tasks, print the scores and write one panel image.

python scripts/demo.py --overview docs/samples.jpg      (the README's image: one sample of every task, smaller)
"""

import argparse
import sys
from pathlib import Path

from numpy import ndarray
from PIL import Image

from adasffuse.cli import task_script as cli
from adasffuse.cli.arguments import Parser
from adasffuse.data.samples import Sample, sample_pairs
from adasffuse.files import check_outputs, write_with
from adasffuse.images.panel import contact_sheet
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise, write_image
from adasffuse.process import run_script
from adasffuse.tasks import TASKS, Task

SHOWN = {"ivf": "street", "mef": "cat", "mff": "portrait", "mif": "head5"}  # samples of the overview


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--save_dir", type=Path, default=Path("results"), help="folder of the results (default: %(default)s)"
    )
    parser.add_argument("--overview", type=Path, metavar="FILE", help="also write one sample of every task, as JPEG")
    return parser.parse_args(argv)


def demo(args: argparse.Namespace) -> int:
    """Fuse all samples below `args.save_dir` and write the panels; the exit status."""
    check_outputs({"--overview": args.overview}, {"--save_dir": args.save_dir})
    fused: dict[str, list[tuple[Sample, ndarray]]] = {}
    for task in TASKS.values():
        print(f"\n== {task.folder}: {task.title}")
        if cli.run(task.id, ["--save_dir", str(args.save_dir)]):
            return 1
        fused[task.id] = [(sample, read_fused(args.save_dir, task, sample)) for sample in sample_pairs(task.id)]
    panel = args.save_dir / "panel.png"
    write_image(panel, contact_sheet([panel_row(TASKS[name], results) for name, results in fused.items()]))
    print(f"\npanel of all samples: {panel}")
    if args.overview:
        write_with(args.overview, lambda new: Image.fromarray(overview(fused)).save(new, "JPEG", quality=90))
    return 0


def read_fused(save_dir: Path, task: Task, sample: Sample) -> ndarray:
    """The saved result of a sample, uint8."""
    path = save_dir / "samples" / task.folder / sample.subset / "fused" / f"{sample.name}.png"
    return quantise(read_image(path).pixels, "8")


def panel_row(task: Task, results: list[tuple[Sample, ndarray]]) -> list[tuple[str, ndarray]]:
    """Sources and result of all samples of a task, with captions."""
    row = []
    for sample, result in results:
        row += [(f"{task.folder}: {sample.title}, A", sample.a), ("B", sample.b), ("fused", result)]
    return row


def overview(fused: dict[str, list[tuple[Sample, ndarray]]]) -> ndarray:
    """One sample of every task, a column each: A, B and the result below them; (H, W, 3) uint8."""
    columns = []
    for name, results in fused.items():
        sample, result = next(one for one in results if one[0].name == SHOWN[name])
        sources = next(s for s in TASKS[name].sources if s.subset == sample.subset).folders
        captions = [f"{TASKS[name].folder}: {sources[0]}", sources[1], "fused"]
        columns.append(list(zip(captions, (sample.a, sample.b, result))))
    return contact_sheet(list(zip(*columns)))


def main(argv: list[str] | None = None) -> int:
    return run_script(demo, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
