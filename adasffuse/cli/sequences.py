"""Sequences of frames, video files and folders, as the command lines name and read them."""

from __future__ import annotations  # names of `inference` load PyTorch where they are used

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from adasffuse import inference
from adasffuse.images.frame_folders import FrameFolder, list_frames
from adasffuse.images.frames import DEFAULT_RATE, Frame, FrameError, StartError, VideoFile
from adasffuse.images.image import Image, ImageError
from adasffuse.images.notices import few_of_each
from adasffuse.images.ranges import RangeSpec, resolve_range
from adasffuse.messages import counted, printable
from adasffuse.process import say, say_all_notices
from adasffuse.registration.aligner import Calibration, calibrate
from adasffuse.registration.transform import AlignmentError

FRAMES = 24  # of two sequences, spread over them, for a calibration


def open_sequences(
    args: argparse.Namespace,
    ranges: Sequence[RangeSpec | None],
    thermal: Sequence[bool],
    shortest: bool = False,
    gaps: bool = False,
    range_frames: int = 0,
) -> tuple[inference.Frames, inference.Frames]:
    """Both sources, `args.a` and `args.b`, each a video file or a folder of frames, read as the options say.

    Args:
        args: holds a, b, pattern_a, pattern_b, within, no_data_a, no_data_b, fps, start_a and start_b.
        ranges: per source what `range_of` returns.
        thermal: per source whether it is thermal.
        shortest, gaps: as in `list_frames`.
        range_frames: as in `FrameFolder`.
    Raises:
        ImageError: as `VideoFile`, `list_frames` and `FrameFolder`.
        ValueError: an option does not serve what is there.
    """
    paths, patterns = (args.a, args.b), (args.pattern_a, args.pattern_b)
    no_data, starts = (args.no_data_a, args.no_data_b), (args.start_a, args.start_b)
    folders = [k for k in (0, 1) if paths[k].is_dir()]
    opened: list[inference.Frames | None] = [None, None]
    for k in (0, 1):
        if k in folders:
            continue
        name = "ab"[k]
        if patterns[k] is not None:
            raise ValueError(f"--pattern_{name} is for folders of frames, and {paths[k]} is none")
        opened[k] = _open_video(name, paths[k], ranges[k], no_data[k], thermal[k], starts[k])
    videos = [one for one in opened if one is not None]
    if args.fps is not None and not folders:
        raise ValueError("--fps is for folders of frames; videos say their own rate")
    for option, given in (("range_frames", range_frames), ("allow_gaps", gaps)):
        if given and not folders:
            raise ValueError(f"--{option} is for folders of frames, and both sources are videos")
    if args.within is not None and len(folders) < 2:
        raise ValueError("--within pairs the frames of two folders; a video says the times of its frames itself")
    if range_frames and not any(ranges[k] is not None and ranges[k].kind != "fixed" for k in folders):
        raise ValueError("--range_frames says which frames --range_a and --range_b measure: 'folder' or percentages")
    rate = args.fps or (videos[0].rate if videos else DEFAULT_RATE)
    if folders:
        listed = list_frames([paths[k] for k in folders], [patterns[k] for k in folders], shortest, gaps, args.within)
        say_all_notices(listed.notices, sys.stderr)
        if listed.left_out:
            say(f"notice: {counted(listed.left_out, 'frame')} without partner left out", sys.stderr)
        for k, column in zip(folders, listed.columns):
            how = (rate, ranges[k], no_data[k], thermal[k], range_frames, starts[k], f"--range_{'ab'[k]}")
            with _naming_start("ab"[k], starts[k]):
                opened[k] = FrameFolder(column, *how)
    return opened[0], opened[1]


def fixed_range(option: str, spec: RangeSpec | None, depth: str = "8") -> tuple[float, float] | None:
    """The range of a video file or a camera of depth '8' or '16', which is not measured; errors name the option."""
    alone = spec is not None and spec.inverted and spec.kind == "folder" and depth == "8"  # 8 bits span 0 to 255
    if spec is not None and spec.kind != "fixed" and not alone:
        raise ValueError(
            f"{option}: only folders of frames are measured; for a video of more than 8 bits give two numbers, LOW "
            "HIGH, and 'inverted' behind them where high values are dark; one of 8 bits takes 'inverted' alone"
        )
    return resolve_range(spec, ())


def _open_video(
    side: str, path: Path, spec: RangeSpec | None, no_data: float | None, thermal: bool, start: float
) -> VideoFile:
    """The video file of source 'a' or 'b'; its range fits its depth, or an error names the option."""
    option = f"--range_{side}"
    with _naming_start(side, start):
        video = VideoFile(path, None, no_data, thermal, start, option)
    video.value_range = fixed_range(option, spec, video.depth)
    return video


def calibrate_sequences(
    a: inference.Frames,
    b: inference.Frames,
    method: str,
    measure: str,
    see: Callable[[Frame, Frame], None] = lambda first, second: None,
) -> Calibration:
    """The transform between two fixed cameras, from frames spread over both sequences.

    Args:
        method, measure: as in `calibrate`.
        see: called with each pair of frames.
    Raises:
        AlignmentError: as `calibrate`; the message says what may help.
    """
    damage: list[str] = []

    def images() -> Iterator[tuple[str, Image, Image]]:
        try:
            for first, second in inference.spread_pairs(a, b, FRAMES):
                see(first, second)
                yield second.name, first.image, second.image
        except FrameError as error:
            damage.append(str(error))

    try:
        found = calibrate(images(), method, measure)
    except AlignmentError as error:
        together = "; do both start at the same time? --start_a or --start_b skips what one has before the other"
        raise AlignmentError("; ".join([str(error), *damage]) + together + inference.rate_hint(a, b)) from error
    return replace(found, failed=(*found.failed, *(("further frames", reason) for reason in damage)))


def calibration_text(found: Calibration) -> str:
    """Method, and how far the result can be trusted."""
    pairs = f"{found.pairs} pairs, half of them within {found.spread:.1f} px of it"
    return f"{found.transform.method}, {'1 pair' if found.pairs == 1 else pairs}"


def unconfirmed_notice(found: Calibration) -> list[str]:
    """That a calibration rests on one pair, [] where it does not."""
    if found.pairs > 1:
        return []
    return ["the calibration rests on one pair and nothing confirms it; give more pairs, or a longer recording"]


def say_not_used(failed: Sequence[tuple[str, str]]) -> None:
    """Name on standard error the pairs that could not be used, and the reasons."""
    for line in few_of_each(failed):
        say(printable(f"  not used: {line}"), sys.stderr)


@contextmanager
def _naming_start(side: str, start: float) -> Iterator[None]:
    """Where a sequence ends before it is to start, the error names the option."""
    try:
        yield
    except StartError as error:
        raise ImageError(f"--start_{side} {start:g}: {error}") from None


def add_start_options(target: argparse._ArgumentGroup) -> None:
    """Add how much is skipped at the beginning of source A and of source B: `args.start_a` and `args.start_b`."""
    for side in "ab":
        target.add_argument(
            f"--start_{side}",
            type=_start,
            default=0.0,
            metavar="SECONDS",
            help=f"skip so much at the beginning of source {side.upper()} if it began to record earlier (default: 0)",
        )


def _start(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"seconds to skip are a number from 0 on, such as 2.5, got {text!r}")
    return seconds


def frame_rate(text: str) -> Fraction:
    """Frames per second: 25, 29.97 or 30000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"frames per second are a number such as 25 or 30000/1001, got {text!r}")
    return rate.limit_denominator(1001)
