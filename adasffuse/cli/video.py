"""`adasffuse video A B -o OUT`: fuse two videos or folders of frames, or show the fusion live."""

from __future__ import annotations  # names of `inference` load PyTorch where they are used

import argparse
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adasffuse import inference
from adasffuse.choices import AUDIO
from adasffuse.cli import sequences
from adasffuse.cli.arguments import (
    OR_ONE_FOLDER,
    ReportingParser,
    add_fusing_options,
    add_json_option,
    add_out_option,
    add_source_options,
    at_least,
    complete_sources,
    fuser_from,
    ranges_of,
    words_of_source,
)
from adasffuse.cli.sequences import (
    add_start_options,
    calibrate_sequences,
    calibration_text,
    fixed_range,
    frame_rate,
    open_sequences,
    say_not_used,
    unconfirmed_notice,
)
from adasffuse.cli.shared import ended_by, failures, say_report
from adasffuse.files import check_outputs
from adasffuse.images.frame_folders import FrameFolder
from adasffuse.images.frames import DEFAULT_RATE, is_video_name
from adasffuse.images.image import ImageError
from adasffuse.images.live import Camera, Unseen, Window
from adasffuse.images.ranges import RangeSpec
from adasffuse.images.video_writing import DEFAULT_QUALITY
from adasffuse.inference.misalignment import misaligned_frames_notice, seen_misalignment
from adasffuse.messages import printable
from adasffuse.process import say, say_all_notices
from adasffuse.registration.aligner import Aligner, load_calibration, measure_of
from adasffuse.registration.transform import METHODS, AlignmentError
from adasffuse.tasks import TASKS, find_task, guess_task

DESCRIPTION = """Fuse two sequences of frames: video files, folders of images, or one of each.

  adasffuse video infrared.mp4 visible.mp4 -o fused.mp4
  adasffuse video infrared/ visible/ -o fused.mp4 --fps 30 --range_a folder
  adasffuse video infrared.mkv visible.mkv -o fused/          PNG frames
  adasffuse video infrared.mp4 visible.mp4 -o fused.mp4 --align affine     register two fixed cameras once
  adasffuse video infrared.mp4 visible.mp4 --show             live preview, q ends it
  adasffuse video --camera_a 0 --camera_b 1 --show
  adasffuse video --camera_a 0 --camera_b 1 -o fused.mp4      record; Ctrl-C ends it

B leads: the result has its frame times and its sound; A gives its nearest frame in time.  Two folders go by names.
Where one began to record earlier, --start_a or --start_b skips its beginning.
"""
_OF_FILES = ("start_a", "start_b", "pattern_a", "pattern_b", "within", "fps", "range_frames", "shortest", "allow_gaps")
_ADDRESS = re.compile(r"[A-Za-z]{2,}:/")  # of a stream; a path has lost one of the slashes


def make_parser(prog: str = "adasffuse video") -> argparse.ArgumentParser:
    """The argument parser of the verb."""
    parser = ReportingParser(
        prog,
        usage="%(prog)s A B -o OUT [options]",
        description=DESCRIPTION,
    )
    parser.add_argument("a", nargs="?", type=Path, metavar="A", help="infrared: a video file or a folder of frames")
    parser.add_argument("b", nargs="?", type=Path, metavar="B", help="visible: the same")
    result = parser.add_argument_group("result")
    add_out_option(result, "OUT", "video (.mp4, .mkv, .mov or .m4v); any other name is a folder of frames")
    result.add_argument(
        "--quality",
        type=int,
        default=DEFAULT_QUALITY,
        metavar="CRF",
        help="quality of a video, 0 (best) to 51, x264's constant rate factor (default: %(default)s)",
    )
    result.add_argument(
        "--audio",
        choices=AUDIO,
        default="auto",
        help="source whose sound is copied; auto: B, else A (default: %(default)s)",
    )
    sources = parser.add_argument_group("sources")
    sources.add_argument(
        "--task",
        type=str.lower,
        choices=TASKS,
        help="what is fused (default: what the names say, such as ir and vis, else ivf)",
    )
    add_source_options(parser, sources)
    sources.add_argument(
        "--range_frames",
        type=at_least(0),
        default=0,
        metavar="N",
        help="number of frames of a folder, from the first, that --range_a and --range_b measure (default: all)",
    )
    sources.add_argument(
        "--fps",
        type=frame_rate,
        help=f"frames per second of folders (default: that of the other source, or {DEFAULT_RATE})",
    )
    add_start_options(sources)
    sources.add_argument("--shortest", action="store_true", help="end with the shorter source")
    sources.add_argument(
        "--allow_gaps", action="store_true", help="allow gaps in the numbers of the frames of a folder"
    )
    sources.add_argument(
        "--align",
        choices=("none", *METHODS[:3]),
        default="none",
        help="register two fixed cameras once, by frames spread over both sources; the result has B's pixels "
        "(default: %(default)s)",
    )
    sources.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="register all frames of two fixed cameras as this file says, which 'adasffuse align A B --save FILE' "
        "writes; the result has the pixels of B",
    )
    add_fusing_options(parser, results=result, size="tiny", stretch=False)
    live = parser.add_argument_group("live")
    live.add_argument(
        "--show", action="store_true", help="show the result in a window, which q closes; late frames are dropped"
    )
    live.add_argument("--camera_a", metavar="DEVICE", help="capture device in place of A: its number, path or address")
    live.add_argument(
        "--camera_b", metavar="DEVICE", help="capture device in place of B; -o records, also without --show"
    )
    live.add_argument(
        "--seconds", type=float, metavar="N", help="end cameras after N seconds (default: at q or Ctrl-C)"
    )
    report = parser.add_argument_group("report")
    report.add_argument(
        "--dry_run",
        action="store_true",
        help="look at the first frames and say what would be done; write nothing",
    )
    add_json_option(report)
    return parser


