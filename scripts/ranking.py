"""Scores of the released weights and of published methods, their ranks, and the table of one set.

Ranks: 1 is best, equal values (as shown, three digits) share the better rank, a missing score ranks last.  Each
released file is ranked alone against all other methods, without our other files, and only on sets where its card has
scores of as many pairs as the others.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scoring import RANKED

from adasffuse.cli.task_script import METHOD
from adasffuse.metrics import DEFAULT_METRICS as ALL
from adasffuse.tasks import GENERAL, find_task

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "docs" / "published_scores.json"


@dataclass(frozen=True)
class Row:
    """Mean scores of one method, or of one released file, on one set."""

    name: str
    scores: Mapping[str, float | None]
    ours: bool = False
    published: bool = False  # a published method, not a simple one
    missing: Mapping[str, int] = field(default_factory=dict)  # metric to number of pairs without a value
    cpu_seconds: float | None = None

    def value(self, metric: str) -> float | None:
        """The value that is ranked and shown; None if a pair has no value."""
        score = self.scores.get(metric)
        return None if score is None or self.missing.get(metric) else round(score, digits(metric))


@dataclass(frozen=True)
class Set:
    """One test set and the rows of all other methods."""

    name: str
    title: str
    origin: str  # where the pairs come from, and how they were prepared
    names: tuple[str, ...]  # stems of the pairs
    others: tuple[Row, ...]

    @property
    def pairs(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Sources:
    """Data of the tables: cards by name of the weights file, sets with the published scores, methods."""

    cards: Mapping[str, dict]
    sets: tuple[Set, ...]
    methods: Mapping[str, dict]
    convention: str

    def serving(self, name: str) -> dict[str, dict]:
        """The cards of the files that serve the task of a set."""
        return {file: card for file, card in self.cards.items() if serves(card, name)}

    def scored(self, one: Set) -> dict[str, Row]:
        """File to our row on a set, for files scored on the same pairs with the same convention."""
        rows = {}
        for file, card in self.serving(one.name).items():
            scores = card["scores"].get(one.name)
            if scores and scores["pairs"] == one.pairs and card["convention"] == self.convention:
                rows[file] = Row(f"AdaSFFuse `{file}`", own_scores(scores), ours=True)
        return rows

    def sizes(self) -> list[str]:
        """The released sizes, by number of parameters."""
        cards = sorted(self.cards.values(), key=lambda card: card["parameters"])
        return list(dict.fromkeys(card["size"] for card in cards))

    def default(self, name: str, size: str) -> str | None:
        """The default file for a set: the task's own, else the general one."""
        for task in (find_task(name).id, GENERAL):
            if f"{task}_{size}" in self.cards:
                return f"{task}_{size}"
        return None


