"""scripts/write_tables.py: the pages are those that it writes, and ranks follow the rules that the pages state."""

import json
from pathlib import Path

import pytest
import rank_beside_published
import ranking
import scoring
import write_tables
from ranking import ALL, RANKED, Row, mean_rank, place
from write_tables import NOT_SCORED, rewritten

# Rows of this project on the date of docs/published_scores.json, which competed there: EN SD SF MI SCD VIFF Qabf SSIM.
FORMER = {
    "IVF": [
        (7.123, 40.544, 11.102, 3.102, 1.394, 0.940, 0.646, 1.433),
        (7.108, 39.956, 11.086, 2.939, 1.420, 0.920, 0.637, 1.435),
        (7.093, 39.480, 11.040, 2.872, 1.332, 0.875, 0.630, 1.459),
        (7.078, 40.232, 11.048, 2.908, 1.329, 0.860, 0.625, 1.459),
    ],
    "MEF": [
        (7.081, 59.501, 19.113, 3.677, 0.788, 1.531, 0.773, 1.163),
        (7.185, 62.801, 20.544, 3.499, 0.849, 1.557, 0.769, 1.161),
        (7.087, 59.558, 19.092, 3.685, 0.785, 1.526, 0.772, 1.164),
        (7.165, 61.239, 20.450, 3.471, 0.792, 1.550, 0.761, 1.162),
    ],
}


def sources() -> ranking.Sources:
    return ranking.load_sources(scoring.RELEASED, ranking.PUBLISHED)


def row(name: str, **scores) -> Row:
    return Row(name, scores)


def test_the_pages_are_up_to_date(capsys):
    assert write_tables.main(["--check"]) == 0, capsys.readouterr().err


def test_equal_values_share_the_better_rank_and_a_missing_score_is_last():
    rows = [row("a", VIFF=2.0), row("b", VIFF=1.0004), row("c", VIFF=1.0), row("d", VIFF=0.5), row("e")]
    assert ranking.mean_ranks(rows, ["VIFF"]) == [1, 2, 2, 4, 5]
    some_missing = Row("f", {"VIFF": 3.0}, missing={"VIFF": 1})
    assert mean_rank(some_missing, rows, ["VIFF"]) == 5 and mean_rank(rows[0], [some_missing], ["VIFF"]) == 1
    assert mean_rank(row("g", VIFF=3.0, MI=0.0), [row("h", VIFF=0.0, MI=1.0)], ["VIFF", "MI"]) == 1.5


def test_a_place_counts_the_others_that_do_better_beside_this_row():
    """a leads b in two metrics of three, and c lies between them in all."""
    a, b = row("a", VIFF=3, MI=3, SCD=1), row("b", VIFF=1, MI=1, SCD=3)
    c = row("c", VIFF=2, MI=2, SCD=2)
    metrics = ("VIFF", "MI", "SCD")
    assert [place(x, [y for y in (a, b, c) if y is not x], metrics) for x in (a, b, c)] == [1, 3, 2]
    assert place(a, [row("same", VIFF=3, MI=3, SCD=1)], metrics) == 1


@pytest.mark.parametrize(
    "name, method, all_eight, five",
    [  # rows without an equal value in the table, as published beside the scores
        ("IVF", "SFDFusion", 6.88, 9.80),
        ("IVF", "ReFusion", 7.62, 10.00),
        ("IVF", "former 0", 6.12, 5.80),
        ("MEF", "max (baseline)", 6.62, 6.00),  # SCD has no value for nine pairs
        ("MEF", "ReFusion", 8.00, 7.80),
        ("MEF", "former 1", 4.38, 4.80),
        ("MEF", "IFCNN", 10.50, 13.60),
    ],
)
def test_ranks_are_those_published_with_the_scores(name, method, all_eight, five):
    (others,) = [one.others for one in sources().sets if one.name == name]
    former = [Row(f"former {n}", dict(zip(ALL, values))) for n, values in enumerate(FORMER[name])]
    rows = [*others, *former]
    for metrics, expected in ((ALL, all_eight), (RANKED, five)):
        ranks = dict(zip((row.name for row in rows), ranking.mean_ranks(rows, metrics)))
        assert ranks[method] == pytest.approx(expected, abs=0.0051)


def test_published_scores_are_complete():
    content = json.loads(ranking.PUBLISHED.read_text())
    assert {row["method"] for row in content["rows"]} == set(content["methods"])
    assert {row["set"] for row in content["rows"]} == set(content["sets"])
    assert all(set(ALL) <= row["scores"].keys() for row in content["rows"])
    published = [method for method in content["methods"].values() if not method.get("baseline")]
    assert all(method["repository"] and method["commit"] and method["agreement"] for method in published)
    assert not any("AdaSFFuse" in name for name in content["methods"])
    assert [len(one.names) for one in sources().sets] == [20, 25, 35, 15, 10, 20, 20, 20]
    assert all(len(set(one.names)) == one.pairs and one.origin for one in sources().sets)


