"""Time and memory of the network on this machine, beside the machine's own matrix and transform rates.

python scripts/benchmark.py --resolutions 640x480 1280x960 --precision float32 bfloat16 --references --profile

Every row is measured in a fresh process: peak memory without that of importing, time of the first image, median and
spread of the following ones.  The floor is the time of the matrix products and transforms alone, at the rates measured
in the same run.  Weights are the released general ones, or random if none of that size are released.

--references also measures plain convolutions of the sizes of published networks (see `REFERENCES`), and prints a second
table of our time over theirs: ratios vary less from machine to machine than milliseconds.

python scripts/benchmark.py --device cuda --size base --precision bfloat16

On a GPU the floor is the larger of two times: all operations at the rate of a large product, and the least bytes (see
`measuring.least_work`) at the rate of a large copy.  `share` is the floor over the measured time, `next` the operator
that takes most of it.
"""

import argparse
import functools
import itertools
import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from measuring import (
    against_floor,
    ceilings,
    format_rows,
    largest_operator,
    least_work,
    peak_memory,
    run_alone,
    seconds,
)
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from adasffuse.choices import DEFAULT_OVERLAP, DEFAULT_TILE
from adasffuse.cli.arguments import Parser, add_device_option, at_least, width_and_height
from adasffuse.device import pick_device
from adasffuse.files import check_outputs, write_text
from adasffuse.inference.tiling import fuse_tiled
from adasffuse.models import SIZES, AdaSFFuse
from adasffuse.models.weights import WeightsError, load_weights, released_weights
from adasffuse.process import SPINS, keep_freed_memory, run_script, say
from adasffuse.tasks import GENERAL, TASKS

COLUMNS = (
    "size",
    "pixels",
    "precision",
    "first_s",
    "median_s",
    "spread_s",
    "parameters",
    "GFLOP",
    "floor_s",
    "over_floor",
    "peak_MB",
)
ON_GPU = ("GB", "bound", "share", "next")  # further columns on a GPU
KINDS = TASKS["ivf"].kinds  # of the two sources
ENOUGH = 30  # seconds of timed images after which no further one is started


def mmdrfuse_sized() -> nn.Module:
    """Two 3x3 convolutions of the stacked sources, 4 channels between: the 113 parameters of arXiv 2408.15641."""
    return Stacked(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1), nn.Tanh()))


def mefnet_sized() -> nn.Module:
    """Weights by six 3x3 convolutions of 24 channels, dilated 1 to 16, and a 1x1, on 128 lines.

    MEF-Net: Ma, Duanmu, Zhu, Fang and Wang, IEEE Trans. Image Processing 29, 2020, 2808-2819.
    """
    layers = []
    for channels, dilation in zip((1, 24, 24, 24, 24, 24), (1, 2, 4, 8, 16, 1)):
        layers += [nn.Conv2d(channels, 24, 3, padding=dilation, dilation=dilation, bias=False), nn.LeakyReLU(0.2)]
    return Weighted(nn.Sequential(*layers, nn.Conv2d(24, 1, 1)), lines=128)


def ifcnn_sized() -> nn.Module:
    """64 channels: 7x7 and 3x3 on each source as RGB, the maximum, 3x3 and 1x1 (doi:10.1016/j.inffus.2019.07.011)."""
    each = nn.Sequential(
        nn.Conv2d(3, 64, 7, padding=3, bias=False), nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.ReLU()
    )
    together = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(64, 3, 1))
    return Maximum(each, together)


REFERENCES = {"mmdrfuse-sized": mmdrfuse_sized, "mefnet-sized": mefnet_sized, "ifcnn-sized": ifcnn_sized}


