"""`adasffuse align`: register pairs, say how far they are off, write aligned sources or a calibration file."""

from __future__ import annotations  # names of `inference` load PyTorch where they are used

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adasffuse import inference
from adasffuse.cli.arguments import (
    OR_ONE_FOLDER,
    ReportingParser,
    add_grid_option,
    add_json_option,
    add_metadata_option,
    add_out_option,
    add_source_options,
    check_report_name,
    complete_sources,
    given_path,
    ranges_of,
    refuse_pairing_options,
    words_of_source,
)
from adasffuse.cli.sequences import (
    add_start_options,
    calibrate_sequences,
    calibration_text,
    frame_rate,
    open_sequences,
    say_not_used,
    unconfirmed_notice,
)
from adasffuse.cli.shared import ended_by, failures, say_report
from adasffuse.files import check_outputs, name_of, remove_abandoned, replacing_all
from adasffuse.images.color import is_colorful
from adasffuse.images.frames import ONLY_VIDEO_SUFFIXES, Frame
from adasffuse.images.image import Image, ImageError
from adasffuse.images.metadata import lost_place, read_metadata
from adasffuse.images.notices import few_of_each, notices_of, notices_of_files, swapped_notice
from adasffuse.images.pairs import Scene, read_scene, scene_of_files
from adasffuse.images.ranges import is_thermal, resolve_ranges
from adasffuse.images.trees import scenes_in
from adasffuse.images.write import DEPTHS, suffix_of
from adasffuse.inference.misalignment import misaligned_pairs_notice, seen_misalignment
from adasffuse.inference.results import SaveError, alone_in_folder, former_results, save_result
from adasffuse.messages import counted, printable, told
from adasffuse.process import say, say_all_notices, say_notices
from adasffuse.registration.aligner import GRIDS, Aligner, Calibration, calibrate, load_calibration, measure_of
from adasffuse.registration.estimate import MEASURES, Glance
from adasffuse.registration.transform import METHODS, warp_image
from adasffuse.tasks import TASKS, Task, guess_task

_EXAMPLES = """examples:
  adasffuse align infrared visible                                 how far is each pair off?
  adasffuse align infrared visible --save calibration.json         one transform for two fixed cameras
  adasffuse align infrared.mp4 visible.mp4 --save calibration.json the same, by frames spread over two videos, or over
                                                                   a video and a folder of frames
  adasffuse align SPECT MRI --save head.json                       one transform for slices of one head
  adasffuse align infrared visible -o aligned                      aligned/infrared, aligned/visible
  adasffuse align infrared visible --calibration calibration.json -o aligned
"""


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = ReportingParser(
        prog,
        usage="%(prog)s A B [-o DIR | --save FILE] [options]",
        description="Register pairs of images that do not lie on each other. Sizes and fields of view may differ.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "a", type=Path, metavar="A", help="file or folder of source A, e.g. infrared; with --save also a video"
    )
    parser.add_argument(
        "b",
        nargs="?",
        type=Path,
        metavar="B",
        help="file or folder of source B, e.g. visible; may be left out if A holds both, told apart by patterns",
    )
    how = parser.add_argument_group("how to align")
    how.add_argument("--method", choices=METHODS, help="what may differ between the sources (default: affine)")
    how.add_argument(
        "--measure",
        choices=MEASURES,
        help="what is compared: edges, of two cameras; medical images; or focus settings of one camera (default: "
        "medical for task mif, focus for mff, else edges)",
    )
    how.add_argument("--calibration", type=Path, metavar="FILE", help="apply this file and estimate nothing")
    add_grid_option(how)
    what = parser.add_argument_group("what to write")
    add_out_option(
        what,
        "DIR",
        "folder that gets both sources on one grid, in folders of their own: DIR/A and DIR/B, or, if A and B are "
        "called alike, DIR/infrared and DIR/visible or what the task calls them",
    )
    what.add_argument(
        "--save", type=given_path, metavar="FILE", help="write a calibration, JSON: the median over all pairs"
    )
    add_metadata_option(what, "each source")
    add_json_option(what)
    reading = parser.add_argument_group("reading the sources")
    reading.add_argument(
        "--task", type=str.lower, choices=TASKS, help="what the sources are (default: what their names say)"
    )
    add_source_options(parser, reading)
    reading.add_argument(
        "--fps", type=frame_rate, help="frames per second of a folder beside a video (default: the video's)"
    )
    add_start_options(reading)
    return parser


