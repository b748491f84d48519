"""`adasffuse fuse`: two files, two folders, or the pairs of one folder, to one image each."""

from __future__ import annotations  # names of `inference` load PyTorch where they are used

import argparse
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adasffuse import inference
from adasffuse.choices import AXES, RESAMPLED
from adasffuse.cli.arguments import (
    ReportingParser,
    add_align_options,
    add_fusing_options,
    add_metadata_option,
    add_palette_option,
    add_source_options,
    aligner_from,
    fuser_from,
    given_path,
    ranges_of,
    refuse_pairing_options,
    refuse_palette_of_ct,
    words_of_source,
)
from adasffuse.cli.shared import failures, run_shared, say_few
from adasffuse.cli.task_script import print_report, score
from adasffuse.files import check_outputs, name_of
from adasffuse.images.folders import images_of
from adasffuse.images.formats import is_radiometric
from adasffuse.images.frames import ONLY_VIDEO_SUFFIXES
from adasffuse.images.image import ImageError
from adasffuse.images.pairs import SceneFolder, SceneProblem, find_scenes
from adasffuse.images.patterns import is_tree
from adasffuse.images.trees import Groups, find_groups, hold_volumes, in_order_of_task, tree_below
from adasffuse.images.volumes import holds_volumes, is_volume, stem_of, volumes_of
from adasffuse.inference.work import (
    RESULT_SUFFIXES,
    Work,
    find_work,
    work_of_camera,
    work_of_files,
    work_of_groups,
    work_of_volumes,
)
from adasffuse.messages import printable
from adasffuse.process import say, say_all_notices
from adasffuse.registration.aligner import GRIDS, IGNORE, POSITION, Aligner
from adasffuse.tasks import TASKS, Task, guess_task

DESCRIPTION = """Fuse registered images: two files, two folders, the pairs of one folder, or a thermal camera's files.

  adasffuse fuse ir.png vis.png -o fused.png
  adasffuse fuse infrared visible -o fused                               files of equal names are a pair
  adasffuse fuse "cam/IR_*.jpg" "cam/VIS_*.jpg" -o fused                 what * stands for tells the pairs
  adasffuse fuse cam --pattern_a "IR_*" --pattern_b "VIS_*" -o fused     the same, of any suffix
  adasffuse fuse "data/*/pet" "data/*/mri" -o fused                      a folder for each scene, or patient
  adasffuse fuse shot.jpg -o fused.png                                   FLIR radiometric JPEG with a photograph inside
  adasffuse fuse ct.nii.gz mri.nii.gz -o fused.nii.gz                    volumes on one grid, or DICOM series; also
                                                                         two folders of volumes or of series
  adasffuse fuse DATA/test/IVF -o fused                                  its folders infrared and visible
"""
EPILOG = """Exit status: 0 everything was fused, 1 something failed and is named (the rest was fused), 2 impossible
arguments.  Several processes: torchrun --nproc_per_node 4 -m adasffuse fuse A B -o OUT."""
_MAGIC = "*?["
_REGISTER_VOLUMES = (
    "--resample b brings the first to the voxels of the second, by where both lie in space; where the patient moved in "
    "between, register them with other software first"
)


