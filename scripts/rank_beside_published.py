"""Rank own results among the published methods of docs/comparison.md, in the same table.

adasffuse score DATA/test/IVF/infrared DATA/test/IVF/visible mine=results/IVF --json scores.json
python scripts/rank_beside_published.py IVF scores.json

The file must hold scores of exactly the pairs of the set, which docs/comparison.md names, in the convention of the
published scores.  Every method of the file competes with the published and simple methods alone, not with the other
methods of the file nor with the released weights, which are shown, too.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from ranking import ALL, PUBLISHED, Row, Set, compared, load_sources
from scoring import RELEASED

from adasffuse.cli.arguments import Parser
from adasffuse.files import InputError
from adasffuse.process import run_script, say


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("set", help="set of docs/comparison.md, such as IVF or MIF/CT-MRI")
    parser.add_argument("scores", type=Path, metavar="SCORES.json", help="what adasffuse score --json wrote")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    sources = load_sources(RELEASED, PUBLISHED)
    sets = {one.name: one for one in sources.sets}
    if args.set not in sets:
        raise ValueError(f"no set {args.set!r} was compared; choose one of {', '.join(sets)}")
    one = sets[args.set]
    rows = own_rows(args.scores, one, sources.convention)
    say(compared(one, [*sources.scored(one).values(), *rows]).rstrip("\n"))


def own_rows(path: Path, one: Set, convention: str) -> list[Row]:
    """A row for every method of a file that `adasffuse score --json` wrote.

    Raises:
        OSError, ValueError: it is no such file, of another convention, without one of the metrics, or of other pairs.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, Mapping) or not {"convention", "methods", "images"} <= content.keys():
        raise InputError(f"{path}: holds no scores; adasffuse score --json writes them")
    if content["convention"] != convention:
        raise InputError(f"{path}: convention {content['convention']}; the published scores are in {convention}")
    rows = []
    for name, method in content["methods"].items():
        if lacking := [metric for metric in ALL if metric not in method["mean"]]:
            raise InputError(f"{path}: {name} has no {', '.join(lacking)}; score it without --metrics")
        scored = {image["name"] for image in content["images"] if image["method"] == name}
        if scored != set(one.names):
            lists = {"missing": sorted(set(one.names) - scored), "not of this set": sorted(scored - set(one.names))}
            differences = "; ".join(f"{what}: {', '.join(names)}" for what, names in lists.items() if names)
            raise InputError(
                f"{path}: {name} was scored on other pairs than the {len(one.names)} of {one.name}; {differences}"
            )
        rows.append(Row(name, method["mean"], ours=True, missing=method["skipped"]))
    return rows


if __name__ == "__main__":
    sys.exit(main())