def run(argv: list[str], prog: str = "adasffuse video") -> int:
    """Fuse or show as the arguments say; the exit status: 0, 1 where anything failed, 2 for impossible arguments."""
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    wrong = _impossible(args)
    if wrong:
        parser.error(wrong)
    try:
        ranges = ranges_of(args)
        args.task = args.task or _task_by_names(args)
        if args.camera_a is not None:
            check_outputs({"-o": args.out})
            return _cameras(args, ranges)
        thermal = find_task(args.task).thermal or (False, False)
        a, b = open_sequences(args, ranges, thermal, args.shortest, args.allow_gaps, args.range_frames)
        if args.dry_run:
            return _describe(a, b, args)
        if args.show:
            return _show(a, b, args)
        return _write(a, b, args)
    except (ValueError, OSError) as error:
        return ended_by(error, args.json)


def _impossible(args: argparse.Namespace) -> str:
    """What is wrong with the arguments, '' for nothing."""
    if args.align != "none" and args.calibration is not None:
        return "--align estimates and --calibration applies what is known; give one of them"
    cameras = (args.camera_a is not None, args.camera_b is not None)
    if any(cameras):
        if not all(cameras) or args.a or args.b:
            return "cameras take the place of both sources: give --camera_a and --camera_b, and neither A nor B"
        if not args.show and args.out is None:
            return "cameras need --show, or -o OUT.mp4 to record what they see, or both"
        if args.align != "none":
            return "--align is for files; record both cameras, and give --calibration FILE of 'adasffuse align --save'"
        for option in _OF_FILES:
            if getattr(args, option):
                return f"--{option} is for files; cameras give what they see now"
        if args.dry_run or (args.out is not None and not is_video_name(args.out)):
            return "--dry_run does not go with cameras" if args.dry_run else "what cameras show is written to a video"
        if args.seconds is not None and not 0 < args.seconds < float("inf"):
            return f"--seconds is a number above 0, got {args.seconds:g}"
        return ""
    address = next((str(path) for path in (args.a, args.b) if path is not None and _ADDRESS.match(str(path))), None)
    if address is not None:
        scheme = address.split(":")[0]
        return f"{scheme}:// is an address, as of a camera or a stream; give both by --camera_a and --camera_b"
    if args.seconds is not None:
        return "--seconds is for cameras; files end by themselves"
    if not complete_sources(args):
        return f"give two sources, A and B, {OR_ONE_FOLDER}, or --camera_a and --camera_b"
    if args.show and args.out is not None:
        return "--show drops frames to stay live, and writes nothing of files: leave out --show or -o"
    if not args.show and args.out is None and not args.dry_run:
        return "say where the result goes, -o OUT, or --show it"
    if args.out is not None and is_video_name(args.out) and args.depth not in ("auto", "8"):
        return f"a video has 8 bits per channel; --depth {args.depth} needs a folder of frames, -o FOLDER"
    if args.out is not None and not is_video_name(args.out) and args.audio in ("a", "b"):
        return f"a folder of frames has no sound; --audio {args.audio} needs a video, -o FILE.mp4"
    if not 0 <= args.quality <= 51:
        return f"--quality lies in 0..51, got {args.quality}"
    if args.out is not None and not is_video_name(args.out) and args.quality != DEFAULT_QUALITY:
        return f"--quality {args.quality} is of a video, -o FILE.mp4; the frames of a folder are lossless"
    return ""


