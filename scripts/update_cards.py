"""Put scores that score_weights.py measured onto the cards of the released weights.

python scripts/score_weights.py --weights general --size small --root_path DATA/test \\
    --datasets IVF IVF_MSRS IVF_LLVIP MEF MFF MIF --every IVF_LLVIP=2 --json scores.json
python scripts/update_cards.py scores.json

A score goes onto a card only if it was measured on exactly that file, by SHA-256.  Sets without new scores stay on the
card; with --replace they are removed.  `write_tables.py` then writes the tables of the docs.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from scoring import RELEASED

from adasffuse.cli.arguments import Parser
from adasffuse.files import InputError, write_text
from adasffuse.process import run_script, say
from adasffuse.tasks import GENERAL, find_task


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("scores", nargs="+", type=Path, metavar="FILE", help="file that score_weights.py --json wrote")
    parser.add_argument("--replace", action="store_true", help="remove sets without new scores from the cards")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    old = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RELEASED.glob("*.json"))}
    new: dict[Path, dict] = {}
    for path in args.scores:
        measured = read_scores(path)
        for target in cards_of(measured, old, path):
            if target not in new:
                new[target] = old[target] | ({"scores": {}} if args.replace else {})
            new[target] = updated(new[target], measured, path)
    for target, card in new.items():
        write_text(target, json.dumps(card, indent=2) + "\n")
        say(f"{target.name}: {', '.join(card['scores'])}")


def read_scores(path: Path) -> dict:
    """What score_weights.py has measured.

    Raises:
        OSError, ValueError: the file is missing, or another one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or not {"weights", "precision", "convention", "sets"} <= content.keys():
        raise InputError(f"{path}: holds no scores of weights; score_weights.py --json writes them")
    return content


def cards_of(measured: Mapping, cards: Mapping[Path, dict], where: Path) -> list[Path]:
    """Paths of the cards of the scored files.

    Raises:
        ValueError: one of the files is not released as it was scored.
    """
    by_sha = {card["sha256"]: path for path, card in cards.items()}
    for name, sha in measured["weights"].items():
        if sha not in by_sha:
            raise InputError(
                f"{where}: scores of {name}, SHA-256 {sha[:12]}; no card in {RELEASED.name}/ is of that file"
            )
    return [by_sha[sha] for sha in measured["weights"].values()]


def updated(card: Mapping, measured: Mapping, where: Path) -> dict:
    """A card with the measured sets on which its file was used.

    Raises:
        ValueError: the card would hold scores of two conventions or precisions, or the file of a set cannot be told.
    """
    precision = ", ".join(sorted({text.split(" on ")[0] for text in measured["precision"].split(", ")}))
    found = {"convention": measured["convention"], "scored_in": precision}
    sets = {name: scores for name, scores in measured["sets"].items() if used_for(card, name, measured["weights"])}
    kept = {name: scores for name, scores in card["scores"].items() if name not in sets}
    for key, value in found.items():
        if kept and card[key] != value:
            raise InputError(
                f"{where}: {key} is {value}, but {card[key]} on the card of {card['task']} {card['size']} for "
                f"{', '.join(kept)}; score these sets too, or drop them with --replace"
            )
    return {**card, **found, "scores": kept | sets}


def used_for(card: Mapping, name: str, weights: Mapping[str, str]) -> bool:
    """Whether a card's file, out of all files scored together, was the one used on a set."""
    if len(weights) == 1:
        return True
    tasks = {file.split("_")[0] for file in weights}
    task = find_task(name).id
    return card["task"] == (task if task in tasks else GENERAL)


if __name__ == "__main__":
    sys.exit(main())
