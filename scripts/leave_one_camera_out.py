"""Cross-validation over cameras: train recipes without each camera in turn, and score them on that camera.

python scripts/leave_one_camera_out.py --opt first.json second.json --root_path DATA/train --steps 1500

A camera is a data set of infrared and visible pairs (IVF, IVF_MSRS, ...).  For every options file and camera a network
is trained without that camera's pairs, in a folder of its own below --out, and fuses them as the test scripts do.
After an interruption run the same command again.  All recipes and the simple methods are ranked together, by VIFF,
Qabf, SSIM, SCD and MI and by all eight metrics; the last table is the mean over cameras.  Weights that a recipe starts
from (train.init) or that teach it (teacher) may have been trained on the camera; a line below the tables names them.
An empty train.init means random weights.  --jobs 0 only tabulates trained networks.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scoring import (
    add_scoring_options,
    compare_networks,
    markdown,
    mean,
    night_total,
    spaced,
    summary,
    write_reports,
)

from adasffuse.classical.baselines import BASELINES
from adasffuse.cli.arguments import Parser, at_least
from adasffuse.files import check_outputs
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.pairs import find_scenes
from adasffuse.models.weights import RUN_WEIGHTS, read_record
from adasffuse.process import run_script, say
from adasffuse.tasks import TASKS
from adasffuse.training import train
from adasffuse.training.options import Options, load_options, parse_options
from adasffuse.training.resume import changed_options

TASK = TASKS["ivf"]
HARD_CASES, SEED = 3, 1  # rendered night streets


@dataclass(frozen=True)
class Trial:
    """One training run: a recipe without a camera."""

    recipe: str
    camera: str
    options: Options
    out: Path

    @property
    def weights(self) -> Path:
        return self.out / self.options.name / RUN_WEIGHTS

    def finished(self) -> bool:
        """Whether the weights are those of the last step.

        Raises:
            ValueError: the folder holds a run of other options.
        """
        begun = self.weights.with_name("options.json")
        if begun.is_file():
            changed_options(load_options(begun), self.options)
        return self.weights.is_file() and read_record(self.weights)["steps"] == self.options.train.steps


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--opt", nargs="+", type=Path, required=True, metavar="FILE", help="options files, the recipes to compare"
    )
    parser.add_argument("--root_path", help="folder of the training data sets, as for train_AdaSFFuse.py")
    parser.add_argument(
        "--cameras", nargs="+", metavar="NAME", help="data sets to leave out (default: all of infrared pairs)"
    )
    parser.add_argument("--size", help="size of the networks, such as tiny (default: the options file's)")
    parser.add_argument("--steps", type=at_least(1), help="updates of every run (default: the options file's)")
    parser.add_argument(
        "--pairs",
        type=at_least(1),
        default=20,
        help="pairs of every camera to score, evenly spaced (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("checkpoint/cameras"), help="folder of runs (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=int, choices=(0, 1), default=1, help="1: train; 0: only score (default: %(default)s)"
    )
    add_scoring_options(parser)
    args = parser.parse_args(argv)
    if len({path.stem for path in args.opt}) < len(args.opt):
        parser.error("--opt: options files need different names, which name the recipes")
    return args


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> int:
    check_outputs({"--markdown": args.markdown}, {"--out": args.out})
    trials = plan(args)
    for trial in trials:
        if args.jobs and not trial.finished():
            say(f"{trial.recipe} without {trial.camera}")
            train(trial.options, trial.out, args.device)
            if not trial.finished():  # a signal has ended it
                break
    text = report([trial for trial in trials if trial.finished()], args)
    say(text)
    write_reports(args, markdown=text)
    return int(not all(trial.finished() for trial in trials))


def plan(args: argparse.Namespace) -> list[Trial]:
    """All runs, camera by camera, so that an early table compares all recipes.

    Raises:
        ValueError: an options file is wrong, or has nothing left without a camera.
    """
    recipes = {path.stem: adapted(load_options(path, args.root_path), args) for path in args.opt}
    for name in recipes.keys() & BASELINES.keys():
        raise ValueError(f"{name} is the name of a simple method; rename the options file")
    cameras = args.cameras or sorted({camera for options in recipes.values() for camera in cameras_of(options)})
    return [
        Trial(recipe, camera, without_camera(options, camera, recipe), args.out)
        for camera in cameras
        for recipe, options in recipes.items()
    ]


def adapted(options: Options, args: argparse.Namespace) -> Options:
    """Options with the size and steps of the command line, without validation."""
    if args.size:
        values = options.to_dict() | {"size": args.size}
        del values["model"]  # so that it is that of the new size
        options = parse_options(values)
    steps = args.steps or options.train.steps
    log = replace(options.log, panel=0, validate=0, checkpoint=max(1, steps // 10), keep=1)
    return replace(options, train=replace(options.train, steps=steps), log=log)


def cameras_of(options: Options) -> list[str]:
    """Data sets of the parts of infrared and visible images."""
    return [name for part in options.parts if part.task == TASK.id for name in part.data.datasets]


def without_camera(options: Options, camera: str, recipe: str) -> Options:
    """The run without a data set; the remaining infrared and visible parts share its part of the batch.

    Raises:
        ValueError: the options do not have that data set, or no other one.
    """
    if camera not in cameras_of(options):
        raise ValueError(f"{recipe} does not train on {camera}; its cameras are {', '.join(cameras_of(options))}")
    parts = []
    for part in options.parts:
        datasets = tuple(name for name in part.data.datasets if name != camera or part.task != TASK.id)
        if datasets == part.data.datasets:
            parts.append(part)
        elif datasets:
            parts.append(replace(part, data=replace(part.data, datasets=datasets)))
    if not any(part.task == TASK.id for part in parts):
        raise ValueError(f"{recipe} trains on no infrared and visible pairs but those of {camera}")
    whole, left = (sum(p.weight for p in each if p.task == TASK.id) for each in (options.parts, parts))
    parts = [replace(p, weight=p.weight * whole / left) if p.task == TASK.id else p for p in parts]
    return replace(options, name=f"{recipe}_without_{camera}", parts=tuple(parts))


def earlier_weights(trials: Sequence[Trial]) -> list[str]:
    """Recipes and the weights of other runs from which they learn, e.g. 'first from general_small'."""
    pairs = {
        (trial.recipe, name)
        for trial in trials
        for name in (trial.options.train.init, *(part.teacher for part in trial.options.parts))
        if name
    }
    return [f"{recipe} from {name}" for recipe, name in sorted(pairs)]


def report(trials: Sequence[Trial], args: argparse.Namespace) -> str:
    """A table for each camera, and the means over them."""
    if not trials:
        raise ValueError("nothing is trained yet; leave out --jobs 0")
    texts, places = [], []
    earlier = earlier_weights(trials)
    unseen = "left out of training" if earlier else "never trained on"
    for camera in dict.fromkeys(trial.camera for trial in trials):
        here = [trial for trial in trials if trial.camera == camera]
        data = next(p.data for p in here[0].options.parts if p.task == TASK.id)
        folder = scene_folders(data.root_path, camera)[0]
        pairs = spaced(find_scenes(folder.folders, data.patterns)[0], args.pairs)
        networks = {trial.recipe: trial.weights for trial in here}
        table = compare_networks(networks, TASK, data, folder, pairs, args)
        rows = summary(table)
        places.append(rows)
        texts.append(f"### {camera}, {len(table.common_names())} pairs {unseen}\n\n{markdown(rows)}")
    common = [m for m in places[0] if all(m in rows for rows in places)]
    names = list(dict.fromkeys(name for rows in places for name in rows[common[0]]))
    means = {m: {name: mean([rows[m].get(name, math.nan) for rows in places]) for name in names} for m in common}
    texts.append(f"### Mean over {len(places)} cameras\n\n{markdown(means)}")
    totals: dict[str, list[float]] = {}
    for trial in trials:
        totals.setdefault(trial.recipe, []).append(night_total(trial.weights, HARD_CASES, SEED, args.device))
    nights = ", ".join(f"{recipe} {mean(values):.3f}" for recipe, values in totals.items())
    texts.append(f"Rendered night streets, {HARD_CASES} cases, total, mean over a recipe's networks: {nights}")
    if earlier:
        texts.append(
            f"Recipes learn from weights of other runs: {', '.join(earlier)}. If these were trained on a camera, its "
            "table does not say how they do on one that they never saw (released weights were trained on RoadScene, "
            "MSRS, M3FD and EPFL RGB-NIR)."
        )
    return "\n\n".join(texts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