def _task_by_names(args: argparse.Namespace) -> str:
    """The task that the sources' names tell, else infrared and visible; raises ValueError where they seem swapped."""
    if args.a is None:  # cameras
        return "ivf"
    guess = guess_task(words_of_source(args.a, args.pattern_a), words_of_source(args.b, args.pattern_b))
    return guess[0].id if guess else "ivf"


def _calibrated(args: argparse.Namespace) -> Aligner | None:
    """How --calibration brings each pair of frames to B's pixels; None: it is not given."""
    if args.calibration is None:
        return None
    known = load_calibration(args.calibration).transform
    return Aligner(known.method, calibration=known)


def _is_aligned(args: argparse.Namespace) -> bool:
    return args.calibration is not None or args.align != "none"


def _align(
    a: inference.Frames, b: inference.Frames, args: argparse.Namespace
) -> tuple[Aligner | None, dict[str, Any], list[str]]:
    """How each pair of frames is brought to B's pixels, None for as they are; a report of an estimate, and notices."""
    if args.align == "none":
        return _calibrated(args), {}, []
    try:
        found = calibrate_sequences(a, b, args.align, measure_of(args.task))
    except AlignmentError as error:
        raise AlignmentError(
            f"nothing was fused: --align {args.align}: {error}; --calibration FILE takes that of another recording, "
            "adasffuse align A B --save FILE"
        ) from error
    say_not_used(found.failed)
    off, _ = found.transform.shifts()
    if not args.json:
        say(f"registered once: {calibration_text(found)}; the sources were off by {off:.1f} px")
    told_of = {"method": args.align, "pairs": found.pairs, "spread": round(found.spread, 3), "off": round(off, 2)}
    told_of |= {"matrix": found.transform.matrix.tolist(), "failed": failures(found.failed)}
    return Aligner(args.align, calibration=found.transform), told_of, unconfirmed_notice(found)


def _check_output(a: inference.Frames, b: inference.Frames, args: argparse.Namespace) -> None:
    """Raise ValueError where the result cannot be written as -o says."""
    inference.check_output(a, b, args.out, args.depth)
    inputs = [one.path for one in (a, b)]
    if is_video_name(args.out):  # which may lie in a folder of frames
        check_outputs({"-o": args.out}, inputs=[path for path in inputs if path.is_file()])
    else:
        check_outputs(folders={"-o": args.out}, inputs=inputs)


def _write(a: inference.Frames, b: inference.Frames, args: argparse.Namespace) -> int:
    inference.check_pair(a, b, args.shortest, _is_aligned(args))
    _check_output(a, b, args)
    fuser = fuser_from(args, args.task)
    align, registered, unconfirmed = _align(a, b, args)
    report = inference.fuse_video(
        fuser,
        a,
        b,
        args.out,
        depth=args.depth,
        quality=args.quality,
        audio=args.audio,
        shortest=args.shortest,
        align=align,
    )
    report.notices[:0] = unconfirmed
    if args.json:
        more = {"ranges": [one.value_range for one in (a, b)], "skipped": [float(one.skipped) for one in (a, b)]}
        more |= {"registered": registered} if registered else {}
        _say_report(report, args, {"frames_per_second": report.rate_of_work} | more)
    else:
        say(f"{TASKS[args.task].title}: {report.summary()}")
        for source, one in zip("AB", (a, b)):
            if one.skipped:
                say(f"  source {source}: the first {float(one.skipped):.3f} s were skipped")
            if isinstance(one, FrameFolder) and one.value_range is not None:
                low, high = one.value_range
                say(f"  source {source}: the values {low:g} to {high:g} become black to white, in all frames")
    _say_notices(report.notices)
    return _ended(report.problem)


