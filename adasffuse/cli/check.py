"""Say what folders of images hold, and what is wrong with them.

  adasffuse check DATA                       all data sets below it, and near-duplicates between train/ and test/
  adasffuse check DATA/test/IVF              one data set
  adasffuse check thermal rgb --sheet s.png  two folders, and a contact sheet of their pairs
  adasffuse check images                     one folder

Names such as thermal and rgb tell the task, and whether the folders are in its order, as for 'adasffuse fuse'.
The report can be pasted into a bug report.  Exit status: 0, or 1 where there are problems; 2 impossible
arguments.
"""

import argparse
import json
import os
import platform
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from numpy import ndarray

from adasffuse.cli.arguments import (
    SourcesParser,
    add_pairing_options,
    check_report_name,
    given_path,
    split_patterns,
    words_of_source,
)
from adasffuse.cli.shared import ended_by, report_of
from adasffuse.data.survey import (
    Facts,
    SourceSurvey,
    Survey,
    data_sets,
    infrared_source,
    near_duplicates,
    sharper_share,
    survey_folders,
    table,
)
from adasffuse.files import check_outputs, replacing_all, write_text
from adasffuse.images.formats import is_radiometric
from adasffuse.images.image import ImageError
from adasffuse.images.notices import few_of_each, pick_evenly
from adasffuse.images.pairs import find_scenes
from adasffuse.images.panel import contact_sheet
from adasffuse.images.patterns import patterns_in
from adasffuse.images.read import uses_little
from adasffuse.images.trees import tree_below
from adasffuse.images.write import check_suffix, quantise, write_image
from adasffuse.messages import counted, printable
from adasffuse.process import say
from adasffuse.tasks import guess_task

_SHOWN = 20  # lines of problems or notices
_SHEET = 12  # scenes on a contact sheet


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = SourcesParser(prog=prog, description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="one folder, or one per source")
    add_pairing_options(parser)
    parser.add_argument(
        "--sheet", type=given_path, metavar="FILE", help="write a contact sheet of the pairs, a PNG file"
    )
    parser.add_argument("--json", type=given_path, metavar="FILE", help="also write the facts as JSON")
    return parser


def run(argv: list[str] | None = None, prog: str | None = None) -> int:
    """Print the report; the exit status: 0, or 1 where there are problems."""
    args = make_parser(prog).parse_args(argv)
    if len(args.folders) == 2:
        args.a, args.b = args.folders
        split_patterns(args, "a", "b")
        args.folders = [args.a, args.b]
    try:
        surveys = _surveys(args)
        check_report_name("--json", args.json, ".json")
        check_outputs({"--sheet": args.sheet, "--json": args.json}, inputs=_images(surveys))
        check_outputs({"--sheet": args.sheet}, inputs=[source.folder for one in surveys for source in one.sources])
        if args.sheet:
            check_suffix(args.sheet, "8")
        duplicates = _across_splits(surveys)
        say(_environment())
        for survey in surveys:
            say("\n" + _printable_lines(report(survey)))
        if duplicates is not None:
            say("\n" + _printable_lines(duplicates or ["near-duplicates between train and test: none"]))
        with replacing_all() as new:
            if args.sheet:
                write_image(new(args.sheet), _sheet(surveys))
            if args.json:
                write_text(new(args.json), json.dumps(_report(surveys, duplicates or []), indent=1) + "\n")
    except (ValueError, OSError) as error:
        return ended_by(error)
    if args.sheet:
        say(f"\ncontact sheet: {printable(args.sheet)}")
    return int(bool(duplicates) or any(survey.problems for survey in surveys))


def _images(surveys: Sequence[Survey]) -> list[Path]:
    """The files of all surveys."""
    return [facts.path for survey in surveys for source in survey.sources for facts in source.facts]


def _printable_lines(lines: Sequence[str]) -> str:
    return "\n".join(printable(line) for line in lines)


