"""`adasffuse fuse`: two files, two folders, or the pairs of one folder, to one image each."""

from __future__ import annotations  # names of `inference` load PyTorch where they are used

import argparse
from collections.abc import Sequence
from functools import partial

from adasffuse import inference
from adasffuse.choices import AXES, RESAMPLED
from adasffuse.cli.arguments import (
    ReportingParser,
    add_align_options,
    add_dry_run_option,
    add_fusing_options,
    add_json_option,
    add_metadata_option,
    add_out_option,
    add_palette_option,
    add_source_options,
    aligner_from,
    fuser_from,
    given_path,
    ranges_of,
    refuse_palette_of_ct,
    words_of_source,
)
from adasffuse.cli.fuse_report import tell, tell_plan
from adasffuse.cli.given import Given, are_volumes, find_given
from adasffuse.cli.shared import run_shared
from adasffuse.files import check_outputs, name_of
from adasffuse.images.pairs import SceneFolder
from adasffuse.images.patterns import is_tree
from adasffuse.images.volumes import is_volume, stem_of
from adasffuse.inference.work import (
    RESULT_SUFFIXES,
    Work,
    find_work,
    work_of_camera,
    work_of_files,
    work_of_groups,
    work_of_volumes,
)
from adasffuse.process import say
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
_REGISTER_VOLUMES = (
    "--resample b brings the first to the voxels of the second, by where both lie in space; where the patient moved in "
    "between, register them with other software first"
)


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    parser = ReportingParser(
        prog,
        usage="%(prog)s A B -o OUT [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
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
    add_out_option(
        parser,
        "OUT",
        f"result of two files: a file ({', '.join(RESULT_SUFFIXES)}; of volumes .nii.gz) or an existing folder; "
        "results of folders: a folder, made if it is missing",
        required=True,
    )
    parser.add_argument(
        "--task",
        type=str.lower,
        choices=TASKS,
        help="; ".join(f"{task.id}: {task.title}" for task in TASKS.values())
        + " (default: what the names say, such as ir and vis)",
    )
    running = parser.add_argument_group("running")
    add_dry_run_option(running)
    running.add_argument(
        "--resume",
        action="store_true",
        help="skip results of an earlier run that are as it wrote them, if sources and settings are the same",
    )
    add_json_option(running)
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
    if one_pair or are_volumes(given):
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
        return tell_plan(plan_work(fuser, work, wanted, args.resume), fuser, args, work.volumes) if ranks.main else 0
    report = fuse_work(fuser, work, wanted, resume=None if work.file else args.resume, ranks=ranks)
    if ranks.main:
        tell(report, fuser, work, args)
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