def test_marked_regions_are_rewritten_and_nothing_else():
    text = "before\n<!-- table: a -->\nold\n<!-- end -->\nbetween\n<!-- table: b -->\n<!-- end -->\nafter\n"
    new = rewritten(text, {"a": "| A \\1 |\n", "b": "| B |\n"}, "p.md")
    assert new == text.replace("old\n", "| A \\1 |\n").replace("b -->\n", "b -->\n| B |\n")
    assert rewritten(new, {"a": "| A \\1 |\n", "b": "| B |\n"}, "p.md") == new


@pytest.mark.parametrize(
    "text, message",
    [
        ("no region\n", "p.md: expected regions"),
        ("<!-- table: a -->\n", "p.md: expected regions"),
        ("<!-- table: a -->\n<!-- table: a -->\n<!-- end -->\n", "p.md: expected regions"),
        ("<!-- table: c -->\n<!-- end -->\n", "p.md: unknown table 'c'; known: a"),
    ],
)
def test_a_page_with_a_mistake_is_an_error(text, message):
    with pytest.raises(ValueError, match=message):
        rewritten(text, {"a": "x"}, "p.md")


def card(task: str, size: str, parameters: int, **scores) -> dict:
    card = {"task": task, "size": size, "parameters": parameters, "stored_as": "float32", "sha256": "0" * 64}
    return card | {"convention": "adasffuse", "scored_in": "float32", "scores": scores}