@dataclass(frozen=True)
class Given:
    """What the arguments name as sources."""

    paths: tuple[Path, ...]  # files, or folders, one per source; of a tree the patterns
    patterns: tuple[str | None, ...]  # of the files in folders
    files: bool  # whether the paths are files
    camera: bool = False  # each file is a pair by itself, and the paths are equal
    tree: tuple[Groups, list[SceneProblem]] | None = None  # what lies in many folders, see `find_groups`


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    prog = prog or "adasffuse fuse"
    parser = ReportingParser(
        prog,
        usage=f"{prog} A B -o OUT [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sources",
        nargs="+",
        type=given_path,
        metavar="A B",
        help="files or folders of source A and of source B, in the order of --task. A quoted name with one * is a "
        "folder and a pattern. More than two folders: one per source. FLIR radiometric JPEG files are pairs "
        "alone",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=given_path,
        required=True,
        metavar="OUT",
        help=f"result of two files: a file ({', '.join(RESULT_SUFFIXES)}; of volumes .nii.gz) or an existing folder; "
        "results of folders: a folder, made if it is missing",
    )
    parser.add_argument(
        "--task",
        type=str.lower,
        choices=TASKS,
        help="; ".join(f"{task.id}: {task.title}" for task in TASKS.values())
        + " (default: what the names say, such as ir and vis)",
    )
    running = parser.add_argument_group("running")
    running.add_argument(
        "--dry_run",
        action="store_true",
        help="read all files and say what would be done and what would fail; write nothing",
    )
    running.add_argument(
        "--resume",
        action="store_true",
        help="skip results of an earlier run that are as it wrote them, if sources and settings are the same",
    )
    running.add_argument("--json", action="store_true", help="report as JSON on standard output")
    running.add_argument("--scores", action="store_true", help="score the results, and simple methods beside them")
    results = parser.add_argument_group("results")
    results.add_argument(
        "--panel",
        action="store_true",
        help="also write sources and result side by side: OUT/panels/NAME.png; of volumes a few slices",
    )
    add_palette_option(results)
    add_metadata_option(results, "the source that gives the colour")
    add_fusing_options(parser, results=results)
    add_source_options(parser, parser.add_argument_group("reading the sources"))
    registration = parser.add_argument_group("registration")
    add_align_options(registration)
    registration.add_argument(
        "--resample",
        choices=RESAMPLED,
        default=RESAMPLED[0],
        help="whose voxels, or pixels of DICOM slices and GeoTIFF files, both sources get, by where they lie; nothing "
        "is estimated; ignore: equal ones are fused wherever the files say that they lie, as of sources that were "
        "registered and kept their old headers (default: %(default)s, they must lie in the same places)",
    )
    volumes = parser.add_argument_group("volumes")
    volumes.add_argument(
        "--axis",
        choices=AXES,
        default=AXES[0],
        help="which slices are fused, by the axes of the voxels that are nearest; third: along the third of these axes "
        "(default: %(default)s)",
    )
    return parser


def parse_args(argv: Sequence[str] | None, prog: str | None = None) -> argparse.Namespace:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    count = len(args.sources)
    if count > 2 and (args.pattern_a or args.pattern_b):
        parser.error("--pattern_a and --pattern_b are for one folder, or two")
    if count > 2 and args.scores:
        parser.error("--scores needs two sources")
    if args.scores and (args.align != "none" or args.calibration or args.resample != "none"):
        parser.error("--scores needs sources that are aligned as they are stored: adasffuse align A B -o DIR")
    if args.scores and args.palette != "none":
        parser.error("--scores needs sources as they are stored; leave --palette out")
    if args.dry_run and args.scores:
        parser.error("--dry_run fuses nothing; there is nothing to score")
    return args


