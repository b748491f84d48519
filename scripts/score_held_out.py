"""Scores of networks on pairs held out of training by `data.validation` of an options file, at full size.

python scripts/score_held_out.py --weights general_small mine.safetensors --root_path DATA/train \\
    --opt options/train_AdaSFFuse_general_small.json --groups day="*D" night="*N"

Every data set of the options gets a table with the networks and the simple methods, ranked together by VIFF, Qabf,
SSIM, SCD and MI, and by all eight metrics; with --groups also one for the pairs that match a pattern.  The rendered
night streets of score_hard_cases.py are scored below the tables.  score_focus.py scores multi-focus pairs against a
truth.
"""

import argparse
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from scoring import (
    add_scoring_options,
    compare_networks,
    markdown,
    names_of,
    night_total,
    summary,
    write_reports,
)

from adasffuse.cli.arguments import Parser, at_least, named_values
from adasffuse.data.options import DataOptions
from adasffuse.files import check_outputs
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.pairs import Scene, SceneFolder, find_scenes
from adasffuse.process import run_script, say
from adasffuse.tasks import TASKS, Task
from adasffuse.training.options import Options, load_options


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--weights", nargs="+", required=True, metavar="FILE", help="weights files, or names of released weights"
    )
    parser.add_argument("--opt", type=Path, required=True, metavar="FILE", help="options file that holds pairs out")
    parser.add_argument("--root_path", help="folder of the training data sets, as for train_AdaSFFuse.py")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="score only these data sets of the options")
    parser.add_argument(
        "--groups",
        nargs="+",
        default=[],
        metavar="NAME=PATTERN",
        help="names of pairs that get a table of their own, too",
    )
    parser.add_argument(
        "--nights",
        type=at_least(0),
        default=8,
        metavar="N",
        help="number of rendered night streets (default: %(default)s)",
    )
    add_scoring_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    check_outputs({"--markdown": args.markdown})
    networks = names_of(args.weights)
    groups = named_values(args.groups, "--groups", 'NAME=PATTERN, e.g. night="*N"')
    texts = []
    for task, data, folder, pairs in list(held_out(load_options(args.opt, args.root_path), args.datasets)):
        for group, chosen in {"": pairs, **grouped(pairs, groups)}.items():
            title = f"{folder.name}, {group}" if group else folder.name
            table = compare_networks(networks, task, data, folder, chosen, args)
            texts.append(f"### {title}, {len(chosen)} pairs\n\n{markdown(summary(table))}")
    if args.nights:
        totals = {name: night_total(weights, args.nights, device=args.device) for name, weights in networks.items()}
        text = ", ".join(f"{name} {total:.3f}" for name, total in totals.items())
        texts.append(f"Rendered night streets, {args.nights} cases, total: {text}")
    say("\n\n".join(texts))
    write_reports(args, markdown="\n\n".join(texts) + "\n")


def held_out(
    options: Options, datasets: list[str] | None
) -> Iterator[tuple[Task, DataOptions, SceneFolder, list[Scene]]]:
    """The pairs that an options file holds out, of every data set, or subset of one, that has some.

    Raises:
        SceneError: a data set or one of its folders is missing.
        ValueError: the options have no such data set, or hold nothing of one out.
    """
    parts = {name: part for part in options.parts for name in part.data.datasets}
    for name in datasets or ():
        if name not in parts:
            raise ValueError(f"--datasets {name}: the options have {', '.join(parts)}")
    for name in datasets or parts:
        data, found = parts[name].data, False
        for folder in scene_folders(data.root_path, name):
            scenes, _ = find_scenes(folder.folders, data.patterns)
            pairs = [scene for scene in scenes if any(fnmatch(scene.stem, one) for one in data.validation)]
            if pairs:
                found = True
                yield TASKS[parts[name].task], data, folder, pairs
        if not found:
            raise ValueError(f"{name}: data.validation of the options fits none of its pairs")


def grouped(pairs: list[Scene], groups: dict[str, str]) -> dict[str, list[Scene]]:
    """By group, the pairs that fit its pattern; only groups that split the pairs."""
    fitting = {name: [p for p in pairs if fnmatch(p.stem, pattern)] for name, pattern in groups.items()}
    return {name: chosen for name, chosen in fitting.items() if 0 < len(chosen) < len(pairs)}


if __name__ == "__main__":
    sys.exit(main())