def run(argv: list[str] | None = None, prog: str | None = None) -> int:
    """Align as the arguments say; the exit status: 0, 1 where anything failed, or 2, see `status_of`."""
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if not complete_sources(args):
        parser.error(f"give two sources, A and B, {OR_ONE_FOLDER}")
    try:
        if args.keep_metadata != "none" and args.out is None:
            raise ValueError("--keep_metadata is for the aligned sources that -o writes")
        if args.calibration is not None and (args.method or args.measure):
            raise ValueError("--calibration applies what is known; leave out --method and --measure, or estimate anew")
        args.task = _task(args)
        args.method = args.method or "affine"
        args.measure = args.measure or ("edges" if args.task is None else measure_of(args.task.id))
        videos = [path for path in (args.a, args.b) if path.is_file() and path.suffix.lower() in ONLY_VIDEO_SUFFIXES]
        if videos:
            if args.save is None:
                raise ValueError(f"{videos[0]} is a video; videos give a calibration: --save calibration.json")
            return _calibrate(_Sequences.of(args), args)
        for option in ("fps", "start_a", "start_b"):
            if getattr(args, option):
                raise ValueError(
                    f"--{option} is for videos, or a folder of frames beside a video; two folders go by names"
                )
        job = _Job.of(args)
        return _calibrate(job, args) if args.save is not None else _align(job, args)
    except (ValueError, OSError) as error:
        return ended_by(error, args.json)


def _task(args: argparse.Namespace) -> Task | None:
    """The task, None where the names do not tell it; raises ValueError where the sources seem swapped."""
    if args.task:
        return TASKS[args.task]
    guess = guess_task(words_of_source(args.a, args.pattern_a), words_of_source(args.b, args.pattern_b))
    return guess[0] if guess else None


class _Seen:
    """What a user should know of the images that are read."""

    def __init__(self, job: _Job | _Sequences, args: argparse.Namespace) -> None:
        self._of_job = job.notices
        self._task = args.task or TASKS["mif" if args.measure == "medical" else "ivf"]
        self._texts: list[tuple[Path, str]] = []
        self._off: list[tuple[str, Glance | None]] = []
        self._aligner: Aligner | None = None
        self._colored, self._count = [0, 0], 0

    def add(self, scene: Scene, images: Sequence[Image]) -> None:
        self._texts += notices_of(scene, images)
        self._count += 1
        for number, image in enumerate(images):
            self._colored[number] += is_colorful(image.pixels)

    def add_aligned(self, scene: Scene, images: Sequence[Image], aligner: Aligner) -> None:
        """The same of images that an aligner has brought to one grid."""
        self._aligner = aligner
        self._off.append((scene.stem, seen_misalignment(self._task, images, aligner)))

    def say(self, path: Path, text: str) -> None:
        """A notice of a file, '' for none."""
        self._texts += [(path, text)] if text else []

    def notices(self) -> list[str]:
        return [
            *self._of_job,
            *swapped_notice(self._task, self._colored, self._count),
            *notices_of_files(self._texts),
            *misaligned_pairs_notice(self._off, self._aligner),
        ]


@dataclass(frozen=True)
class _Job:
    """The pairs, and how they are read."""

    scenes: list[Scene]
    ranges: tuple
    no_data: tuple
    names: tuple[str, str]  # folders of the sources below the results
    failed: list[tuple[str, str]]  # name and reason of what belongs to no pair
    notices: list[str]  # what else a user should know of the folders
    thermal: tuple[bool, ...] | None  # as their names tell, see `is_thermal`

    @staticmethod
    def of(args: argparse.Namespace) -> _Job:
        problems, notices = [], []
        if args.a.is_file() and args.b.is_file():
            refuse_pairing_options(args)
            scenes, names = [scene_of_files(args.b.stem, (args.a, args.b))], ("", "")
        else:
            for path in (args.a, args.b):
                if path.is_file():
                    raise ImageError(f"{path} is a file; give two files or two folders")
            scenes, found = scenes_in((args.a, args.b), (args.pattern_a, args.pattern_b), args.within)
            problems = [(problem.name, problem.reason) for problem in found if not problem.harmless]
            notices = [problem.reason for problem in found if problem.harmless]
            names = (name_of(args.a), name_of(args.b))
        if names[0] == names[1]:  # in folders that tell the task, where it has one name for each
            names = args.task.sources[0].folders if args.task and len(args.task.sources) == 1 else ("a", "b")
        specs = ranges_of(args)
        no_data = (args.no_data_a, args.no_data_b)
        columns = list(zip(*(scene.paths for scene in scenes))) or [(), ()]
        thermal = args.task.thermal if args.task else None
        ranges = resolve_ranges(specs, columns, no_data, thermal)
        return _Job(scenes, ranges, no_data, names, problems, notices, thermal)

    def results(self, out: Path, scene: Scene, depth: str, on_map: bool = False) -> list[Path]:
        """Where both sources of a scene go, of depth '8', '16' or 'float'; TIFF where they keep a place on the map."""
        suffix = suffix_of("float" if on_map else depth)
        return [out / name / f"{scene.stem}{suffix}" for name in self.names]

    def read(self, scene: Scene) -> list[Image]:
        thermal = tuple(is_thermal(number, path, self.thermal) for number, path in enumerate(scene.paths))
        return read_scene(scene, self.ranges, self.no_data, thermal, one_size=False)

    def calibrate(self, args: argparse.Namespace, seen: _Seen, failed: list[tuple[str, str]]) -> Calibration:
        """One transform for all pairs; name and reason of those that cannot be read are added to `failed`."""

        def pairs() -> Iterator[tuple[str, Image, Image]]:
            for scene in self.scenes:
                try:
                    images = self.read(scene)
                except (ValueError, OSError) as error:
                    failed.append((scene.stem, told(error)))
                    continue
                seen.add(scene, images)
                yield scene.stem, *images

        return calibrate(pairs(), args.method, args.measure)


