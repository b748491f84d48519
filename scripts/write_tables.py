"""Write the score tables of README and docs from the cards of the released weights and docs/published_scores.json.

python scripts/write_tables.py            # rewrite the text between <!-- table: NAME --> and <!-- end -->
python scripts/write_tables.py --check    # exit status 1 if a page is out of date

Ranks follow the rules of ranking.py.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence

from ranking import (
    ALL,
    PUBLISHED,
    ROOT,
    Row,
    Set,
    Sources,
    compared,
    leader,
    load_sources,
    markdown,
    mean_rank,
    own_scores,
    place,
    places,
    rank_beside,
    shown,
)
from scoring import RANKED, RELEASED

from adasffuse.choices import DEFAULT_SIZE
from adasffuse.cli.arguments import Parser
from adasffuse.cli.task_script import METHOD
from adasffuse.files import write_text
from adasffuse.process import run_script, say
from adasffuse.tasks import GENERAL

PAGES = tuple(ROOT / name for name in ("README.md", "docs/weights.md", "docs/comparison.md"))
NOT_SCORED = "not scored"
IDENTITY = "identity_error"
_REGION = re.compile(r"(<!-- table: (.+?) -->\n)(.*?)(<!-- end -->)", re.S)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a page is out of date")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> int:
    sources = load_sources(RELEASED, PUBLISHED)
    tables = {name: write(sources) for name, write in TABLES.items()}
    old = {page: page.read_text(encoding="utf-8") for page in PAGES}
    new = {page: rewritten(text, tables, page.name) for page, text in old.items()}
    changed = [page for page in PAGES if new[page] != old[page]]
    for page in changed:
        if args.check:
            say(f"{page.name} is out of date; run python scripts/write_tables.py", sys.stderr)
        else:
            write_text(page, new[page])
            say(f"wrote {page.name}")
    return int(args.check and bool(changed))


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
        precision = f"{card['convention']}, {card['scored_in']}" if card["scores"] else NOT_SCORED
        lines.append([f"`{file}`", task, f"{card['parameters']:,}", card["stored_as"], precision, card["sha256"][:12]])
    return markdown(["file", "task", "parameters", "stored as", "scored with", "SHA-256"], lines)


def scores_tables(sources: Sources) -> str:
    """docs/weights.md: every score on every card, a table per set; the identity error only where it is not 0."""
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
        differs = any(own.get(f"{IDENTITY} largest") for own in further.values())
        measured = dict.fromkeys(score for own in further.values() for score in own)
        measured = [score for score in measured if differs or not score.startswith(IDENTITY)]
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
