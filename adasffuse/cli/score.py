"""Score fused images against their sources: a table on the terminal, and files and plots on request.

  adasffuse score ir vis a=results/a b=results/b --metrics all --csv s.csv
  adasffuse score ir/7.png vis/7.png fused.png
  adasffuse score "data/*/pet" "data/*/mri" fused                a folder for each scene, as of 'adasffuse fuse'
  adasffuse score --root_path data/test --dataset IVF --fused ours=results/IVF --baselines average,gff
  adasffuse score --explain VIFF

An image that is missing or damaged is named and left out; means and ranks are over the images that all methods have.
python test_fusion_metrics.py takes the same arguments.

Exit status: 0, or 1 where nothing could be scored, a method has no image at all or a file could not be written; 2
impossible arguments.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from adasffuse.classical.baselines import BASELINES
from adasffuse.cli.arguments import (
    SourcesParser,
    add_results_range_option,
    add_source_options,
    add_truth_options,
    at_least,
    check_report_name,
    check_truth_options,
    given_path,
    in_other_order,
    listed,
    ranges_of,
    refuse_pairing_options,
    results_ranges,
    split_patterns,
    task_by_names,
    thermal_by_names,
)
from adasffuse.cli.shared import ended_by
from adasffuse.files import check_outputs, name_of, write_text
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.inference.results import alone_in_folder
from adasffuse.messages import not_written
from adasffuse.metrics import CONVENTIONS, DEFAULT_METRICS, ScoreTable, explain
from adasffuse.metrics.cache import default_cache
from adasffuse.metrics.conventions import AGAINST_TRUTH, find_metric, scores_beside
from adasffuse.metrics.folder import score_folders
from adasffuse.metrics.job import Settings
from adasffuse.metrics.plots import figures, save_plots
from adasffuse.process import say, say_notices
from adasffuse.tasks import find_task

_REPORTS = {
    "csv": (".csv", "the scores of every image"),
    "json": (".json", "the scores of every image, means and ranks"),
    "markdown": (".md", "the table in Markdown"),
    "latex": (".tex", "the table in LaTeX"),
}  # option to the suffix of its file, and what it writes


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    parser = SourcesParser(
        prog,
        usage="%(prog)s A B [NAME=]FUSED ... [options]",
        description=__doc__,
    )
    parser.add_argument("places", nargs="*", metavar="A B [NAME=]FUSED", help="folders, or the files of one scene")
    sources = parser.add_argument_group("sources: A and B, or two folders, or a data set of a task")
    sources.add_argument("--source_a", type=Path, metavar="DIR", help="folder of source A")
    sources.add_argument("--source_b", type=Path, metavar="DIR", help="folder of source B")
    sources.add_argument("--root_path", type=Path, metavar="DIR", help="folder of data sets")
    sources.add_argument("--dataset", metavar="NAME", help="data set in it, such as IVF, IVF_MSRS or MIF/CT-MRI")
    add_source_options(parser, sources)
    what = parser.add_argument_group("what to score")
    what.add_argument(
        "--fused",
        nargs="+",
        default=[],
        metavar="[NAME=]DIR",
        help='results of a method: a folder, or "DIR/*_fused.png"',
    )
    add_results_range_option(what)
    what.add_argument(
        "--baselines",
        nargs="+",
        default=[],
        metavar="LIST",
        help=f"simple methods to fuse and score, too: {','.join(BASELINES)}",
    )
    add_truth_options(what)
    how = parser.add_argument_group("how to score")
    how.add_argument(
        "--metrics",
        nargs="+",
        default=list(DEFAULT_METRICS),
        metavar="LIST",
        help=f"metrics, separated by commas, or 'all' (default: {','.join(DEFAULT_METRICS)})",
    )
    how.add_argument(
        "--convention",
        default="adasffuse",
        choices=CONVENTIONS,
        help="definitions of the metrics; --explain tells how they differ (default: %(default)s)",
    )
    how.add_argument(
        "--per_channel",
        action="store_true",
        help="score R, G and B of coloured results and take the mean, as VIFB does",
    )
    how.add_argument("--workers", type=at_least(1), metavar="N", help="number of processes (default: all cores)")
    how.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        metavar="DIR",
        help="folder where scores are remembered (default: %(default)s)",
    )
    how.add_argument("--no_cache", action="store_true", help="remember nothing and compute everything anew")
    how.add_argument("--explain", metavar="METRIC", help="print what a metric means in each convention, and exit")
    output = parser.add_argument_group("output")
    for name, (_, content) in _REPORTS.items():
        output.add_argument(f"--{name}", type=given_path, metavar="FILE", help=f"write {content}")
    output.add_argument(
        "--plots", type=given_path, metavar="DIR", help="write a box plot per metric, and the ranks, as PNG"
    )
    return parser


def parse_args(argv: list[str] | None, prog: str | None = None) -> argparse.Namespace:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.places:
        if len(args.places) < 2 or args.source_a or args.source_b or args.root_path or args.dataset:
            parser.error("give A and B, then results; or else --source_a and --source_b, or --root_path and --dataset")
        args.source_a, args.source_b = map(Path, args.places[:2])
        args.fused = args.places[2:] + args.fused
    elif not args.explain and bool(args.source_a and args.source_b) == bool(args.root_path and args.dataset):
        parser.error("give either A and B, or --source_a and --source_b, or --root_path and --dataset")
    split_patterns(args, "source_a", "source_b")
    return args


def run(argv: list[str] | None = None, prog: str | None = None) -> int:
    """Score as the arguments say: files first, then the table on the terminal.

    Returns:
        The exit status, see the module's text.
    """
    args = parse_args(argv, prog)
    try:
        if args.explain:
            say(explain(find_metric(args.explain)))
            return 0
        for name, (suffix, _) in _REPORTS.items():
            check_report_name(f"--{name}", getattr(args, name), suffix, f".{name}")
        check_outputs({f"--{name}": getattr(args, name) for name in _REPORTS})
        check_outputs(folders={"--plots": args.plots}, inputs=_places(args))
        if args.plots:
            figures()  # missing libraries are found out before the work, not after it
        with alone_in_folder(args.plots) if args.plots else nullcontext():
            table = score(args)
            if args.cache is None and not args.no_cache:
                table.notices.append("no home folder is known: scores are not remembered; --cache DIR says where to")
            written = write_reports(table, args)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return ended_by(error)
    say_notices(table.notices)
    say(table.text() if table.rows else "\n".join(table.notes()))
    for method in table.empty_methods:
        reason = next(one.reason for one in table.unscored if one.method == method)
        say(f"error: no image of {method} could be scored: {reason}", sys.stderr)
    return 0 if written and table.rows and not table.empty_methods else 1


def _places(args: argparse.Namespace) -> list[Path]:
    """The files and folders that are scored, and those known beside them."""
    known = [args.source_a, args.source_b, args.reference, args.boxes]
    return [place for place in (*known, *methods(args.fused).values()) if place is not None]


def write_reports(table: ScoreTable, args: argparse.Namespace) -> bool:
    """Write the files asked for, each whole or not at all; whether all could be written."""
    written = True
    for name in _REPORTS:
        path = getattr(args, name)
        if path:
            try:
                write_text(path, getattr(table, name)())
            except OSError as error:
                say(f"error: {not_written(path, error)}", sys.stderr)
                written = False
    if args.plots and table.rows:
        try:
            save_plots(table, args.plots)
        except OSError as error:
            say(f"error: {not_written(f'plots to {args.plots}', error)}", sys.stderr)
            written = False
    return written


def score(args: argparse.Namespace) -> ScoreTable:
    """The table that the arguments ask for.

    Raises:
        ImageError, ValueError: see `score_folders`.
    """
    check_truth_options(args)
    source_a, source_b = args.source_a, args.source_b
    if args.dataset:
        folders = scene_folders(args.root_path, args.dataset)
        if len(folders) > 1:
            names = ", ".join(folder.name for folder in folders)
            raise ValueError(f"{args.dataset} holds several sets; choose one of them as --dataset: {names}")
        source_a, source_b = folders[0].folders
    if source_a.is_file() and source_b.is_file():
        refuse_pairing_options(args)
    if args.boxes is not None and in_other_order(source_a, source_b, (args.pattern_a, args.pattern_b)):
        raise ValueError(
            f"--boxes: targets are judged by source A, the infrared image, but {source_a} and {source_b} are called as "
            "in the other order; exchange them, or rename them where the names mislead"
        )
    metrics, beside = metric_names(args)
    fused = methods(args.fused)
    return score_folders(
        source_a,
        source_b,
        fused,
        [name.lower() for name in listed(args.baselines)],
        args.reference,
        Settings(
            metrics,
            args.convention,
            args.per_channel,
            None if args.no_cache else args.cache,
            beside,
            tuple(listed(args.classes)),
        ),
        args.workers,
        ranges=tuple(ranges_of(args)),
        no_data=(args.no_data_a, args.no_data_b),
        patterns=(args.pattern_a, args.pattern_b),
        boxes=args.boxes,
        thermal=thermal_by_names(source_a, source_b, (args.pattern_a, args.pattern_b)),
        range_fused=results_ranges(args.range_fused, fused),
        range_reference=args.range_reference,
        within=args.within,
    )


def metric_names(args: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Metrics asked for, and those printed beside them without a rank.

    'all' leaves out what needs a reference or boxes where there are none.  Beside the default stands what
    `scores_beside` says, beside metrics that were named only what a reference and boxes add.
    """
    table = CONVENTIONS[args.convention].metrics
    if args.dataset:
        task = find_task(args.dataset)
    else:
        task = task_by_names(args.source_a, args.source_b, (args.pattern_a, args.pattern_b))
    extra = scores_beside(task.id if task else "", args.convention, args.reference is not None, args.boxes is not None)
    names = [find_metric(name) for name in listed(args.metrics)]
    if [name.lower() for name in names] == ["all"]:
        given = {"reference": args.reference, "boxes": args.boxes}
        lacking = {name for name, folder in given.items() if folder is None}
        return tuple(name for name in table if not lacking & set(table[name].inputs)), ()
    if "all" in map(str.lower, names):
        raise ValueError("--metrics: 'all' stands alone; leave out the other names, or name those that you want")
    if not names:
        raise ValueError(f"--metrics names no metric; the default is {','.join(DEFAULT_METRICS)}")
    if names == list(DEFAULT_METRICS):
        return tuple(name for name in names if name in table), tuple(extra)  # what of the default the convention has
    asked = [name for name in extra if name in (*AGAINST_TRUTH, "Retention")]
    return tuple(dict.fromkeys(names)), tuple(name for name in asked if name not in names)


