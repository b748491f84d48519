"""Write the score tables of README and docs from the cards of the released weights and docs/published_scores.json.

python scripts/write_tables.py            # rewrite the text between <!-- table: NAME --> and <!-- end -->
python scripts/write_tables.py --check    # exit status 1 if a page is out of date

Ranks: 1 is best, equal values (as shown, three digits) share the better rank, a missing score ranks last.  Each
released file is ranked alone against all other methods, without our other files, and only on sets where its card has
scores of as many pairs as the others.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scoring import RANKED

from adasffuse.choices import DEFAULT_SIZE
from adasffuse.cli.task_script import METHOD
from adasffuse.files import printable, write_text
from adasffuse.metrics import DEFAULT_METRICS
from adasffuse.tasks import GENERAL, find_task

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "adasffuse" / "weights"
PUBLISHED = ROOT / "docs" / "published_scores.json"
PAGES = tuple(ROOT / name for name in ("README.md", "docs/weights.md", "docs/comparison.md"))
ALL = DEFAULT_METRICS
NOT_SCORED = "not scored"
_REGION = re.compile(r"(<!-- table: (.+?) -->\n)(.*?)(<!-- end -->)", re.S)


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


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a page is out of date")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        sources = load_sources(CARDS, PUBLISHED)
        tables = {name: write(sources) for name, write in TABLES.items()}
        old = {page: page.read_text(encoding="utf-8") for page in PAGES}
        new = {page: rewritten(text, tables, page.name) for page, text in old.items()}
        changed = [page for page in PAGES if new[page] != old[page]]
        for page in changed:
            if args.check:
                print(f"{page.name} is out of date; run python scripts/write_tables.py", file=sys.stderr)
            else:
                write_text(page, new[page])
                print(f"wrote {page.name}")
    except (ValueError, OSError) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 1
    return 1 if args.check and changed else 0


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


def rewritten(text: str, tables: Mapping[str, str], page: str) -> str:
    """A page with its marked regions filled anew.

    Raises:
        ValueError: the page has no region, one without an end, or one of an unknown table.
    """
    regions = _REGION.findall(text)
    if not regions or text.count("<!-- table:") != len(regions) or text.count("<!-- end -->") != len(regions):
        raise ValueError(f"{page}: expected regions '<!-- table: NAME -->' ... '<!-- end -->', each with its end")
    for _, name, _, _ in regions:
        if name not in tables:
            raise ValueError(f"{page}: unknown table {name!r}; known: {', '.join(tables)}")
    return _REGION.sub(lambda match: f"{match[1]}{tables[match[2]]}{match[4]}", text)


def ranks_table(sources: Sources) -> str:
    """README: places of the default weights of each size on each set, and mean ranks."""
    sizes = sources.sizes()
    lines = []
    for one in sources.sets:
        rows = sources.scored(one)
        ours = {size: rows.get(sources.default(one.name, size)) for size in sizes}
        shown_size, best = ours.get(DEFAULT_SIZE), leader(one.others, RANKED, published=True)
        beside = rank_beside(best, one, [shown_size] if shown_size else [], RANKED)
        lines.append(
            [
                one.title,
                str(one.pairs),
                str(len(one.others) + 1),
                *(ordinal_place(row, one.others, RANKED) for row in ours.values()),
                f"{mean_rank(shown_size, one.others, RANKED):.1f}" if shown_size else NOT_SCORED,
                f"{best.name}, {beside:.1f}",
                ", ".join(ordinal_place(row, one.others, ALL) for row in ours.values()),
            ]
        )
    names = [f"`{size}`" for size in sizes]
    header = ["test images", "pairs", "methods", *names, f"mean rank of `{DEFAULT_SIZE}`"]
    return markdown([*header, "best published method, its mean rank", f"{', '.join(names)} by eight metrics"], lines)


def ordinal_place(row: Row | None, others: Sequence[Row], metrics: Sequence[str]) -> str:
    """Place of a row among the others in words: '1st', '2nd', ..."""
    if row is None:
        return NOT_SCORED
    number = place(row, others, metrics)
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def files_table(sources: Sources) -> str:
    """docs/weights.md: what the released files are."""
    lines = []
    for file, card in sources.cards.items():
        task = "all" if card["task"] == GENERAL else card["task"]
        precision = f"{card['convention']}, {card['scored_in']}"
        lines.append([f"`{file}`", task, f"{card['parameters']:,}", card["stored_as"], precision, card["sha256"][:12]])
    return markdown(["file", "task", "parameters", "stored as", "scored with", "SHA-256"], lines)


def scores_tables(sources: Sources) -> str:
    """docs/weights.md: every score on every card, a table per set."""
    titles = {one.name: one.title for one in sources.sets}
    names = dict.fromkeys([*titles, *(name for card in sources.cards.values() for name in card["scores"])])
    text = []
    for name in names:
        title = f"{name}: {titles[name]}" if name in titles else name
        lines, further = [], {}
        for file, card in sources.serving(name).items():
            if name not in card["scores"]:
                lines.append([f"`{file}`", NOT_SCORED, *[""] * (len(ALL) + 3)])
                continue
            scores = card["scores"][name]
            own = own_scores(scores)
            ranks = dict(scores["mean_rank"])
            mine = ranks.pop(METHOD)
            best = min(ranks, key=ranks.__getitem__)
            cells = [f"`{file}`", str(scores["pairs"]), *(shown(metric, own.pop(metric, None)) for metric in ALL)]
            lines.append([*cells, f"{mine:.1f}", str(scores["place"]), f"{best}, {ranks[best]:.1f}"])
            further[file] = own
        header = ["file", "pairs", *ALL, "mean rank", "place", "best simple method"]
        text.append(f"### {title}\n\n{markdown(header, lines)}")
        measured = dict.fromkeys(score for own in further.values() for score in own)
        if measured:
            lines = [[name, *(shown(name, own.get(name)) for own in further.values())] for name in measured]
            text.append(markdown(["further scores", *(f"`{file}`" for file in further)], lines))
    return "\n".join(text)


def places_table(sources: Sources) -> str:
    """docs/comparison.md: places of every released file on every set, and the best other methods."""
    lines = []
    for one in sources.sets:
        rows = sources.scored(one)
        cells = [places(rows[file], one.others) if file in rows else "" for file in sources.cards]
        for file in sources.serving(one.name).keys() - rows.keys():
            cells[list(sources.cards).index(file)] = NOT_SCORED
        best = leader(one.others, RANKED).name
        published = [leader(one.others, metrics, published=True).name for metrics in (RANKED, ALL)]
        lines.append([one.name, str(len(one.others)), *cells, best, " / ".join(published)])
    files = (f"`{file}`" for file in sources.cards)
    return markdown(["set", "others", *files, "best other method", "best published method"], lines)


def comparison_tables(sources: Sources) -> str:
    """docs/comparison.md: for every set the scores of all methods and of all released files, sorted by mean rank."""
    return "\n".join(comparison(sources, one) for one in sources.sets)


def comparison(sources: Sources, one: Set) -> str:
    """The table of one set, and a list of files that were not scored on it."""
    ours = sources.scored(one)
    text = f"### {one.name}\n\n{one.title}; {one.pairs} pairs, {len(one.others)} other methods.\n\n"
    text += compared(one, list(ours.values()))
    left_out = [f"`{file}`" for file in sources.serving(one.name) if file not in ours]
    if left_out:
        text += f"\nNot scored on these pairs: {', '.join(left_out)}.\n"
    return text


def compared(one: Set, ours: Sequence[Row]) -> str:
    """The table of one set: rows of the other methods, and rows that compete with these alone."""
    rows, ranks = [*ours, *one.others], {}
    for row in rows:
        for metrics in (RANKED, ALL):
            rank = mean_rank(row, one.others, metrics) if row.ours else rank_beside(row, one, ours, metrics)
            ranks.setdefault(row.name, []).append(rank)
    metrics = [*ALL, *dict.fromkeys(name for row in one.others for name in row.scores if name not in ALL)]
    best = {metric: max(v for row in rows if (v := row.value(metric)) is not None) for metric in metrics}
    lines = []
    for row in sorted(rows, key=lambda row: ranks[row.name]):
        cells = [f"**{row.name}**" if row.ours else row.name]
        for metric in metrics:
            cell = shown(metric, row.scores.get(metric))
            if row.value(metric) == best[metric]:
                cell = f"**{cell}**"
            if missing := row.missing.get(metric):
                cell += f" ({missing} without a value)"
            cells.append(cell)
        cells += [f"{rank:.2f}" for rank in ranks[row.name]]
        cells += [places(row, one.others) if row.ours else "", f"{row.cpu_seconds or '':}"]
        lines.append(cells)
    header = ["method", *metrics, "mean rank, five", "mean rank, eight", "place", "CPU s"]
    return markdown(header, lines)


def pairs_table(sources: Sources) -> str:
    """docs/comparison.md: which pairs each set has."""
    lines = [[one.name, one.origin, ", ".join(one.names)] for one in sources.sets]
    return markdown(["set", "from", "names of the pairs"], lines)


def methods_table(sources: Sources) -> str:
    """docs/comparison.md: where every method comes from; ours by name and SHA-256 of the file."""
    lines = []
    for name, method in sources.methods.items():
        if method.get("baseline"):
            lines.append([name, "-", "-", method["notes"]])
            continue
        repository = method["repository"]
        if re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
            repository = f"[{repository}](https://github.com/{repository})"
        lines.append([name, f"{repository} @ {method['commit']}", method["agreement"], method["notes"]])
    for file, card in sources.cards.items():
        lines.append([f"**AdaSFFuse `{file}`**", f"this repository, SHA-256 {card['sha256'][:12]}", "-", ""])
    return markdown(["method", "repository @ commit", "agreement with a published result", "notes"], lines)


def shown(metric: str, value: float | None) -> str:
    """A score for a table; '-' for none."""
    return "-" if value is None else f"{value:.{digits(metric)}f}"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    table = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


TABLES: dict[str, Callable[[Sources], str]] = {
    "ranks": ranks_table,
    "files": files_table,
    "scores": scores_tables,
    "places": places_table,
    "pairs": pairs_table,
    "comparison": comparison_tables,
    "methods": methods_table,
}

if __name__ == "__main__":
    sys.exit(main())