@dataclass(frozen=True)
class _Sequences:
    """Two videos of fixed cameras, or a video and a folder of frames."""

    a: inference.Frames
    b: inference.Frames
    failed: tuple[tuple[str, str], ...] = ()
    notices: tuple[str, ...] = ()

    @staticmethod
    def of(args: argparse.Namespace) -> _Sequences:
        specs = ranges_of(args)
        thermal = (args.task or TASKS["ivf"]).thermal or (False, False)
        folders = args.a.is_dir() or args.b.is_dir()
        opened = open_sequences(args, specs, thermal, shortest=True, gaps=folders)
        inference.check_pair(*opened, shortest=True, aligned=True)
        return _Sequences(*opened)

    def calibrate(self, args: argparse.Namespace, seen: _Seen, failed: list[tuple[str, str]]) -> Calibration:
        """One transform for all frames."""

        def see(first: Frame, second: Frame) -> None:
            seen.add(Scene(second.name, (self.a.path, self.b.path)), (first.image, second.image))

        return calibrate_sequences(self.a, self.b, args.method, args.measure, see)


def _align(job: _Job, args: argparse.Namespace) -> int:
    """Register each pair, print a line for it, and write both sources where asked to."""
    known = None if args.calibration is None else load_calibration(args.calibration).transform
    method = args.method if known is None else known.method
    grid = args.grid or GRIDS[0]
    aligner = Aligner(method, grid, args.measure, known)
    if args.out is not None:
        check_outputs(folders={"-o": args.out}, inputs=[path for path in (args.a, args.b) if path.is_dir()])
        sources = [path.parent for scene in job.scenes for path in scene.paths]
        for name in job.names:
            check_outputs(folders={"-o": args.out / name}, inputs=sources)
        remove_abandoned(
            file for scene in job.scenes for depth in DEPTHS for file in job.results(args.out, scene, depth)
        )
    failed = list(job.failed)
    rows: list[dict[str, Any]] = []
    written: list[Path] = []
    seen = _Seen(job, args)
    empty: list[float] = []  # share of pixels without data, of each warped image that has some and is black there
    began = time.perf_counter()
    with nullcontext() if args.out is None else alone_in_folder(args.out):
        for scene in job.scenes:
            started = time.perf_counter()
            try:
                row, files, lacking = _align_pair(job, scene, aligner, args, seen)
            except SaveError:
                raise
            except (ValueError, OSError) as error:
                failed.append((scene.stem, told(error)))
                continue
            rows.append(row)
            written += files
            empty += [lacking] if lacking else []
            if not args.json:
                off, largest, seconds = row["off"], row["largest"], time.perf_counter() - started
                say(f"{printable(scene.stem)}: off by {off:.1f} px, at most {largest:.1f} ({seconds:.1f} s)")
    told_of = seen.notices()
    notices = former_results(written) + ([_border_notice(empty, grid)] if empty else [])
    notices += _range_notices(job) if written else []
    if args.json:
        seconds = round(time.perf_counter() - began, 3)
        values = {"method": method, "grid": grid, "aligned": rows, "seconds": seconds}
        say_report(values, failed, [*told_of, *notices])
        return int(bool(failed))
    for line in few_of_each(failed):
        say(printable(f"  failed: {line}"), sys.stderr)
    say_notices(told_of)
    say_all_notices(notices)
    place = f" -> {printable(args.out)}" if written else ""
    say(f"{counted(len(rows), 'pair')} aligned by {method}, {len(failed)} failed{place}")
    return int(bool(failed))


