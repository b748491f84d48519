"""Time of an exported network in onnxruntime beside PyTorch in float32, side by side in one run on the CPU.

python scripts/benchmark_export.py --task ivf --size small --resolutions 320x240 640x480
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import format_rows, seconds
from torch import Tensor

from adasffuse.cli.arguments import Parser, at_least, width_and_height
from adasffuse.export.graph import source_channels
from adasffuse.export.write import Export, ExportError, onnx_runner, write_onnx
from adasffuse.models import RELEASED_SIZES
from adasffuse.models.weights import find_weights, load_weights
from adasffuse.process import keep_freed_memory, say_error
from adasffuse.tasks import TASKS

COLUMNS = ("pixels", "torch_s", "onnx_s", "ratio", "difference")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, default="ivf", help="task of the network (default: %(default)s)")
    parser.add_argument(
        "--size", choices=RELEASED_SIZES, default="small", help="size of the released weights (default: %(default)s)"
    )
    parser.add_argument("--colour", action="store_true", help="measure in colour")
    parser.add_argument(
        "--resolutions",
        nargs="+",
        type=width_and_height,
        default=[(320, 240), (640, 480)],
        metavar="WxH",
        help="sizes of the images (default: 320x240 640x480)",
    )
    parser.add_argument("--repeats", type=at_least(1), default=5, help="runs of each, in turn (default: %(default)s)")
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=torch.get_num_threads(),
        help="CPU threads of each (default: %(default)s)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    try:
        weights = find_weights(None, args.task, args.size)
        export = Export(load_weights(weights)[0], TASKS[args.task], colour=args.colour, weights=weights.stem)
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "network.onnx"
            write_onnx(path, export)
            run = onnx_runner(path, args.threads)
    except (ValueError, OSError, ExportError) as error:
        return say_error(error)
    print(f"{weights.stem}, {args.threads} threads, torch {torch.__version__}; medians of {args.repeats}")
    export.model.to(memory_format=torch.channels_last)
    print(format_rows(COLUMNS, [measure(export, run, size, args.repeats) for size in args.resolutions]))
    return 0


def measure(export: Export, run: Callable[[list[Tensor]], Tensor], size: tuple[int, int], repeats: int) -> dict:
    """Median seconds of both for images of one width and height, their ratio and their largest difference."""
    width, height = size
    channels = source_channels(export.task, export.count, export.colour)
    sources = [torch.rand(1, planes, height, width) for planes in channels]
    with torch.inference_mode():
        difference = float((run(sources) - export.reference(sources)).abs().max())
        cpu = torch.device("cpu")
        pairs = [
            (seconds(lambda: export.reference(sources), cpu), seconds(lambda: run(sources), cpu))
            for _ in range(repeats)
        ]
    ours, theirs = (statistics.median(times) for times in zip(*pairs))
    return {
        "pixels": f"{width}x{height}",
        "torch_s": ours,
        "onnx_s": theirs,
        "ratio": theirs / ours,
        "difference": difference,
    }


if __name__ == "__main__":
    sys.exit(main())