def load_sources(cards: Path, published: Path) -> Sources:
    """Cards of a folder and the published scores.

    Raises:
        OSError, ValueError: a file is missing or no JSON.
    """
    content = json.loads(published.read_text(encoding="utf-8"))
    by_size = sorted(
        ((path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in cards.glob("*.json")),
        key=lambda item: (item[1]["task"] != GENERAL, item[1]["task"], item[1]["parameters"]),
    )
    sets = []
    for name, described in content["sets"].items():
        rows = [published_row(row, content["methods"]) for row in content["rows"] if row["set"] == name]
        sets.append(Set(name, described["title"], described["origin"], tuple(described["names"]), tuple(rows)))
    return Sources(dict(by_size), tuple(sets), content["methods"], content["convention"])


def digits(metric: str) -> int:
    """Digits of the published means."""
    return 3 if metric in ALL else 4


def published_row(row: Mapping, methods: Mapping[str, Mapping]) -> Row:
    """A row of docs/published_scores.json."""
    name = " ".join(part for part in (row["method"], row.get("variant")) if part)
    published = not methods[row["method"]].get("baseline", False)
    return Row(name, row["scores"], False, published, row.get("missing", {}), row.get("cpu_seconds"))


def serves(card: Mapping, name: str) -> bool:
    """Whether a card's file serves the task of a set; a set outside the usual layout must be on the card."""
    try:
        return card["task"] in (GENERAL, find_task(name).id)
    except ValueError:
        return name in card["scores"]


def own_scores(scores: Mapping) -> dict[str, float | None]:
    """All scores of our result on a set, by name: the metrics and further measurements.

    Args:
        scores: one set of a card: metric means by method, and named values, by method or of ours alone.
    """
    found = dict(scores[METHOD])
    for name, value in scores.items():
        if name in ("pairs", "place", "mean_rank") or name == METHOD:
            continue
        if not isinstance(value, Mapping):
            found[name] = value
        elif METHOD in value:
            found[name] = value[METHOD]
        elif not set(RANKED) <= value.keys():  # not the means of another method
            found |= {f"{name} {part}": number for part, number in value.items()}
    return found


def mean_rank(row: Row, others: Sequence[Row], metrics: Sequence[str]) -> float:
    """Mean over the metrics of a row's rank: 1 and the number of other rows with a better value."""
    total = 0
    for metric in metrics:
        own, values = row.value(metric), [other.value(metric) for other in others]
        total += 1 + sum(value is not None and (own is None or value > own) for value in values)
    return total / len(metrics)


def mean_ranks(rows: Sequence[Row], metrics: Sequence[str]) -> list[float]:
    """Mean rank of each row among all rows."""
    return [mean_rank(row, [other for other in rows if other is not row], metrics) for row in rows]


def place(row: Row, others: Sequence[Row], metrics: Sequence[str]) -> int:
    """Place of a row among the others by mean rank, 1 the first; ties share the better place."""
    own, *ranks = mean_ranks([row, *others], metrics)
    return 1 + sum(round(rank, 6) < round(own, 6) for rank in ranks)


def places(row: Row, others: Sequence[Row]) -> str:
    """Place by the mean rank over RANKED, then by that over all metrics."""
    return f"{place(row, others, RANKED)} / {place(row, others, ALL)}"


def rank_beside(row: Row, one: Set, ours: Collection[Row], metrics: Sequence[str]) -> float:
    """Mean rank of another method, averaged over rankings that each hold one of our rows."""
    others = [other for other in one.others if other is not row]
    fields = [[*others, own] for own in ours] or [others]
    return sum(mean_rank(row, field, metrics) for field in fields) / len(fields)


def leader(rows: Sequence[Row], metrics: Sequence[str], published: bool = False) -> Row:
    """The row of the best mean rank among the rows, or the best published method among them."""
    ranked = [item for item in zip(rows, mean_ranks(rows, metrics)) if item[0].published or not published]
    return min(ranked, key=lambda item: item[1])[0]


def compared(one: Set, ours: Sequence[Row]) -> str:
    """The table of one set: rows of the other methods, and rows that compete with these alone."""
    rows, ranks = [*ours, *one.others], {}
    for row in rows:
        for metrics in (RANKED, ALL):
            rank = mean_rank(row, one.others, metrics) if row.ours else rank_beside(row, one, ours, metrics)
            ranks.setdefault(row.name, []).append(rank)
    metrics = [*ALL, *dict.fromkeys(name for row in one.others for name in row.scores if name not in ALL)]
    best = {}
    for metric in metrics:
        values = [row.value(metric) for row in rows]
        best[metric] = max((value for value in values if value is not None), default=None)
    lines = []
    for row in sorted(rows, key=lambda row: ranks[row.name]):
        cells = [f"**{row.name}**" if row.ours else row.name]
        for metric in metrics:
            cell = shown(metric, row.scores.get(metric))
            if best[metric] is not None and row.value(metric) == best[metric]:
                cell = f"**{cell}**"
            if missing := row.missing.get(metric):
                cell += f" ({missing} without a value)"
            cells.append(cell)
        cells += [f"{rank:.2f}" for rank in ranks[row.name]]
        cells.append(places(row, one.others) if row.ours else "")
        cells.append("" if row.cpu_seconds is None else str(row.cpu_seconds))
        lines.append(cells)
    header = ["method", *metrics, "mean rank, five", "mean rank, eight", "place", "CPU s"]
    return markdown(header, lines)


def shown(metric: str, value: float | None) -> str:
    """A score for a table; '-' for none."""
    return "-" if value is None else f"{value:.{digits(metric)}f}"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    table = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table)