def scores(pairs: int, value: float, **further) -> dict:
    return {
        "pairs": pairs,
        "AdaSFFuse": dict.fromkeys(ALL, value),
        "max": dict.fromkeys(ALL, 1.0),
        "mean_rank": {"AdaSFFuse": 1.0, "max": 2.0},
        "place": 1,
        **further,
    }


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Cards of any names and one page with all tables; the page, and a function that writes or checks it."""
    cards, page = tmp_path / "weights", tmp_path / "page.md"
    cards.mkdir()
    for name, content in {
        "general_small": card("general", "small", 20, IVF=scores(20, 2.0), MFF=scores(10, 99.0, glow=0.25)),
        "general_tiny": card("general", "tiny", 10, IVF=scores(20, 99.0), MFF=scores(9, 99.0)),
        "mff_small": card("mff", "small", 21, MFF=scores(10, 1.5, chroma={"turn": 0.5}, MEF_SSIM={"AdaSFFuse": 0.125})),
    }.items():
        (cards / f"{name}.json").write_text(json.dumps(content))
    page.write_text("".join(f"<!-- table: {name} -->\n<!-- end -->\n" for name in write_tables.TABLES))
    monkeypatch.setattr(write_tables, "RELEASED", cards)
    monkeypatch.setattr(write_tables, "PAGES", (page,))
    return page


def test_check_says_which_page_is_out_of_date(pages, capsys):
    before = pages.read_text()
    assert write_tables.main(["--check"]) == 1 and "page.md is out of date" in capsys.readouterr().err
    assert pages.read_text() == before
    assert write_tables.main([]) == 0 and write_tables.main(["--check"]) == 0
    pages.write_text(pages.read_text().replace("99.000", "98.000"))
    assert write_tables.main(["--check"]) == 1


def table(text: str, name: str) -> list[list[str]]:
    """Cells of the lines of a table."""
    lines = text.split(f"<!-- table: {name} -->\n")[1].split("<!-- end -->")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_tables_of_any_cards(pages):
    write_tables.main([])
    text = pages.read_text()
    ranks = {line[0]: line for line in table(text, "ranks")}
    assert ranks["test images"][:6] == ["test images", "pairs", "methods", "`tiny`", "`small`", "mean rank of `small`"]
    roadscene, focus, exposures = (
        next(line for title, line in ranks.items() if title.startswith(start))
        for start in ("RoadScene", "MFFW", "MEFB")
    )
    assert roadscene[1:4] == ["20", "16", "1st"]  # fifteen others and ours, whose values lead
    assert roadscene[-1] == f"1st, {roadscene[-1].split(', ')[1]}" and "not" not in roadscene[-1]
    assert focus[3] == NOT_SCORED == exposures[3]  # of nine pairs instead of ten; not at all
    assert exposures[4:6] == [NOT_SCORED, NOT_SCORED] and exposures[-1] == f"{NOT_SCORED}, {NOT_SCORED}"
    assert focus[5] != "1.0"  # the task's own weights are the default, not the general ones
    files = [line[0] for line in table(text, "files")[2:]]
    assert files == ["`general_tiny`", "`general_small`", "`mff_small`"]
    further = {line[0]: line[1:] for line in table(text, "scores")}
    assert further["glow"] == ["-", "0.2500", "-"] and further["chroma turn"] == ["-", "-", "0.5000"]
    assert further["MEF_SSIM"] == ["-", "-", "0.1250"]


@pytest.mark.parametrize("largest, shown", [(0.0, False), (0.5, True)])
def test_an_identity_error_is_shown_where_there_is_one(pages, largest, shown):
    values = scores(20, 2.0, glow=0.25, identity_error={"images": 4, "largest": largest})
    path = pages.parent / "weights" / "general_small.json"
    path.write_text(json.dumps(card("general", "small", 20, IVF=values)))
    write_tables.main([])
    further = {line[0]: line[2] for line in table(pages.read_text(), "scores") if len(line) == 3}
    assert further["glow"] == "0.2500"
    assert ("identity_error images" in further) == ("identity_error largest" in further) == shown


def test_places_in_words():
    others = [row(str(value), VIFF=float(value)) for value in range(30)]
    words = [
        write_tables.ordinal_place(row("x", VIFF=30.5 - n), others, ["VIFF"]) for n in (1, 2, 3, 4, 11, 12, 13, 21)
    ]
    assert words == ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st"]


def test_our_rows_do_not_compete_with_each_other(pages):
    """99 leads every column; beside the other methods alone, 2.0 has the rank that it would have without it."""
    write_tables.main([])
    text = pages.read_text()
    (others,) = [one.others for one in sources().sets if one.name == "IVF"]
    small = row("small", **dict.fromkeys(ALL, 2.0))
    lines = {line[0]: line for line in table(text, "comparison")[: 4 + len(others)]}  # of IVF, the first set
    expected = [f"{mean_rank(small, others, metrics):.2f}" for metrics in (RANKED, ALL)]
    assert lines["**AdaSFFuse `general_small`**"][9:11] == expected
    assert lines["**AdaSFFuse `general_tiny`**"][9:12] == ["1.00", "1.00", "1 / 1"]
    places = {line[0]: line[1:] for line in table(text, "places")}
    assert places["IVF"][:4] == ["15", "1 / 1", ranking.places(small, others), ""]
    assert places["MFF"][1:3] == [NOT_SCORED, "1 / 1"] and places["MEF"][1:4] == [NOT_SCORED, NOT_SCORED, ""]


def test_other_methods_are_ranked_beside_each_of_our_rows_in_turn():
    one = ranking.Set("s", "", "", ("p",), (row("a", VIFF=2.0), row("b", VIFF=1.0)))
    ours = [row("x", VIFF=3.0), row("y", VIFF=0.0)]
    assert ranking.rank_beside(one.others[0], one, ours, ["VIFF"]) == 1.5
    assert ranking.rank_beside(one.others[1], one, ours, ["VIFF"]) == 2.5
    assert ranking.rank_beside(one.others[1], one, [], ["VIFF"]) == 2


def score_file(path: Path, names: list[str], convention: str = "adasffuse", **means: float) -> Path:
    """What `adasffuse score --json` writes of one method, called mine."""
    method = {"mean": dict.fromkeys(ALL, 2.0) | means, "skipped": dict.fromkeys(ALL, 0)}
    images = [{"method": "mine", "name": name, "scores": {}} for name in names]
    path.write_text(json.dumps({"convention": convention, "methods": {"mine": method}, "images": images}))
    return path


def test_own_results_get_a_row_among_the_published_ones(tmp_path, capsys):
    (roadscene,) = [one for one in sources().sets if one.name == "IVF"]
    path = score_file(tmp_path / "scores.json", list(roadscene.names), SCD=0.5)
    assert rank_beside_published.main(["IVF", str(path)]) == 0
    lines = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in capsys.readouterr().out.splitlines()}
    own = row("mine", **dict.fromkeys(ALL, 2.0) | {"SCD": 0.5})
    assert lines["**mine**"][9:11] == [f"{mean_rank(own, roadscene.others, metrics):.2f}" for metrics in (RANKED, ALL)]
    assert lines["**mine**"][11] == ranking.places(own, roadscene.others)
    assert {other.name for other in roadscene.others} < lines.keys() and "**AdaSFFuse `general_small`**" in lines


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("IV", {}, "no set 'IV' was compared; choose one of IVF, IVF_MSRS"),
        (
            "IVF",
            {"names": ["FLIR_00211", "x"]},
            "mine was scored on other pairs than the 20 of IVF; missing: FLIR_01130",
        ),
        ("IVF", {"convention": "vifb"}, "convention vifb; the published scores are in adasffuse"),
        ("IVF", {"text": "{}"}, "scores.json: holds no scores; adasffuse score --json writes them"),
        ("IVF", {"text": "no JSON"}, "scores.json: holds no scores; adasffuse score --json writes them"),
    ],
)
def test_scores_that_cannot_be_ranked_there(tmp_path, capsys, name, change, message):
    path = score_file(tmp_path / "scores.json", change.get("names", []), change.get("convention", "adasffuse"))
    if "text" in change:
        path.write_text(change["text"])
    assert rank_beside_published.main([name, str(path)]) == (2 if name == "IV" else 1)
    out, error = capsys.readouterr()
    assert message in error and not out
    assert rank_beside_published.main([name, str(tmp_path / "none.json")]) == (2 if name == "IV" else 1)
    assert "Errno" not in capsys.readouterr().err