def _surveys(args: argparse.Namespace) -> list[Survey]:
    patterns = (args.pattern_a, args.pattern_b)
    for folder in args.folders:
        if folder.is_file():
            raise ImageError(
                f"{folder} is a file; folders are checked: give one of images or of data sets; of videos, "
                "adasffuse video A B --dry_run says what they are"
            )
        if not folder.is_dir():
            raise ImageError(f"{folder}: no such folder; give a folder of images or of data sets")
    if len(args.folders) > 1 or any(patterns):
        folders = args.folders * 2 if len(args.folders) == 1 else args.folders
        given = (*patterns, *[None] * len(folders))[: len(folders)] if any(patterns) else None
        guess, swapped = None, []
        try:
            guess = guess_task(*map(words_of_source, folders[:2], (given or patterns)[:2]))
        except ValueError as error:
            swapped = [f"adasffuse fuse refuses this order: {error}"]
        name, task = " + ".join(map(str, args.folders)), guess[0] if guess else None
        survey = survey_folders(folders, name, task, given, args.within)
        survey.problems += swapped
        return [survey]
    if args.within is not None:
        raise ValueError("--within pairs the files of two folders; give both")
    (root,) = args.folders
    sets = data_sets(root)
    if sets:
        return [survey_folders(folders, name, task) for name, task, folders in sets]
    patterns = " ".join(f'"{pattern}"' for pattern in tree_below(root))
    if patterns:
        raise ImageError(
            f"{root} holds a folder for each scene, and folders of sources are checked; what all of them hold says "
            f"adasffuse fuse {patterns} -o OUT --dry_run"
        )
    return [survey_folders([root], str(root))]


def report(survey: Survey) -> list[str]:
    """The survey of one data set as lines."""
    task = f" ({survey.task.title})" if survey.task else ""
    rows = table(survey)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [f"{survey.name}{task}"]
    lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    if len(survey.sources) > 1:
        lines.append(f"  pairs: {len(survey.pairs)}")
        found = infrared_source(survey)
        if found is not None and (survey.task is None or any(survey.task.thermal)):
            which = "infrared" if survey.task else "infrared, if one is"
            lines.append(f"  {which}: {survey.sources[found].folder.name}, by its lack of colour")
        share = sharper_share(survey)
        if survey.task is not None and survey.task.id == "mff" and share is not None:
            lines.append(f"  focus: the first image is the sharper one in {share:.0%} of the pairs")
    else:
        lines += _two_sources(survey.sources[0])
    alike = near_duplicates(survey.sources[0].facts)
    if alike:
        first, second, value = max(alike, key=lambda found: found[2])
        lines.append(
            f"  near-duplicates: {counted(len(alike), 'pair')} of images alike in {survey.sources[0].folder.name}, "
            "most of "
            f"all {first.path.name} and {second.path.name} ({value:.3f})"
        )
    for word, texts in (("problem", survey.problems), ("notice", survey.notices + _notices_of_files(survey))):
        told_of = few_of_each(("", text) for text in texts)
        lines += [f"  {word}: {text}" for text in told_of[:_SHOWN]]
        if len(told_of) > _SHOWN:
            lines.append(f"  {word}: and {len(told_of) - _SHOWN} more")
    return lines


def _two_sources(source: SourceSurvey) -> list[str]:
    """Lines on the pairs that the files of one folder make by their names, and how to fuse them; [] for none."""
    folder, facts = source.folder, {facts.path: facts for facts in source.facts}
    radiometric = [path for path in facts if is_radiometric(path)]
    if radiometric and len(radiometric) == len(facts):
        command = f"adasffuse fuse {shlex.quote(str(folder))} -o fused --range_a folder"
        return [
            "  radiometric JPEGs: each that has a photograph inside is a pair by itself",
            f"  to fuse them: {command}",
        ]
    patterns, count = patterns_in(list(facts))
    if not count:
        return []
    scenes, _ = find_scenes((folder, folder), patterns)
    pairs = [[facts[path] for path in scene.paths] for scene in scenes if all(path in facts for path in scene.paths)]
    sides = [[pair[k] for pair in pairs] for k in (0, 1)]
    gray = infrared_source(Survey("", None, [SourceSurvey(folder, None, facts=side) for side in sides]))
    lines = [f"  pairs by names: {count}, if {patterns[0]!r} and {patterns[1]!r} are two sources"]
    deep = [_needs_range(side, source.window) for side in sides]
    task = ""
    if guess_task(*(words_of_source(folder, pattern) for pattern in patterns)) is None:
        task = " --task TASK" if gray is None else " --task ivf"
        lines += [] if gray is None else [f"  infrared, if one is: {patterns[gray]!r}, by its lack of colour"]
        patterns, deep = (patterns[::-1], deep[::-1]) if gray == 1 else (patterns, deep)
    options = " ".join(f"--pattern_{side} {shlex.quote(pattern)}" for side, pattern in zip("ab", patterns))
    options += "".join(f" --range_{side} folder" for side, needed in zip("ab", deep) if needed)
    apart = any((one.height, one.width) != (other.height, other.width) for one, other in pairs)
    task += " --align affine" if apart else ""
    return [*lines, f"  to fuse them: adasffuse fuse {shlex.quote(str(folder))} {options}{task} -o fused"]