class Stacked(nn.Module):
    """Two sources (2, B, 1, H, W) as channels of one image; (B, 1, H, W)."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, sources: Tensor) -> Tensor:
        return self.layers(sources.transpose(0, 1).flatten(1, 2))


class Weighted(nn.Module):
    """Weighted mean of sources (S, B, 1, H, W), weights found at `lines` pixels of the shorter side; (B, 1, H, W)."""

    def __init__(self, layers: nn.Module, lines: int) -> None:
        super().__init__()
        self.layers, self.lines = layers, lines

    def forward(self, sources: Tensor) -> Tensor:
        images = sources.flatten(0, 1)
        scale = min(1.0, self.lines / min(images.shape[-2:]))
        small = F.interpolate(images, scale_factor=scale, mode="bilinear")
        weights = F.interpolate(self.layers(small), images.shape[-2:], mode="bilinear")
        return (weights.view_as(sources).softmax(dim=0) * sources).sum(dim=0)


class Maximum(nn.Module):
    """Decode the maximum of the sources' features, (S, B, 1, H, W) to (B, 3, H, W)."""

    def __init__(self, each: nn.Module, together: nn.Module) -> None:
        super().__init__()
        self.each, self.together = each, together

    def forward(self, sources: Tensor) -> Tensor:
        features = self.each(sources.flatten(0, 1).repeat(1, 3, 1, 1))
        return self.together(functools.reduce(torch.maximum, features.chunk(len(sources))))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--size", nargs="+", choices=SIZES, default=list(SIZES), help="sizes of the network (default: all)"
    )
    parser.add_argument(
        "--resolutions",
        nargs="+",
        type=width_and_height,
        default=[(640, 480)],
        metavar="WxH",
        help="sizes of the images (default: 640x480)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=("float32", "bfloat16"),
        default=["float32", "bfloat16"],
        help="arithmetic of the network (default: both)",
    )
    parser.add_argument("--batch", type=at_least(1), default=1, help="pairs at a time (default: %(default)s)")
    parser.add_argument(
        "--repeats",
        type=at_least(1),
        default=5,
        help="timed images after the first, fewer if they take over 30 s together (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=at_least(1), default=torch.get_num_threads(), help="CPU threads (default: %(default)s)"
    )
    add_device_option(parser)
    parser.add_argument(
        "--tile", type=at_least(0), default=DEFAULT_TILE, help="tile of larger images, 0: none (default: %(default)s)"
    )
    parser.add_argument("--library", action="store_true", help="use the settings of a fuser, not those of programs")
    parser.add_argument("--references", action="store_true", help="also measure plain convolutions of published sizes")
    parser.add_argument("--profile", action="store_true", help="print the operators that take most time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # measure a row here: size,WxH,precision
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    if args.one:  # without the settings that `run_script` makes, for --library
        print(json.dumps(measure(args, *args.one.split(","))))
        return 0
    args.command = [sys.executable, os.path.abspath(__file__), *(sys.argv[1:] if argv is None else argv)]
    return run_script(run, args)


def run(args: argparse.Namespace) -> None:
    check_outputs({"--json": args.json})
    device = pick_device(args.device)
    on_gpu = device.type == "cuda"
    if on_gpu:
        rates, transform = ceilings(device), 0.0
        further = f"copies {rates['copy']:.0f} GB/s"
    else:
        rates = {"float32": matrix_rate(device, torch.float32), "bfloat16": matrix_rate(device, torch.bfloat16)}
        transform = transform_rate(device)
        further = f"FFT {transform:.2f} ns per sample"
    say(f"device {device}, {args.threads} threads, torch {torch.__version__}; matrix products:")
    say(f"  {rates['float32']:.0f} GFLOP/s float32, {rates['bfloat16']:.0f} bfloat16; {further}")
    if not args.library:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # for the processes that measure
    rows = []
    sizes = list(args.size)
    if args.references:
        sizes += REFERENCES
    for size, (width, height), precision in itertools.product(sizes, args.resolutions, args.precision):
        case = f"{size},{width}x{height},{precision}"
        row = run_alone([*args.command, "--one", case], case)
        if on_gpu:
            row |= against_floor(row["median_s"], row["precision"], row["GFLOP"], row["GB"], rates)
        else:
            row["floor_s"] = row["GFLOP"] / rates[row["precision"]] + row["fft_samples"] * transform * 1e-9
        row["over_floor"] = row["median_s"] / row["floor_s"]
        rows.append(row)
    say(format_rows((*COLUMNS, *ON_GPU) if on_gpu else COLUMNS, rows))
    if args.references:
        say("\nmedian over that of plain convolutions of the same pixels and precision:")
        say(format_rows(("size", "pixels", "precision", *REFERENCES), ratios(rows)))
    if args.profile:
        for row in rows:
            say(f"\n{row['size']} {row['pixels']} {row['precision']}\n{row['profile']}")
    if args.json:
        write_text(args.json, json.dumps({"rates": rates, "fft_ns": transform, "rows": rows}, indent=2) + "\n")


def ratios(rows: list[dict]) -> list[dict]:
    """For each of our rows, its median over that of each reference at the same pixels and precision."""
    medians = {(row["size"], row["pixels"], row["precision"]): row["median_s"] for row in rows}
    result = []
    for row in rows:
        if row["size"] not in REFERENCES:
            case = {name: row[name] for name in ("size", "pixels", "precision")}
            over = {name: row["median_s"] / medians[name, row["pixels"], row["precision"]] for name in REFERENCES}
            result.append(case | over)
    return result


def network(size: str) -> nn.Module:
    """The released general network, one with random weights if none is released, or a reference."""
    if size in REFERENCES:
        return REFERENCES[size]()
    try:
        return load_weights(released_weights(GENERAL, size))[0]
    except WeightsError:
        torch.manual_seed(0)
        return AdaSFFuse(SIZES[size])


def measure(args: argparse.Namespace, size: str, resolution: str, precision: str) -> dict:
    """Times, operations and peak memory of one network at one resolution, in this process."""
    keep_freed_memory(one_arena=not args.library)
    device = pick_device(args.device)
    width, height = width_and_height(resolution)
    before = peak_memory(device)
    model = network(size).to(device, memory_format=torch.channels_last).eval()
    sources = torch.rand(2, args.batch, 1, height, width, device=device)

    def fuse() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            if args.tile and height * width > args.tile**2 and size not in REFERENCES:
                fuse_tiled(model, sources, args.tile, DEFAULT_OVERLAP, KINDS)
            elif size in REFERENCES:
                model(sources)
            else:
                model(sources, kinds=KINDS)

    first = seconds(fuse, device)
    times = [seconds(fuse, device)]
    while len(times) < args.repeats and sum(times) < ENOUGH:
        times.append(seconds(fuse, device))
    peak = peak_memory(device) - before
    row = {
        "size": size,
        "pixels": f"{args.batch}x{width}x{height}",
        "precision": precision,
        "first_s": first,
        "median_s": statistics.median(times),
        "spread_s": max(times) - min(times),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "peak_MB": peak / 2**20,
    }
    if device.type == "cuda":
        row["GFLOP"], row["GB"] = least_work(fuse)
        row["next"] = largest_operator(fuse)
    else:
        with FlopCounterMode(display=False) as counter:
            row["fft_samples"] = fft_samples(fuse)
        row["GFLOP"] = counter.get_total_flops() / 1e9
    if args.profile:
        with profile(activities=list(ProfilerActivity) if device.type == "cuda" else [ProfilerActivity.CPU]) as trace:
            fuse()
        row["profile"] = trace.key_averages().table(sort_by=f"self_{device.type}_time_total", row_limit=15)
    return row


def fft_samples(action: Callable[[], None]) -> int:
    """Real samples that an action transforms, forward and backward together."""
    total, kept = 0, (torch.fft.rfft2, torch.fft.irfft2)

    def forward(x, *args, **kwargs):
        nonlocal total
        total += x.numel()
        return kept[0](x, *args, **kwargs)

    def backward(x, *args, **kwargs):
        nonlocal total
        result = kept[1](x, *args, **kwargs)
        total += result.numel()
        return result

    torch.fft.rfft2, torch.fft.irfft2 = forward, backward
    try:
        action()
    finally:
        torch.fft.rfft2, torch.fft.irfft2 = kept
    return total


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Best GFLOP/s of a 1x1 convolution of 64 to 256 channels in channels-last memory, the network's usual product."""
    x = torch.rand(1, 64, 128, 128, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(256, 64, 1, 1, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    best = min(seconds(lambda: torch.nn.functional.conv2d(x, weight), device) for _ in range(50))
    return 2 * 64 * 256 * 128 * 128 / best / 1e9


def transform_rate(device: torch.device) -> float:
    """Best nanoseconds per real sample and direction of a 2-D FFT of the size that the frequency branch uses."""
    x = torch.rand(64, 144, 180, device=device)
    best = min(seconds(lambda: torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[1:]), device) for _ in range(20))
    return best / (2 * x.numel()) * 1e9


if __name__ == "__main__":
    sys.exit(main())