def methods(fused: Sequence[str]) -> dict[str, Path]:
    """Method name to folder, or to the file of one scene; without NAME= the folder's own name, or the file's stem.

    A folder may end in a pattern of its files, which `score_folders` reads.

    A text that exists as a whole is that folder or file, whatever '=' it has: runs/lr=0.1/IVF.  Of several '=' the
    first counts behind which something exists.

    Raises:
        ValueError: two results have one name.
    """
    found: dict[str, Path] = {}
    for text in fused:
        name, path = _named_path(text)
        name = name or (path.stem if path.is_file() else name_of(_folder_of(path)))
        if name in found:
            kind = "FILE" if path.is_file() else "DIR"
            raise ValueError(f"two results are called {name!r}: {found[name]} and {path}; name them NAME={kind}")
        found[name] = path
    return found


def _folder_of(place: Path) -> Path:
    """The folder of results, or, of a pattern, the last one before its first '*'."""
    return place if "*" not in str(place) or place.exists() else _folder_of(place.parent)


def _named_path(text: str) -> tuple[str, Path]:
    if "=" not in text or Path(text).exists():
        return "", Path(text)
    places = [place for place, letter in enumerate(text) if letter == "="]
    splits = [(text[:place], Path(text[place + 1 :])) for place in places]
    return next((split for split in splits if split[1].exists()), splits[0])
