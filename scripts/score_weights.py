"""Score table of a weights file beside simple methods: fuse every pair as the test_*_RGB.py scripts do, score the PNGs.

python scripts/score_weights.py --size small --root_path DATA/test \\
    --datasets IVF IVF_MSRS IVF_LLVIP MEF MFF MIF --every IVF_LLVIP=2 --markdown scores.md --json scores.json

`scoring.py` says what is scored; `update_cards.py` puts the scores of released weights onto their cards.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scoring import RANKED, Scored, add_scoring_options, chosen_sets, score_sets, write_reports

from adasffuse.cli.arguments import Parser, add_precision_option, add_size_option, at_least
from adasffuse.cli.task_script import METHOD, identity_text
from adasffuse.files import check_outputs
from adasffuse.inference import load_fuser
from adasffuse.metrics.color import CHROMA_LEVELS
from adasffuse.metrics.job import Settings
from adasffuse.metrics.tones import TONES
from adasffuse.models.weights import file_sha256, find_weights
from adasffuse.process import run_script, say


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--weights", metavar="FILE", help="weights file or name (default: the released ones)")
    add_size_option(parser)
    parser.add_argument("--root_path", type=Path, metavar="DIR", help="folder of data sets")
    parser.add_argument(
        "--datasets",
        nargs="+",
        default=[],
        metavar="NAME",
        help="names of these data sets, such as IVF_MSRS, MIF, MIF/PET-MRI",
    )
    parser.add_argument(
        "--extra", nargs="+", default=[], type=Path, metavar="DIR", help="other folders with infrared/ and visible/"
    )
    parser.add_argument(
        "--every", nargs="+", default=[], type=set_and_step, metavar="NAME=N", help="score every Nth pair of a set"
    )
    parser.add_argument("--pairs", type=at_least(1), metavar="N", help="score only N pairs of every set, evenly spaced")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the fused images, DIR/NAME")
    add_scoring_options(parser)
    parser.add_argument(
        "--no_cache",
        dest="cache",
        action="store_const",
        const=None,
        help="remember nothing and compute everything anew",
    )
    add_precision_option(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores of every pair here")
    args = parser.parse_args(argv)
    if not (args.datasets or args.extra) or bool(args.datasets) != bool(args.root_path):
        parser.error("give --root_path with --datasets, or --extra, or all three")
    return args


def set_and_step(text: str) -> tuple[str, int]:
    """Parse 'IVF_LLVIP=2'.

    Raises:
        ArgumentTypeError: it is not a name and a positive whole number.
    """
    name, _, step = text.rpartition("=")
    if not (name and step.isdecimal() and int(step)):
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=N, e.g. IVF_LLVIP=2")
    return name, int(step)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    check_outputs({"--markdown": args.markdown, "--json": args.json}, {"--out": args.out})
    sets = chosen_sets(args.root_path, args.datasets, args.extra)
    network = {"size": args.size, "weights": args.weights, "device": args.device, "precision": args.precision}
    fusers = {task.id: load_fuser(task.id, **network) for task, _ in sets}
    results = []
    settings = Settings(cache=args.cache)
    for scored in score_sets(sets, fusers, settings, args.pairs, dict(args.every), args.out, args.workers):
        say(f"\n{scored.name}: {scored.verdict()}\n{as_text(scored)}")
        results.append(scored)
    files = {find_weights(args.weights, task, args.size) for task in fusers}
    hashes = {path.name: file_sha256(path) for path in sorted(files)}
    precision = ", ".join(sorted({f"{fuser.precision} on {fuser.device.type}" for fuser in fusers.values()}))
    write_reports(args, markdown=as_markdown(hashes, precision, results), json=as_json(hashes, precision, results))
    first = [scored for scored in results if scored.place() == 1]
    shared = sum("shared" in scored.verdict() for scored in first)
    say(f"\nfirst in mean rank on {len(first)} of {len(results)} sets, {shared} of them shared with another method")


def as_text(scored: Scored) -> str:
    """The table for a terminal, and the checks below."""
    return "\n".join([scored.table.text(), *check_lines(scored)])


def check_lines(scored: Scored) -> list[str]:
    """Identity error, and scores that only this task has, a line each."""
    checks = scored.checks
    lines = [identity_text(checks["identity_error"])]
    if "MEF_SSIM" in checks:
        lines.append("MEF-SSIM: " + ", ".join(f"{m} {v:.4f}" for m, v in checks["MEF_SSIM"].items()))
    for name, tone in TONES.items():
        if name in checks:
            lost, shown = ("..".join(map(str, levels)) for levels in (tone.lost, tone.shown))
            shares = ", ".join(f"{m} {v:.3%}" for m, v in checks[name].items())
            lines.append(f"{lost} where a source is within {shown}, share: {shares}")
    if "chroma" in checks:
        chroma = checks["chroma"]
        lines.append(
            f"Chroma: largest turn before rounding {chroma['max_angle_degrees']:.3f} degrees; Cb and Cr of the file "
            f"within {CHROMA_LEVELS} levels on {chroma['within_levels']:.4%} of the pixels (largest difference "
            f"{chroma['max_levels']:.2f}), without the {chroma['gamut_forced']:.2%} of coloured pixels that the gamut "
            f"forced to less ({chroma['forced_within_levels']:.4%} of these within {CHROMA_LEVELS} levels of its limit)"
        )
    return lines


def as_markdown(hashes: Mapping[str, str], precision: str, results: Sequence[Scored]) -> str:
    """A summary line per set, then the table of each."""
    files = ", ".join(f"`{name}` (SHA-256 {sha[:12]}...)" for name, sha in hashes.items())
    text = [f"Weights: {files}; {precision}.", ""]
    text += ["| set | pairs | " + " | ".join(RANKED) + " | result |", "| --- " + "| ---: " * 6 + "| --- |"]
    for scored in results:
        scores = scored.table.means(METHOD)
        means = " | ".join(f"{scores[name]:.3f}" for name in RANKED)
        text.append(f"| {scored.name} | {scored.pairs} | {means} | {scored.verdict()} |")
    for scored in results:
        text += ["", f"### {scored.name}", "", scored.table.markdown().rstrip()]
        for line in check_lines(scored):
            text += ["", line]
    return "\n".join(text) + "\n"


def as_json(hashes: Mapping[str, str], precision: str, results: Sequence[Scored]) -> str:
    """Files with their SHA-256, and the scores of every set."""
    content = {
        "weights": hashes,
        "precision": precision,
        "convention": results[0].table.convention,
        "sets": {scored.name: scored.to_dict() for scored in results},
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
