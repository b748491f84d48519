"""`adasffuse stack`: exposure brackets and focus stacks, one folder per stack, to one image each."""

from __future__ import annotations  # names of `inference` load PyTorch where they are used

import argparse
import itertools
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from adasffuse import inference
from adasffuse.choices import GHOSTS
from adasffuse.cli.arguments import (
    ReportingParser,
    add_fusing_options,
    add_metadata_option,
    fuser_from,
    given_path,
    range_of,
)
from adasffuse.cli.shared import run_shared, say_few, say_report
from adasffuse.files import check_outputs, ends_like_a_file, name_of, real_path
from adasffuse.images.folders import ignored, images_of, in_order, other_files
from adasffuse.images.formats import file_of
from adasffuse.images.image import ImageError
from adasffuse.images.metadata import exposure_bias, lost_place, read_metadata
from adasffuse.images.pages import stacks_in
from adasffuse.images.pairs import Scene, SceneFolder
from adasffuse.inference.journal import stamps
from adasffuse.inference.results import (
    SaveError,
    alone_in,
    former_results,
    journal_of,
    note_result,
    outdated_notice,
    save_result,
    stale_results,
)
from adasffuse.inference.work import RESULT_SUFFIXES, Work, refuse_to_overwrite
from adasffuse.messages import counted, first_of, printable, told
from adasffuse.process import say
from adasffuse.registration.stacks import STACK_METHODS
from adasffuse.tasks import TASKS

DESCRIPTION = """Fuse stacks of any number of images: exposures, or focus settings.

  adasffuse stack bracket -o fused.png --task mef               the images of one folder
  adasffuse stack stacks -o fused --task mff                    a folder of folders: one result for each
  adasffuse stack a.jpg b.jpg c.jpg -o fused.png --task mef     files, also "*.jpg"
  adasffuse stack photos -o fused --task mef --images_per_stack 3   a folder of brackets of 3 images each
  adasffuse stack shots -o fused --task mef --pattern "*.CR2"   RAW files beside JPEG files of the same shots
  adasffuse stack z.tif -o fused.png --task mff                 the pages of a TIFF file; of each channel apart

Images are read one after the other, so memory does not grow with their number.
"""
EPILOG = """Exit status: 0 everything was fused, 1 something failed and is named, 2 impossible arguments.
Several processes share several stacks: torchrun --nproc_per_node 4 -m adasffuse stack STACKS -o OUT --task TASK."""

_SAME_EXPOSURE = 0.25  # EV: cameras count in thirds


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    parser = ReportingParser(
        prog,
        usage="%(prog)s STACK ... -o OUT --task mef|mff [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "stacks",
        nargs="+",
        type=given_path,
        metavar="STACK",
        help="folder of images, folder of such folders, files, or TIFF file of several pages",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=given_path,
        required=True,
        metavar="OUT",
        help="result of one stack: a file; of several: a folder",
    )
    one_kind = [task.id for task in TASKS.values() if len(task.kinds) == 1]
    parser.add_argument(
        "--task",
        required=True,
        type=str.lower,
        choices=one_kind,
        help="; ".join(f"{name}: {TASKS[name].title}" for name in one_kind),
    )
    parser.add_argument(
        "--align",
        choices=("none", *STACK_METHODS),
        default="none",
        help="register each image to the middle one; similarity: shift, scale and a small turn (default: %(default)s)",
    )
    parser.add_argument(
        "--images_per_stack",
        type=int,
        metavar="N",
        help="cut each folder, or the listed files, into stacks of N images by their names; a result has the name "
        "of the first image of its stack",
    )
    parser.add_argument(
        "--ghosts",
        choices=GHOSTS,
        default="keep",
        help="what moves between exposures; remove: show it as in the one that is clipped least (default: %(default)s)",
    )
    parser.add_argument(
        "--pattern",
        metavar="NAME",
        help="which images of each folder, or of the listed files, are taken, such as '*.CR2' where the camera wrote "
        "JPEG files beside them",
    )
    running = parser.add_argument_group("running")
    running.add_argument(
        "--dry_run",
        action="store_true",
        help="read all files and say what would be done and what would fail; write nothing",
    )
    running.add_argument("--resume", action="store_true", help="skip stacks that an earlier run has finished")
    running.add_argument("--json", action="store_true", help="report as JSON on standard output")
    reading = parser.add_argument_group("reading the images")
    reading.add_argument(
        "--range",
        nargs="+",
        metavar=("LOW", "HIGH"),
        help="values that become black and white, in files deeper than 8 bits: two numbers; 'folder' or two "
        "percentages, measured for each stack. 'inverted' behind them makes high values dark",
    )
    reading.add_argument(
        "--no_data", type=float, metavar="VALUE", help="value that means 'no data', besides NaN and the file's own"
    )
    results = parser.add_argument_group("results")
    add_metadata_option(results, "the image in the middle of the stack, by its name")
    add_fusing_options(parser, results=results, stretch=False, strength=False)
    return parser