def _needs_range(side: Sequence[Facts], window: tuple[float, float] | None) -> bool:
    """Whether images need a range: floating point, or 16 bits of which `window`, lowest to highest, uses little."""
    depths = {one.depth for one in side}
    return "float" in depths or ("16" in depths and window is not None and uses_little(*window, (0, 65535)))


def _notices_of_files(survey: Survey) -> list[str]:
    """Notices of reading, each once with the number of files that it holds for."""
    found: dict[str, list[Path]] = {}
    for source in survey.sources:
        for facts in source.facts:
            for notice in facts.notices:
                found.setdefault(notice, []).append(facts.path)
    return [f"{paths[0].name}: {notice} ({counted(len(paths), 'file')})" for notice, paths in found.items()]


def _across_splits(surveys: Sequence[Survey]) -> list[str] | None:
    """Images of test/ that look like images of train/, of the same source folder; None without two splits."""
    splits: dict[str, list] = {"train": [], "test": []}
    for survey in surveys:
        for source in survey.sources:
            split = next((part for part in source.folder.parts[::-1] if part in splits), None)
            if split:
                splits[split].append(source)
    if not all(splits.values()):
        return None
    lines = []
    for tested in splits["test"]:
        for trained in splits["train"]:
            if tested.folder.name == trained.folder.name:
                lines += [
                    f"near-duplicate across splits: {one.path} and {other.path} ({value:.3f})"
                    for one, other, value in near_duplicates(tested.facts, trained.facts)
                ]
    return lines


def _sheet(surveys: Sequence[Survey]) -> ndarray:
    """Pairs of all data sets, a few of each; raises ImageError where no image can be read."""
    each = max(1, _SHEET // len(surveys))
    rows = []
    for survey in surveys:
        pairs = survey.pairs or [(facts,) for facts in survey.sources[0].facts]
        for pair in pick_evenly(pairs, each):
            cells = []
            for source, facts in zip(survey.sources, pair):
                pixels = quantise(source.read(facts.path).pixels, "8")
                cells.append((f"{survey.name}: {source.folder.name}/{facts.path.name}", pixels))
            rows.append(cells)
    if not rows:
        raise ImageError("--sheet: no image can be read, there is nothing to draw; leave it out")
    return contact_sheet(rows)


def _environment() -> str:
    """Versions, for a bug report."""
    packages = ("adasffuse", "torch", "numpy", "opencv-python-headless", "pillow")
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} (not installed by pip)")
    return f"{', '.join(versions)}; Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores"


def _report(surveys: Sequence[Survey], duplicates: Sequence[str]) -> dict:
    """All that was found as JSON values."""
    failed = [(survey.name, problem) for survey in surveys for problem in survey.problems]
    failed += [("train and test", line) for line in duplicates]
    notices = [f"{survey.name}: {notice}" for survey in surveys for notice in survey.notices]
    return report_of({"data_sets": [_plain(survey) for survey in surveys]}, failed, notices)


def _plain(survey: Survey) -> dict:
    """A survey as JSON values."""
    return {
        "name": survey.name,
        "task": survey.task.id if survey.task else None,
        "pairs": len(survey.pairs),
        "sources": [
            {
                "folder": str(source.folder),
                "window": source.window,
                "unreadable": source.unreadable,
                "files": [
                    {
                        "name": facts.path.name,
                        "height": facts.height,
                        "width": facts.width,
                        "depth": facts.depth,
                        "colour": facts.colorful,
                        "mean": facts.mean,
                        "contrast": facts.contrast,
                        "black": facts.black,
                        "white": facts.white,
                        "sharpness": facts.sharpness,
                        "noise": facts.noise,
                        "no_data": facts.missing,
                    }
                    for facts in source.facts
                ],
            }
            for source in survey.sources
        ],
    }
