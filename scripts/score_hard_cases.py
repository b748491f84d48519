"""Score infrared-visible fusion on hard cases: rendered streets at night, and glare laid over pairs of your own.

python scripts/score_hard_cases.py --count 8 --out panels
python scripts/score_hard_cases.py --infrared DATA/infrared --visible DATA/visible --weights mine.safetensors
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy import ndarray
from scoring import add_baselines_option, markdown, mean, names_of
from tqdm import tqdm

from adasffuse.classical.baselines import BASELINES
from adasffuse.cli.arguments import Parser, add_device_option, add_size_option, at_least
from adasffuse.files import check_outputs
from adasffuse.images.color import luminance
from adasffuse.images.notices import pick_evenly
from adasffuse.images.pairs import find_scenes, read_scene
from adasffuse.images.panel import contact_sheet
from adasffuse.images.write import quantise, write_image
from adasffuse.inference import load_fuser
from adasffuse.metrics.hard_cases import HARD_CASE_SCORES, hard_case_total, score_hard_case
from adasffuse.models import DEFAULT_SIZE
from adasffuse.process import run_script, say
from adasffuse.scenes.glare import GlareCase, glare_pair
from adasffuse.scenes.street import NightCase, night_scene

Fuse = Callable[[ndarray, ndarray], ndarray]
Scores = dict[str, dict[str, dict[str, float]]]  # of every method, of every case


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="FILE",
        help="weights files to score (default: the released weights)",
    )
    add_size_option(parser)
    parser.add_argument(
        "--infrared", type=Path, metavar="DIR", help="infrared images of pairs to lay glare over; needs --visible"
    )
    parser.add_argument("--visible", type=Path, metavar="DIR", help="visible images of these pairs")
    add_baselines_option(parser, BASELINES)
    parser.add_argument(
        "--count",
        type=at_least(1),
        default=8,
        help="number of cases of each kind; pairs are evenly spaced (default: %(default)s)",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="random seed of the cases (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results of all methods on all cases, as PNG"
    )
    add_device_option(parser)
    args = parser.parse_args(argv)
    if bool(args.infrared) != bool(args.visible):
        parser.error("--infrared and --visible go together")
    return args


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    check_outputs(folders={"--out": args.out})
    methods = fusion_methods(args)
    scores: Scores = {}
    for name, case in tqdm(cases(args), desc="hard cases", unit="case"):
        fused = {
            method: quantise(fuse(case.infrared, luminance(case.visible)), "8") for method, fuse in methods.items()
        }
        scores[name] = {method: score_hard_case(case, image.astype(float)) for method, image in fused.items()}
        if args.out:
            write_image(args.out / f"{name}.png", panel(case, fused, scores[name]))
    say(table(scores))


def fusion_methods(args: argparse.Namespace) -> dict[str, Fuse]:
    """The compared methods: networks, baselines, and each source alone."""
    files = names_of(args.weights) or {f"AdaSFFuse {args.size or DEFAULT_SIZE}": None}
    load = partial(load_fuser, "ivf", args.size, device=args.device)
    methods = {name: load(weights=file).fuse_luminance for name, file in files.items()}
    methods |= {name: BASELINES[name] for name in args.baselines}
    return methods | {"infrared alone": lambda a, b: a, "visible alone": lambda a, b: b}


def cases(args: argparse.Namespace) -> Iterator[tuple[str, GlareCase | NightCase]]:
    """Named cases; each depends only on the seed and its number."""
    for number in range(args.count):
        yield f"night_{number:02d}", night_scene(np.random.default_rng((args.seed, 0, number)))
    if args.infrared:
        pairs, _ = find_scenes((args.infrared, args.visible))
        for number, pair in enumerate(pick_evenly(pairs, args.count)):
            infrared, visible = (image.pixels for image in read_scene(pair))
            yield f"glare_{pair.stem}", glare_pair(infrared, visible, np.random.default_rng((args.seed, 1, number)))


def panel(case: GlareCase | NightCase, fused: dict[str, ndarray], scores: dict[str, dict[str, float]]) -> ndarray:
    """A panel with the sources in the first row and the methods' results below, with their scores."""
    shown = [(name, image) for name, image in fused.items() if not name.endswith(" alone")]
    shown = [(f"{name}: {caption(scores[name])}", image) for name, image in shown]
    sources = [(name, quantise(getattr(case, name), "8")) for name in ("infrared", "visible")]
    return contact_sheet([sources, *(shown[i : i + 3] for i in range(0, len(shown), 3))], height=320)


def caption(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in scores.items() if not math.isnan(value))


def mean_scores(scores: Scores, method: str, kind: str = "") -> dict[str, float]:
    """Means over the cases whose names start with `kind` and that have the score."""
    rows = [by_method[method] for name, by_method in scores.items() if name.startswith(kind)]
    return {score: mean([row[score] for row in rows]) for score in HARD_CASE_SCORES}


def table(scores: Scores) -> str:
    """A row for each method, the best total first; recovery of night scenes and of glare pairs, apart and together."""
    kinds = {kind: sum(name.startswith(kind) for name in scores) for kind in ("night", "glare")}
    rows = {}
    for method in next(iter(scores.values())):
        means = mean_scores(scores, method)
        recoveries = {f"recovery, {kind}": mean_scores(scores, method, kind)["recovery"] for kind in kinds}
        rows[method] = {**recoveries, **means, "total": hard_case_total(means)}
    rows = dict(sorted(rows.items(), key=lambda item: -item[1]["total"]))
    return (
        f"n = {kinds['night']} night scenes, {kinds['glare']} pairs with glare\n\n{markdown(rows)}\n\n"
        "Fog: lower is better. Total: mean of recovery, 1 - fog, targets and detail; the last three of night scenes."
    )


if __name__ == "__main__":
    sys.exit(main())