def run(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Fuse as the arguments say; the exit status: 0 only if everything was fused."""
    args = parse_args(argv, prog)
    return run_shared(partial(_run, args), args.json)


def _run(args: argparse.Namespace, ranks: inference.Ranks) -> int:
    a_volume = any(map(is_volume, (args.out, *(path for path in args.sources if "*" not in str(path)))))
    one_pair = a_volume and not any(map(is_tree, args.sources))
    given = None if one_pair else find_given(args)
    if one_pair or _are_volumes(given):
        return _fuse_volumes(args, given, ranks)
    if args.axis != AXES[0]:
        raise ValueError("--axis is for volumes")
    work = _work(args, given)
    if not args.dry_run:
        _check_places(args, work)
    task, reason = _task(args, given)
    count = len(given.paths)
    task.check_count(count)
    spec_a, spec_b = ranges_of(args)
    wanted = inference.WantedResults(
        ranges=(spec_a, *[spec_b] * (count - 1)),
        no_data=(args.no_data_a, *[args.no_data_b] * (count - 1)),
        depth=args.depth,
        stretch=args.stretch,
        panels=args.panel,
        align=_aligner(args, task, given),
        metadata=args.keep_metadata,
        grid=args.grid or GRIDS[0],
        palette=args.palette,
    )
    return _carry_out(args, work, wanted, task, reason, ranks)


def _carry_out(
    args: argparse.Namespace,
    work: Work,
    wanted: inference.WantedResults | inference.WantedVolumes,
    task: Task,
    reason: str,
    ranks: inference.Ranks,
) -> int:
    """Fuse, or, for --dry_run, plan, and print what came of it; the exit status."""
    plan_work = inference.plan_volume_pairs if work.volumes else inference.plan_scenes
    fuse_work = inference.fuse_volume_pairs if work.volumes else inference.fuse_scenes
    fuser = fuser_from(args, task.id)
    if ranks.main and not args.json:
        say(f"task {task.id}, {task.title} ({reason})")
    if args.dry_run:
        return _tell_plan(plan_work(fuser, work, wanted, args.resume), fuser, args, work.volumes) if ranks.main else 0
    report = fuse_work(fuser, work, wanted, resume=None if work.file else args.resume, ranks=ranks)
    if ranks.main:
        _tell(report, fuser, work, args)
    return int(bool(report.failed))


def _fuse_volumes(args: argparse.Namespace, given: Given | None, ranks: inference.Ranks) -> int:
    """Fuse NIfTI volumes, or DICOM series, slice by slice: two of them where `given` is None, else those of folders."""
    asked = ("scores", "stretch", "calibration", "grid")
    refused = [name for name in asked if getattr(args, name)]
    refused += [name for name in ("no_data_a", "no_data_b") if getattr(args, name) is not None]
    refused += [name for name in ("align", "keep_metadata") if getattr(args, name) != "none"]
    if refused:
        registers = any(name in refused for name in ("align", "calibration"))
        cure = f"; {_REGISTER_VOLUMES}" if registers else ""
        raise ValueError(f"--{refused[0]} is not for volumes{cure}")
    count = len(args.sources if given is None else given.paths)
    if count != 2:
        raise ValueError(f"volumes are fused two at a time, got {count}")
    of_folders = [name for name in ("resume", "pattern_a", "pattern_b", "within") if getattr(args, name)]
    if given is None and of_folders:
        raise ValueError(f"--{of_folders[0]} is for folders of volumes")
    work = work_of_volumes(args.sources, args.out) if given is None else _find_work(args, given, volumes=True)
    if not args.dry_run:
        _check_places(args, work)
    task, reason = _task_of_volumes(args, given)
    wanted = inference.WantedVolumes(ranges_of(args), args.depth, args.axis, args.resample, args.palette, args.panel)
    return _carry_out(args, work, wanted, task, reason, ranks)


def _are_volumes(given: Given) -> bool:
    """Whether folders hold volumes and no images, or a tree any volumes."""
    if given.tree is not None:
        return hold_volumes(given.tree[0])
    return not given.files and any(map(_holds_only_volumes, given.paths))


def _holds_only_volumes(folder: Path) -> bool:
    """Whether a folder holds volumes, and no images."""
    return not images_of(folder) and holds_volumes(folder)


def _volume_values(one: inference.PlannedVolumes) -> dict[str, Any]:
    """A pair of volumes that would be fused as JSON values."""
    plan = one.plan
    shape = list(plan.shape)
    return {
        "voxels": list(map(list, plan.stored)),
        "mm": [[round(step, 4) for step in steps] for steps in plan.voxels],
        "ranges": list(map(list, plan.windows)),
        "shape": shape,
        "axis": plan.axis,
        "slices": shape[plan.axis],
        "slice": shape[: plan.axis] + shape[plan.axis + 1 :],
        "depth": plan.depth,
        "palette": plan.palette,
    }


def _volume_lines(one: inference.PlannedVolumes) -> list[str]:
    """What is said of a pair of volumes that would be fused."""
    plan, values = one.plan, _volume_values(one)
    sources = " + ".join(
        f"{path.name} ({_sizes(shape)} voxels of {_sizes(mm)} mm, {low:g} to {high:g})"
        for path, shape, mm, (low, high) in zip(one.scene.paths, values["voxels"], values["mm"], plan.windows)
    )
    kind = "gray" if plan.palette == "none" else f"RGB, source A in {plan.palette!r}"
    depth = "float" if plan.depth == "float" else f"{plan.depth} bits"
    slices = f"{values['slices']} slices of {_sizes(values['slice'])}"
    note = ", replaced" if one.replaces else ""
    return [
        f"  {one.scene.stem}: {sources} -> {one.result}{note}",
        f"  the result: {_sizes(plan.shape)} voxels, {depth}, {kind}; {slices} are fused",
    ]


def _sizes(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)


def find_given(args: argparse.Namespace) -> Given:
    """The files or folders that the arguments name.

    Raises:
        ImageError: nothing is there, or a video; files and folders are mixed; or there are more than two files.
        ValueError: an option, or a pattern, does not suit what is given.
    """
    patterns = [args.pattern_a, args.pattern_b]
    if any(map(is_tree, args.sources)):
        if any(patterns) or len(args.sources) < 2:
            raise ValueError(
                f"{next(filter(is_tree, args.sources))} is a pattern; give one for each source, and no other"
            )
        return Given(tuple(args.sources), (None,) * len(args.sources), files=False, tree=find_groups(args.sources))
    paths, found = [], []
    for number, path in enumerate(args.sources):
        option = patterns[number] if number < 2 else None
        if not path.exists() and any(sign in str(path) for sign in _MAGIC):
            if not _is_pattern(path.name) or (any(s in str(path.parent) for s in _MAGIC) and not path.parent.is_dir()):
                raise ValueError(
                    f"{path}: a pattern has one '*', in the name of the files, and no other sign of {_MAGIC}"
                )
            if option:
                raise ValueError(f"{path} is a pattern itself; leave --pattern_{'ab'[number]} out")
            path, option = path.parent, path.name
        if not path.exists():
            raise ImageError(f"{path}: no such file or folder")
        if path.is_file() and path.suffix.lower() in ONLY_VIDEO_SUFFIXES:
            raise ImageError(f"{path} is a video: adasffuse video A B -o OUT.mp4")
        paths.append(path)
        found.append(option)
    if len(paths) == 1:
        given = _given_by_one(paths[0], found[0], patterns[1])
        if given.camera and (given.files or args.within is not None):
            refuse_pairing_options(args)
        return given
    folders = [path.is_dir() for path in paths]
    if any(folders) and not all(folders):
        file, folder = paths[folders.index(False)], paths[folders.index(True)]
        raise ImageError(f"{file} is a file and {folder} a folder; give two files or two folders")
    if all(folders):
        return Given(tuple(paths), tuple(found), files=False)
    if len(paths) > 2:
        raise ImageError(
            f'got {len(paths)} files; quote patterns ("cam/*.png") so that the shell leaves them alone, give two '
            "folders, or fuse a stack with adasffuse stack"
        )
    refuse_pairing_options(args)
    return Given(tuple(paths), tuple(found), files=True)


def _given_by_one(place: Path, pattern: str | None, other: str | None) -> Given:
    """What one file or folder holds; errors as `find_given`.

    Args:
        pattern, other: of the files of source A and of source B.
    """
    if not place.is_dir():
        if not is_radiometric(place):
            raise ImageError(
                f"{place} is one file; give two files, two folders, or a folder and two patterns; only a FLIR "
                "radiometric JPEG is a pair by itself"
            )
        return Given((place, place), (None, None), files=True, camera=True)
    if not (pattern or other):
        sets = _source_folders(place)
        if len(sets) == 1:
            return Given(sets[0], (None, None), files=False)
        _refuse_several_sets(place)
        _refuse_a_tree(place)
        _refuse_unknown_sources(place)
    if not other and not _holds_only_volumes(place) and _holds_camera_pairs(place, pattern):
        return Given((place, place), (pattern, None), files=False, camera=True)
    images = images_of(place)
    sources = images or list(volumes_of(place))
    if len(sources) == 2 and not (pattern or other):
        names = " ".join(map(shlex.quote, in_order_of_task([str(path) for path in sources])[0]))
        noun = "images" if images else "volumes"
        raise ImageError(f"{place} holds two {noun}; name them, in order: {names}")
    return Given((place, place), (pattern, other), files=False)


def _holds_camera_pairs(folder: Path, pattern: str | None) -> bool:
    """Whether the images of a folder that fit the pattern are FLIR's radiometric JPEGs, each a pair by itself.

    Empty files say nothing; they fail by name where the others are fused.

    Raises:
        ImageError: some are and others are not.
    """
    files = [scene.paths[0] for scene in find_scenes((folder,), (pattern,))[0]]
    files = [path for path in files if path.stat().st_size]
    other = [path for path in files if not is_radiometric(path)]
    if other and len(other) < len(files):
        one = next(path for path in files if path not in other)
        raise ImageError(
            f"{folder}: {len(files) - len(other)} of its images are radiometric JPEGs ({one.name}), each a pair by "
            f"itself, {len(other)} are not ({other[0].name}); name the former by a pattern in quotes, such as "
            f'"{folder}/FLIR*.jpg", or the files of both sources by --pattern_a and --pattern_b'
        )
    return bool(files) and not other


def _source_folders(folder: Path) -> list[tuple[Path, ...]]:
    """The folders of a task's sources in the folder of a data set: infrared and visible, for one."""
    names = dict.fromkeys(sources.folders for task in TASKS.values() for sources in task.sources)
    sets = [tuple(folder / name for name in group) for group in names]
    return [paths for paths in sets if all(path.is_dir() for path in paths)]


def _refuse_several_sets(folder: Path) -> None:
    """Raises ImageError for a folder of data sets, such as DATA/test."""
    places = sorted(path for depth in ("*/", "*/*/") for path in folder.glob(depth))  # MIF/CT-MRI lies deeper
    below = [path for path in places if _source_folders(path)]
    if below:
        names = ", ".join(path.relative_to(folder).as_posix() for path in below)
        patterns = _in_quotes(tree_below(folder))
        every = f", or their sources by patterns: {patterns}" if patterns else ""
        raise ImageError(f"{folder} is a folder of data sets ({names}); give one of them, such as {below[0]}{every}")


def _refuse_a_tree(folder: Path) -> None:
    """Raises ImageError for a folder of a folder for each scene, such as data/p1/{pet,mri}."""
    words = _in_quotes(tree_below(folder))
    if words:
        raise ImageError(
            f"{folder} holds a folder for each scene; name both sources by patterns in quotes, in order: {words}"
        )


def _refuse_unknown_sources(folder: Path) -> None:
    """Raises ImageError for a folder whose images lie in two folders or more below it, such as rig/{thermal,rgb}."""
    holding = (path for path in folder.glob("*/") if images_of(path) or holds_volumes(path))
    below = [] if images_of(folder) or holds_volumes(folder) else sorted(holding)
    if len(below) > 1:
        places = list(map(str, below))
        names = " ".join(map(shlex.quote, in_order_of_task(places)[0] if len(places) == 2 else places))
        stacks = (
            f"; if each is a stack of one scene: adasffuse stack {shlex.quote(str(folder))}" if len(below) > 2 else ""
        )
        raise ImageError(f"{folder} holds no images itself; name the folders of the sources, in order: {names}{stacks}")


def _in_quotes(patterns: Sequence[Path]) -> str:
    return " ".join(f'"{pattern}"' for pattern in patterns)


def _is_pattern(name: str) -> bool:
    return name.count("*") == 1 and not any(sign in name for sign in "?[")


def _task(args: argparse.Namespace, given: Given) -> tuple[Task, str]:
    """The task, and who said so."""
    if given.camera:
        if args.task not in (None, "ivf"):
            raise ValueError(f"--task {args.task}: a radiometric JPEG alone holds an infrared and a visible image; ivf")
        return TASKS["ivf"], "a radiometric JPEG holds both"
    if args.task:
        return TASKS[args.task], "as --task says"
    guess = _guess(args, *map(words_of_source, given.paths[:2], given.patterns[:2]))
    if guess is None:
        tasks = ", ".join(f"{task.id} ({task.title})" for task in TASKS.values())
        raise ValueError(f"the names do not tell what is fused; say --task with one of {tasks}")
    return guess


def _task_of_volumes(args: argparse.Namespace, given: Given | None) -> tuple[Task, str]:
    """The task of volumes, and who said so."""
    if args.task:
        return TASKS[args.task], "as --task says"
    guess = None
    if given is not None:
        guess = _guess(args, *map(words_of_source, given.paths[:2], given.patterns[:2]))
    elif len(args.sources) == 2:
        guess = _guess(args, *([stem_of(path), path.absolute().parent.name] for path in args.sources))
    return guess or (TASKS["mif"], "that of volumes whose names tell no other; --task changes it")


def _guess(args: argparse.Namespace, first: Sequence[str], second: Sequence[str]) -> tuple[Task, str] | None:
    """The task that the names of both sources tell, and how, or None; ValueError where they tell a CT in a palette."""
    guess = guess_task(first, second)
    if guess is None:
        return None
    task, word_a, word_b = guess
    refuse_palette_of_ct(args.palette, word_a, f"say --task {task.id} if they mislead")
    return task, f"the names say {word_a} and {word_b}; --task changes it"


def _aligner(args: argparse.Namespace, task: Task, given: Given) -> Aligner | None:
    """What brings both sources to one grid; errors as `aligner_from`."""
    aligner = aligner_from(args, task.id, given.camera)
    if args.resample == RESAMPLED[0]:
        return aligner
    if aligner is not None or args.grid:
        raise ValueError(
            "--resample goes by where the files say that they lie; leave out --align, --calibration and --grid"
        )
    return Aligner(IGNORE) if args.resample == IGNORE else Aligner(POSITION, args.resample)


def _work(args: argparse.Namespace, given: Given) -> Work:
    """The scenes that the arguments name; errors as `find_work` and `work_of_files`."""
    if given.camera and args.scores:
        raise ValueError("--scores needs the sources as files: adasffuse extract FILES -o DIR")
    if given.files:
        if args.resume:
            raise ValueError("--resume is for folders; files are fused at once")
        out = args.out / f"{given.paths[0].stem}.png" if args.out.is_dir() else args.out
        return work_of_camera(given.paths[0], out) if given.camera else work_of_files(given.paths, out)
    if given.camera:
        return work_of_camera(given.paths[0], args.out, given.patterns[0])
    return _find_work(args, given)


def _find_work(args: argparse.Namespace, given: Given, volumes: bool = False) -> Work:
    """The scenes of folders; errors as `find_work`."""
    if given.tree is not None:
        return work_of_groups(
            SceneFolder(" + ".join(map(str, given.paths)), given.paths), *given.tree, args.out, volumes, args.within
        )
    name = " + ".join(dict.fromkeys(name_of(path) for path in given.paths))
    return find_work(SceneFolder(name, given.paths), args.out, given.patterns, volumes, args.within)


def _check_places(args: argparse.Namespace, work: Work) -> None:
    """Raise ValueError where results cannot be written as -o says."""
    if work.file is None:
        check_outputs(folders={"-o": work.save_dir})
    else:
        panel = work.panel(work.scenes[0]) if args.panel else None
        check_outputs({"-o": work.file, "--panel": panel})


def _tell_plan(plan: inference.Plan, fuser: inference.Fuser, args: argparse.Namespace, volumes: bool) -> int:
    """Print a plan, of volumes or of images; the exit status."""
    if args.json:
        say(json.dumps(_plan_values(plan, fuser, _volume_values if volumes else _image_values)))
        return int(bool(plan.failed))
    lines = _volume_lines if volumes else _image_lines
    for line in (line for one in plan.planned for line in lines(one)):
        say(printable(line))
    say_few("  would fail", plan.failed)
    say_few("notice", (("", notice) for notice in dict.fromkeys(plan.notices)))
    before = f", {len(plan.skipped)} finished before" if plan.skipped else ""
    say(f"{len(plan.planned)} would be fused{before}, {len(plan.failed)} would fail; nothing was written")
    return int(bool(plan.failed))


def _image_lines(one: inference.Planned) -> list[str]:
    """What is said of images that would be fused."""
    height, width = one.size
    sources = " + ".join(
        f"{path.name} ({'float' if depth == 'float' else depth + ' bits'}, {low:g} to {high:g})"
        for path, depth, (low, high) in zip(one.scene.paths, one.depths, one.windows)
    )
    note = ", replaced" if one.replaces else ""
    return [f"  {one.scene.stem}: {width}x{height}, {sources} -> {one.result}{note}"]


def _image_values(one: inference.Planned) -> dict[str, Any]:
    """Images that would be fused as JSON values."""
    return {
        "height": one.size[0],
        "width": one.size[1],
        "depths": list(one.depths),
        "ranges": [list(window) for window in one.windows],
    }


def _tell(report: inference.FolderReport, fuser: inference.Fuser, work: Work, args: argparse.Namespace) -> None:
    """Print the report and, where they are asked for, scores."""
    table = score(report, fuser.task.id) if args.scores and report.finished else None
    if args.json:
        values = _report_values(report, fuser, work, args.panel)
        if table:
            values["scores"] = json.loads(table.json())
        say(json.dumps(values))
        return
    print_report(report)
    if args.panel and report.finished:
        say(f"panels: {work.panel(report.finished[0]) if work.file else work.panel(report.finished[0]).parent}")
    if table:
        say_all_notices(table.notices)
        say(table.text())


def _plan_values(
    plan: inference.Plan, fuser: inference.Fuser, values: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    """A plan as JSON values; `values` gives those of one scene beside its files."""
    planned = [
        {
            "name": one.scene.stem,
            "sources": [str(path) for path in one.scene.paths],
            "result": str(one.result),
            **values(one),
            "replaces": one.replaces,
        }
        for one in plan.planned
    ]
    return {
        "ok": not plan.failed,
        "dry_run": True,
        "task": fuser.task.id,
        "network": f"{fuser.precision} on {fuser.device}",
        "planned": planned,
        "skipped": [scene.stem for scene in plan.skipped],
        "failed": failures(plan.failed),
        "notices": list(dict.fromkeys(plan.notices)),
    }


def _report_values(report: inference.FolderReport, fuser: inference.Fuser, work: Work, panels: bool) -> dict[str, Any]:
    """A report as JSON values."""

    def values(scene: Any) -> dict[str, Any]:
        files = {"name": scene.stem, "sources": list(map(str, scene.paths)), "result": str(report.files[scene.stem])}
        return files | ({"panel": str(work.panel(scene))} if panels else {})

    return {
        "ok": not report.failed,
        "task": fuser.task.id,
        "network": report.network,
        "fused": [values(scene) for scene in report.fused],
        "skipped": [values(scene) for scene in report.skipped],
        "failed": failures(report.failed),
        "notices": report.notices,
        "ranges": [list(window) if window else None for window in report.ranges],
        "seconds": round(report.seconds, 3),
    }