def run(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Fuse as the arguments say; the exit status: 0 only if everything was fused."""
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.images_per_stack is not None and args.images_per_stack < 2:
        parser.error(f"--images_per_stack: a stack has two or more images, got {args.images_per_stack}")
    if args.pattern is not None and Path(args.pattern).name != args.pattern:
        parser.error(f"--pattern is for names of files, in each folder that is given, got {args.pattern!r}")
    if args.ghosts == "remove" and args.task != "mef":
        parser.error("--ghosts remove is for exposures; in focus stacks movement cannot be told from blur")
    return run_shared(partial(_run, args), args.json)


def _run(args: argparse.Namespace, ranks: inference.Ranks) -> int:
    work, failed, notices = _work(args)
    if args.resume and work.file:
        raise ValueError("--resume is for folders of results; give a folder as -o")
    if not args.dry_run:
        check_outputs({"-o": work.file}, {"-o": None if work.file else work.save_dir})
    options = inference.StackOptions(range_of("--range", args.range), args.no_data, args.align, args.depth, args.ghosts)
    fuser = fuser_from(args, args.task)
    settings = inference.settings_of(
        fuser,
        range=args.range,
        no_data=args.no_data,
        align=args.align,
        depth=args.depth,
        ghosts=args.ghosts,
        metadata=args.keep_metadata,
        kind="stack",
    )
    if args.dry_run:
        return _dry_run(args, fuser, work, failed, notices, options, settings) if ranks.main else 0
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    lost: list[tuple[str, str]] = []
    hidden = None if ranks.main and not args.json else True
    outdated = 0
    with alone_in(work, ranks.rank), journal_of(work.save_dir, settings, args.resume, ranks.rank) as journal:
        for scene in tqdm(ranks.share(work.scenes), "stacks", unit="stack", disable=hidden):
            before = stamps(scene.paths)
            finished = journal.finished(scene) if args.resume else None
            if finished:
                rows.append({"name": scene.stem, "result": str(work.save_dir / finished.name), "skipped": True})
                continue
            outdated += args.resume and journal.outdated(scene)
            try:
                fused, target = _fuse(fuser, work, scene, options, args.keep_metadata)
            except SaveError:
                raise
            except (ValueError, OSError, MemoryError, RuntimeError, cv2.error) as error:
                lost.append((scene.stem, told(error)))
                continue
            if work.file is None:
                note_result(journal, scene, before, [target])
            rows.append(_row(scene, fused, target))
    rows_of, lost_of, olds, seconds = zip(*ranks.gather((rows, lost, outdated, time.perf_counter() - started)))
    order = {scene.stem: number for number, scene in enumerate(work.scenes)}
    rows = sorted(itertools.chain(*rows_of), key=lambda row: order[row["name"]])
    failed += sorted(itertools.chain(*lost_of), key=lambda one: order[one[0]])
    notices += outdated_notice(sum(olds)) + stale_results(work, [name for name, _ in failed])
    if work.file is None:
        notices += former_results(Path(row["result"]) for row in rows)
    if ranks.main:
        _tell(args, fuser, rows, failed, notices, work, max(seconds))
    return int(bool(failed))


def _fuse(
    fuser: inference.Fuser, work: Work, scene: Scene, options: inference.StackOptions, keep: str
) -> tuple[inference.FusedStack, Path]:
    """Fuse a stack and write the result with the metadata to keep; the file of the result."""
    fused = inference.fuse_stack(fuser, scene.paths, options)
    target = work.result(scene, fused.depth)
    giver = file_of(scene.paths[len(scene.paths) // 2])
    metadata = read_metadata(giver, keep)
    save_result(target, fused.pixels, fused.depth, metadata)
    if lost := lost_place(target, metadata):
        fused.notices.append(f"{giver}: {lost}")
    return fused, target


def _work(args: argparse.Namespace) -> tuple[Work, list[tuple[str, str]], list[str]]:
    """The stacks that the arguments name, what is none, and notices."""
    places = [path for place in args.stacks for path in _listed(place)]
    files = [path for path in places if path.is_file()]
    if files and len(files) < len(places):
        raise ImageError(f"{files[0]} is a file and others are folders; give files of one stack, or folders")
    if files and not (files := _called_like(args.pattern, files)):
        raise ImageError(f"none of {counted(len(places), 'file')} is called like {args.pattern!r} (--pattern)")
    one_file = args.out.suffix.lower() in RESULT_SUFFIXES and not args.out.is_dir()
    failed: list[tuple[str, str]] = []
    notices: list[str] = []
    scenes: list[Scene] = []
    others: list[Path] = []
    if files == sorted(files):  # as a shell lists them
        files.sort(key=lambda path: (path.parent, in_order(path.name), path.name))
    if files:
        name = files[0].stem if len(files) == 1 else name_of(files[0].parent)
        scenes = _stacks_of(args.out.stem if one_file else name, files, args.images_per_stack, failed)
    wanted = f" called like {args.pattern!r}" if args.pattern else ""
    for folder in [] if files else places:
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not ignored(path.name))
        inside = {place: _called_like(args.pattern, images_of(place)) for place in (folder, *below)}
        beside = [place for place in below if inside[place]] if inside[folder] else []
        left_out = _left_out(folder, beside) if beside else ""
        if not below and not inside[folder]:
            reason = f"no images{wanted} in {folder} or in the folders below it{_instead(folder)}"
            failed.append((name_of(folder), reason))
        for place in [folder] if inside[folder] else below:
            images = inside[place]
            if not images:
                reason = f"{place} holds no images{wanted}; a stack has two or more{_instead(place)}"
                failed.append((name_of(place), reason))
                continue
            others += other_files(place)
            stacks = _stacks_of(name_of(place), images, args.images_per_stack, failed, left_out)
            notices += [left_out] if left_out and stacks else []
            scenes += stacks
    if others:
        kinds = ", ".join(sorted({path.suffix.lower() or path.name for path in others}))
        notices.append(f"files that are no images by name are left out: {kinds}; {others[0]} for one")
    if not scenes:
        more = f" (and {len(failed) - 1} more are no stacks either)" if len(failed) > 1 else ""
        raise ImageError(f"{failed[0][1]}{more}" if failed else f"no images in {places[0]} or in the folders below it")
    scenes = _called_apart(scenes)
    if not one_file and ends_like_a_file(args.out):
        suffixes = ", ".join(RESULT_SUFFIXES)
        raise ValueError(f"-o {args.out}: one stack is written to a file ending in {suffixes}, several to a folder")
    if not files:
        _refuse_to_add(args.out, places, one_file)
    if one_file and len(scenes) > 1:
        raise ValueError(f"-o {args.out} is one file, but there are {len(scenes)} stacks; give a folder")
    folder = SceneFolder("stacks", tuple(dict.fromkeys(path.parent for scene in scenes for path in scene.paths)))
    save_dir = args.out.parent if one_file else args.out
    work = Work(folder, tuple(scenes), (), save_dir, args.out if one_file else None)
    refuse_to_overwrite(work)
    return work, failed, notices


def _called_apart(scenes: Sequence[Scene]) -> list[Scene]:
    """Stacks of which those of one name have the names of the folders that they lie in before it, as far as needed.

    Raises:
        ImageError: some are called alike, since they lie in one folder.
    """
    names = [scene.stem for scene in scenes]
    above = [list(file_of(scene.paths[0]).absolute().parent.parts[1:]) for scene in scenes]
    for name, folders in zip(names, above):
        if folders and folders[-1] == name:
            folders.pop()  # the stack is called by its folder
    twice = {name for name, count in Counter(names).items() if count > 1}
    alike = [number for number, name in enumerate(names) if name in twice]
    while alike:
        if not all(above[number] for number in alike):
            raise ImageError(f"several stacks are called {', '.join(sorted(twice))}; fuse them one by one")
        for number in alike:
            names[number] = f"{above[number].pop()}_{names[number]}"
        counts = Counter(names)
        alike = [number for number, name in enumerate(names) if counts[name] > 1]
    return [replace(scene, stem=name) for scene, name in zip(scenes, names)]


def _called_like(pattern: str | None, images: Sequence[Path]) -> list[Path]:
    """The images whose names, with or without suffix, fit a pattern, in which capital letters do not matter."""
    if pattern is None:
        return list(images)
    whole = pattern.casefold()
    names = ((path, (path.name.casefold(), path.stem.casefold())) for path in images)
    return [path for path, both in names if any(fnmatchcase(name, whole) for name in both)]


def _listed(place: Path) -> list[Path]:
    """A file or folder, or, of a pattern that the shell has left alone, those that it stands for."""
    if place.exists():
        return [place]
    found = sorted(place.parent.glob(place.name)) if "*" in place.name else []
    found = [path for path in found if not path.name.startswith(".")]
    if not found and "*" in str(place.parent):
        raise ValueError(
            f"{place}: a pattern is for the files of one folder; for those of many folders give the folder that holds "
            f"them, and --pattern {shlex.quote(place.name)}"
        )
    if not found:
        raise ImageError(f"{place}: no such file or folder")
    return found


def _stacks_of(
    name: str, images: Sequence[Path], number: int | None, failed: list[tuple[str, str]], remark: str = ""
) -> list[Scene]:
    """The stack of some images, or those of `number` images each, or, of TIFF files of several pages, one each.

    What is none is added to `failed`.
    """
    try:
        inside = {path: stacks_in(path) for path in images}
    except ImageError as error:
        failed.append((name, told(error)))
        return []
    if all(inside.values()) and number is None:
        one = len(images) == 1
        return [
            Scene((name if one else path.stem) + channel, pages)
            for path, stacks in inside.items()
            for channel, pages in stacks.items()
        ]
    several = next((path for path, stacks in inside.items() if stacks), None)
    alike = _called_alike(images)
    if several is not None:
        pages = len(next(iter(inside[several].values())))
        beside = "which --images_per_stack does not cut" if number else "and other files beside it have one page"
        reason = f"{several} is a stack of {pages} pages, {beside}; take it out"
    elif len(images) < 2:
        reason = f"{images[0]} is one image; a stack has two or more"
    elif alike:
        one, other = alike
        reason = (
            f"{one} and {other.name} are called alike, as one image in two formats; take one of them, in all folders, "
            f"by --pattern {shlex.quote('*' + one.suffix)} or --pattern {shlex.quote('*' + other.suffix)}"
        )
    elif number and (lost := _lost_shot(images, number)):
        reason = lost
    elif number and len(images) % number:
        reason = (
            f"the {len(images)} images of {images[0].parent} are not a whole number of stacks of {number} "
            "(--images_per_stack); take out what belongs to none"
        )
    elif number:
        starts = range(0, len(images), number)
        return [Scene(images[start].stem, tuple(images[start : start + number])) for start in starts]
    else:
        return [Scene(name, tuple(images))]
    failed.append((name, f"{reason}; {remark}" if remark else reason))
    return []


def _lost_shot(images: Sequence[Path], number: int) -> str:
    """Where the exposures of brackets of `number` images, as EXIF states them, do not go on as they began; '' nowhere.

    They are compared with the first one of each bracket: scenes may be exposed differently as a whole.
    """
    try:
        biases = [exposure_bias(path) for path in images]
    except ImageError:  # a file that cannot be read; its stack fails
        return ""
    if None in biases:
        return ""
    stacks = [biases[start : start + number] for start in range(0, len(biases), number)]
    for place, stack in enumerate(stacks):
        if any(abs((one - stack[0]) - (other - biases[0])) > _SAME_EXPOSURE for one, other in zip(stack, biases)):
            here, first = (", ".join(f"{bias:+.1f}" for bias in one) for one in (stack, stacks[0]))
            return (
                f"{images[place * number]} and what follows it were exposed by {here} EV, the first {number} images by "
                f"{first} (--images_per_stack): shots are missing there or before, or images of other stacks are among "
                "them; take the images of incomplete stacks out, or fuse each scene by itself"
            )
    return ""


def _called_alike(images: Sequence[Path]) -> tuple[Path, Path] | None:
    """The first two images of one folder whose names differ in nothing but their suffix."""
    known: dict[tuple[Path, str], Path] = {}
    for path in images:
        other = known.setdefault((path.parent, path.stem), path)
        if other.suffix != path.suffix:
            return other, path
    return None


def _instead(folder: Path) -> str:
    """What files a folder without images holds."""
    kinds = sorted({path.suffix.lower() for path in other_files(folder) if path.suffix})
    return f"; its files, ending in {', '.join(kinds)}, are not read: export them as TIFF, PNG or JPEG" if kinds else ""


def _refuse_to_add(out: Path, stacks: Sequence[Path], one_file: bool) -> None:
    """Raise ImageError where a result would be an image of a stack, or the results a stack, the next time."""
    place = real_path(out).parent if one_file else real_path(out)
    for folder in stacks:
        if place == real_path(folder) or (place.parent == real_path(folder) and not images_of(folder)):
            raise ImageError(
                f"results would lie among the sources in {folder} and be taken for such the next time; choose another "
                "folder for them"
            )


def _left_out(folder: Path, beside: Sequence[Path]) -> str:
    """What to say of a folder of images that also has folders of images in it."""
    names = first_of([place.name for place in beside])
    return (
        f"{folder} is taken for one stack since it holds images itself, and its folders {names} are left out; if these "
        "are the stacks, move the images out of it"
    )


def _dry_run(
    args: argparse.Namespace,
    fuser: inference.Fuser,
    work: Work,
    failed: list[tuple[str, str]],
    notices: list[str],
    options: inference.StackOptions,
    settings: str,
) -> int:
    """Read all stacks, one image at a time, and say what would come of them."""
    planned: list[dict[str, Any]] = []
    skipped: list[str] = []
    journal = journal_of(work.save_dir, settings, args.resume)
    for scene in tqdm(work.scenes, "stacks", unit="stack", disable=True if args.json else None):
        if args.resume and journal.finished(scene):
            skipped.append(scene.stem)
            continue
        try:
            depth, of_stack = inference.plan_stack(fuser, scene.paths, options)
            result = work.result(scene, depth)
            inference.check_result(result, depth)
        except (ValueError, OSError, MemoryError, cv2.error) as error:
            failed.append((scene.stem, told(error)))
            continue
        planned.append({"name": scene.stem, "images": len(scene.paths), "result": str(result), "notices": of_stack})
    failed += inference.unwritable(work.save_dir)
    if args.json:
        say_report({"dry_run": True, "task": args.task, "planned": planned, "skipped": skipped}, failed, notices)
        return int(bool(failed))
    for one in planned:
        say(printable(f"  {one['name']}: {one['images']} images -> {one['result']}"))
    _say_notices_of(planned)
    say_few("  would fail", failed)
    say_few("notice", (("", notice) for notice in notices))
    before = f", {len(skipped)} finished before" if skipped else ""
    say(f"{len(planned)} would be fused{before}, {len(failed)} would fail; nothing was written")
    return int(bool(failed))


def _row(scene: Scene, fused: inference.FusedStack, target: Path) -> dict[str, Any]:
    return {
        "name": scene.stem,
        "images": len(scene.paths),
        "used": fused.used,
        "result": str(target),
        "notices": fused.notices,
        "largest_shift": round(max(fused.shifts, default=0.0), 2),
    }


def _tell(
    args: argparse.Namespace,
    fuser: inference.Fuser,
    rows: list[dict[str, Any]],
    failed: list[tuple[str, str]],
    notices: list[str],
    work: Work,
    seconds: float,
) -> None:
    """Print what became of the stacks."""
    network = f"{fuser.precision} on {fuser.device}"
    fused = [row for row in rows if "skipped" not in row]
    if args.json:
        values = {"task": args.task, "network": network, "stacks": rows, "seconds": round(seconds, 3)}
        say_report(values, failed, notices)
        return
    for row in fused:
        moved = f", moved by up to {row['largest_shift']} pixels" if row["largest_shift"] else ""
        say(printable(f"  {row['name']}: {row['used']} of {row['images']} images{moved} -> {row['result']}"))
    _say_notices_of(fused)
    before = f", {len(rows) - len(fused)} finished before" if len(rows) > len(fused) else ""
    pace = f", {seconds / len(fused):.2f} s per stack in {network}" if fused else ""
    place = f" -> {printable(work.file or work.save_dir)}" if rows else ""
    say(f"{counted(len(fused), 'stack')} fused{pace}{before}, {len(failed)} failed{place}")
    say_few("  failed", failed)
    say_few("notice", (("", notice) for notice in notices))


def _say_notices_of(rows: Sequence[dict[str, Any]]) -> None:
    """Print the notices of stacks, with their names where there are several."""
    say_few("  notice", ((row["name"] if len(rows) > 1 else "", notice) for row in rows for notice in row["notices"]))
