"""Write a network as one file that runs without this package: ONNX, or torch.export's pt2.

  adasffuse export --task ivf --size small -o ivf.onnx
  adasffuse export --task mef --size base --colour -o mef.pt2
  adasffuse export --task mff --weights runs/mine --format onnx

The file takes any height, width and batch.  It is run and compared with PyTorch before it takes its name.  This takes
minutes; what is being done is told on standard error.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from adasffuse.choices import EXPORT_FORMATS
from adasffuse.cli.arguments import (
    ReportingParser,
    add_json_option,
    add_keep_brightness_option,
    add_no_people_option,
    add_out_option,
    add_size_option,
    at_least,
)
from adasffuse.cli.shared import ended_by, say_report
from adasffuse.files import check_outputs, remove_abandoned
from adasffuse.messages import not_written, printable
from adasffuse.process import say
from adasffuse.tasks import TASKS


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = ReportingParser(prog=prog, description=__doc__)
    network = parser.add_argument_group("network")
    network.add_argument(
        "--task",
        required=True,
        type=str.lower,
        choices=TASKS,
        help="task, which fixes the kinds of the sources and where the colour comes from",
    )
    add_size_option(network)
    network.add_argument("--weights", metavar="NAME", help="other weights: a file, a run's folder or a released name")
    add_no_people_option(network)
    add_keep_brightness_option(network)
    network.add_argument(
        "--sources", type=at_least(2), default=2, metavar="N", help="number of sources (default: %(default)s)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--format", choices=EXPORT_FORMATS, help="format of the file (default: what --out ends with)")
    output.add_argument(
        "--colour",
        action="store_true",
        help="take RGB of the sources that give the colour, and give RGB (default: luminance)",
    )
    add_out_option(output, "FILE", "file to write (default: TASK_SIZE.FORMAT)")
    add_json_option(output)
    return parser


def run(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Export as the arguments say; the exit status: 0, 1 after an error."""
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.no_people and args.task != "ivf":
        parser.error(f"--no_people is for infrared + visible, --task ivf, this is {args.task}")
    if args.keep_brightness and not TASKS[args.task].equally_bright:
        parser.error(f"--keep_brightness is for multi-focus, --task mff, this is {args.task}")
    form = args.format or (args.out.suffix[1:] if args.out else "")
    if form not in EXPORT_FORMATS:
        parser.error(f"give --format {' or '.join(EXPORT_FORMATS)}, or -o with such a suffix")
    if args.out is not None and args.out.suffix != f".{form}":
        parser.error(f"-o must end with .{form}, got {printable(args.out)}")
    # Imported here: arguments are read without PyTorch.
    from adasffuse.export.write import WRITERS, Export, ExportError
    from adasffuse.models.hub import load_network
    from adasffuse.models.options import size_of
    from adasffuse.models.weights import RUN_WEIGHTS, file_sha256

    path = args.out or Path(f"{args.task}.{form}")
    started = time.monotonic()

    def tell(step: str) -> None:
        if not args.json:
            say(f"  {time.monotonic() - started:4.0f} s: {step}", sys.stderr)

    try:
        model, weights = load_network(args.task, args.weights, args.size)
        if args.no_people:
            model.targets = None
        name = weights.absolute().parent.name if weights.name == RUN_WEIGHTS else weights.stem
        if args.out is None:
            path = Path(f"{args.task}_{size_of(model.options) or name}.{form}")
        check_outputs({"-o": path}, inputs=[weights])
        remove_abandoned([path])
        task, sha256 = TASKS[args.task], file_sha256(weights)
        export = Export(model, task, args.sources, args.colour, name, sha256, args.keep_brightness)
        if not args.json:
            say(f"{printable(name)} for {args.task}, {args.sources} sources; this takes minutes")
        differences = WRITERS[form](path, export, tell)
    except OSError as error:
        return ended_by(OSError(not_written(path, error)), args.json)
    except (ValueError, ExportError) as error:
        return ended_by(error, args.json)
    if args.json:
        described = export.describe()
        say_report({"file": str(path), "differences": differences, "description": described})
        return 0
    for size, difference in differences.items():
        say(f"{size}: largest difference from PyTorch {difference:.1e}")
    say(f"written: {printable(path)}, {path.stat().st_size / 2**20:.1f} MiB")
    return 0
