"""Values on the command line that look like options."""

import pytest

from adasffuse.cli import check, compare, fuse, score, stack, task_script
from adasffuse.tasks import TASKS


@pytest.mark.parametrize("text", ["-3.4028235e+38", "-1E5", "-400", "-.5"])
def test_negative_numbers_are_values(text):
    words = ["--no_data_a", text, "--range_b", text, "10"]
    for args in (
        task_script.parse_args(TASKS["ivf"], words),
        score.parse_args(["--source_a", "a", "--source_b", "b", *words]),
    ):
        assert args.no_data_a == float(text) and args.range_b == [text, "10"]


@pytest.mark.parametrize(
    ("parser", "words", "name", "expected"),
    [
        (fuse.make_parser(), "ir --task ivf vis -o out", "sources", ["ir", "vis"]),
        (stack.make_parser(), "a.png --task mef b.png -o out.png c.png", "stacks", ["a.png", "b.png", "c.png"]),
        (score.make_parser(), "a b --pattern_a *_T ours=out --range_b -1 1", "places", ["a", "b", "ours=out"]),
        (check.make_parser(), "a --json facts.json b", "folders", ["a", "b"]),
        (check.make_parser(), "--json facts.json -- -a b", "folders", ["-a", "b"]),
        (compare.make_parser(), "a --count 2 b one=out -o x.png two=2", "fused", ["one=out", "two=2"]),
    ],
)
def test_options_may_stand_between_sources(parser, words, name, expected):
    assert [str(one) for one in getattr(parser.parse_args(words.split()), name)] == expected


def test_a_link_to_itself_is_refused_by_the_name_of_the_option(tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SystemExit):
        fuse.make_parser().parse_args(["ir", "vis", "-o", str(tmp_path / "loop")])
    assert f"-o/--out: {tmp_path / 'loop'}: a link that leads back to itself" in capsys.readouterr().err


def test_sources_of_score_may_be_patterns():
    args = score.parse_args(["cam/*_T.tif", "cam/*_V.jpg", "ours=out"])
    assert [str(args.source_a), str(args.source_b)] == ["cam", "cam"]
    assert [args.pattern_a, args.pattern_b] == ["*_T.tif", "*_V.jpg"]
    named = score.parse_args(["--source_a", "cam", "--pattern_a", "*_T", "--source_b", "cam/*_V.jpg", "--fused", "out"])
    assert [str(named.source_b), named.pattern_a, named.pattern_b] == ["cam", "*_T", "*_V.jpg"]