def _show(a: inference.Frames, b: inference.Frames, args: argparse.Namespace) -> int:
    inference.check_pair(a, b, shortest=True, aligned=_is_aligned(args))
    with closing(Window()) as window:
        fuser = fuser_from(args, args.task)
        align, registered, unconfirmed = _align(a, b, args)
        _say_notices(unconfirmed)
        report = inference.show_files(fuser, a, b, window, align, _say_notices)
        report.notices[:0] = unconfirmed
        return _shown(report, args, registered)


def _cameras(args: argparse.Namespace, ranges: list[RangeSpec | None]) -> int:
    windows = tuple(fixed_range(f"--range_{side}", spec) for side, spec in zip("ab", ranges))
    with ExitStack() as stack:
        window = stack.enter_context(closing(Window() if args.show else Unseen()))
        cameras = [stack.enter_context(closing(Camera(name))) for name in (args.camera_a, args.camera_b)]
        fuser, align = fuser_from(args, args.task), _calibrated(args)
        if not args.show:
            say(f"recording to {printable(args.out)}; Ctrl-C ends it", sys.stderr)
        no_data = (args.no_data_a, args.no_data_b)
        report = inference.show_cameras(
            fuser, *cameras, window, args.out, args.quality, align, args.seconds, windows, no_data, _say_notices
        )
        return _shown(report, args)


def _say_notices(notices: Sequence[str]) -> None:
    say_all_notices(notices, sys.stderr)


def _shown(report: inference.LiveReport, args: argparse.Namespace, registered: dict[str, Any] | None = None) -> int:
    if args.json:
        _say_report(report, args, {"registered": registered} if registered else {})
    else:
        say(report.summary())
    return _ended(report.problem)


def _say_report(
    report: inference.VideoReport | inference.LiveReport, args: argparse.Namespace, more: dict[str, Any]
) -> None:
    values = asdict(report)
    problem, notices = values.pop("problem"), values.pop("notices")
    failed = [(str(args.out or "window"), problem)] if problem else []
    say_report({"task": args.task} | values | more, failed, notices)


def _ended(problem: str) -> int:
    if not problem:
        return 0
    say(f"error: {printable(problem)}", sys.stderr)
    return 1


def _describe(a: inference.Frames, b: inference.Frames, args: argparse.Namespace) -> int:
    """Say what would be fused; the sequences are opened, and the first frames read."""
    inference.check_pair(a, b, args.shortest, _is_aligned(args))
    if args.out is not None:
        _check_output(a, b, args)
    align, pairs = _calibrated(args), inference.FramePairs(a, b)
    first = next(iter(pairs), None)
    if first is None:
        raise ImageError(pairs.damage or f"{a.path} and {b.path} have no frames in common")
    images = [frame.image for frame in first]
    notices = [notice for image in images for notice in image.notices]
    if align is not None:
        images = align.align(images)
    if args.align == "none":
        notices += misaligned_frames_notice([seen_misalignment(TASKS[args.task], images, align)], align)
    rows = [
        {
            "path": str(one.path),
            "width": one.width,
            "height": one.height,
            "rate": float(one.rate),
            "duration": one.duration,
            "skipped": float(one.skipped),
            "sound": one.audio,
            "range": one.value_range,
        }
        for one in (a, b)
    ]
    to_video = args.out is not None and is_video_name(args.out)
    giver = inference.sound_giver(a, b, args.audio) if to_video else None
    output = None if args.out is None else str(args.out)
    plan = {"a": rows[0], "b": rows[1], "output": output, "sound": str(giver.path) if giver else ""}
    if args.json:
        say_report({"dry_run": True, "task": args.task, "frames_read": 1} | plan, notices=notices)
        return 0
    for source, row in zip("AB", rows):
        length = "of unknown length" if row["duration"] is None else f"{row['duration']:.2f} s"
        length += f" after {row['skipped']:.3f} s that are skipped" if row["skipped"] else ""
        sound = f", sound {row['sound']}" if row["sound"] else ""
        say(
            f"source {source}: {row['path']}: {row['width']}x{row['height']}, {row['rate']:g} frames/s, {length}{sound}"
        )
    sound = f", with the sound of {giver.path}" if giver else ""
    say(f"task {args.task}, {TASKS[args.task].title}")
    say(f"result: {output or 'a window'}, {b.width}x{b.height}, times of source B{sound}; nothing was written")
    if args.align != "none":
        say(f"both would be registered once, {args.align}, by about {sequences.FRAMES} frames spread over both")
    say("only the first frames were read: damaged frames and frames of another size show when they are fused")
    _say_notices(notices)
    return 0