def _align_pair(
    job: _Job, scene: Scene, aligner: Aligner, args: argparse.Namespace, seen: _Seen
) -> tuple[dict[str, Any], list[Path], float]:
    """Register a pair, and write both sources below `args.out` where it is given.

    Returns:
        JSON values for the report, the files that were written, and the share of the warped image without data, 0 where
        its file says so itself.
    """
    images = job.read(scene)
    seen.add(scene, images)
    transform = aligner.transform(*images)
    row: dict[str, Any] = {"name": scene.stem, "sources": list(map(str, scene.paths))}
    files, lacking = [], 0.0
    moved = 0 if aligner.grid == "b" else 1
    images[moved] = warp_image(images[moved], transform)
    seen.add_aligned(scene, images, aligner)
    if args.out is not None:
        kept = [read_metadata(path, args.keep_metadata, images) for path in scene.paths]
        on_map = [one is not None and bool(one.map_tags) for one in kept]
        if images[moved].valid is not None and not on_map[moved]:
            lacking = float(1 - images[moved].valid.mean())
        files = [job.results(args.out, scene, image.depth, on_map[k])[k] for k, image in enumerate(images)]
        with replacing_all() as new:
            for file, image, one in zip(files, images, kept):
                one = None if one is None else replace(one, valid=image.valid)
                save_result(new(file), image.pixels, image.depth, one)
        for path, file, one in zip(scene.paths, files, kept):
            seen.say(path, lost_place(file, one))
        row["results"] = list(map(str, files))
    mean, largest = transform.shifts()
    row |= {"off": round(mean, 2), "largest": round(largest, 2)}
    row |= {"matrix": transform.matrix.tolist(), "field": transform.field is not None}
    return row, files, lacking


def _range_notices(job: _Job) -> list[str]:
    """That a range was used up by what is written."""
    return [
        f"the aligned images of source {side.upper()} hold its values {window[0]:g} to {window[1]:g} as black to "
        f"white; fuse them without --range_{side}"
        for side, window in zip("ab", job.ranges)
        if window is not None
    ]


def _border_notice(empty: list[float], grid: str) -> str:
    """What is written where a warped image shows nothing, and how to have it read as no data."""
    side = "a" if grid == "b" else "b"
    images = f"{len(empty)} warped images of source {side.upper()} do" if len(empty) > 1 else "the warped image does"
    black = f"--no_data_{side} 0 has all black read as no data"
    cure = f"fusing takes that of infrared images, where it is large, for no data; {black}" if side == "a" else black
    share = "less than 0.1%" if max(empty) < 0.001 else f"up to {max(empty):.1%}"
    return (
        f"{images} not reach all of the grid: {share} of the pixels are exact 0, which other programs "
        f"read as black; {cure}; fusing with --align instead keeps what has no data"
    )


def _calibrate(job: _Job | _Sequences, args: argparse.Namespace) -> int:
    """Estimate one transform for all pairs and save it."""
    if args.calibration is not None or args.out is not None:
        raise ValueError("--save estimates and writes a calibration only; apply it with --calibration in a second call")
    if args.grid:
        raise ValueError(f"--grid {args.grid}: a calibration serves both grids; give --grid where it is applied")

    check_report_name("--save", args.save, ".json")
    check_outputs({"--save": args.save}, inputs=[path for path in (args.a, args.b) if path.is_file()])
    failed = list(job.failed)
    seen, unconfirmed = _Seen(job, args), []
    try:
        result = job.calibrate(args, seen, failed)
        failed += result.failed
        unconfirmed = unconfirmed_notice(result)
    finally:
        told_of = seen.notices() + unconfirmed
        say_not_used(failed)
        say_notices(told_of)
    result.save(args.save)
    if args.json:
        found = {
            "method": args.method,
            "saved": str(args.save),
            "pairs": result.pairs,
            "spread": round(result.spread, 3),
            "not_used": failures(failed),
        }
        say_report(found, notices=told_of)
        return 0
    say(f"{printable(args.save)}: {calibration_text(result)}")
    return 0
