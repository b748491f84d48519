"""Ablation: train and tabulate variants of one options file, each without or with another part of network or loss.

python scripts/ablate.py --opt options/train_AdaSFFuse_ivf.json --root_path DATA/train --steps 1200 --jobs 2

Every row of the table changes one thing in the options or in the initial network.  It is trained from random weights
once per seed by the ordinary trainer, in a folder of its own below --out.  After an interruption run the same command
again: finished runs (with the last validation in their log) are not repeated, others continue from their newest
checkpoint.  --dry_run lists the runs, --jobs 0 only tabulates finished ones.

Scores are those of the validation after the last step.  The spread of a row is the largest minus the smallest score of
its seeds.  A score equals the reference's ('=') if the means differ by no more than the larger of both spreads; a row
is equal if all its scores are.  The table of a run of several parts holds means over the parts; the scores of each part
are in the `log.csv` of its runs.  A change of the loss applies to all parts.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, get_type_hints

import torch

from adasffuse.cli.arguments import Parser, add_device_option, at_least
from adasffuse.data.heldout import SIZE
from adasffuse.files import check_outputs, write_text
from adasffuse.losses.fusion import LossOptions
from adasffuse.models import AdaSFFuse
from adasffuse.models.options import KINDS_NEEDED
from adasffuse.process import run_script
from adasffuse.tasks import TASKS
from adasffuse.training import train
from adasffuse.training.checkpoint import newest_checkpoint
from adasffuse.training.options import (
    TRUTH_METRICS,
    VALIDATION_METRICS,
    LogOptions,
    Options,
    PartOptions,
    load_options,
)
from adasffuse.training.trainer import stop_requested
from adasffuse.training.validation import CONVENTION

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = "reference"
METRICS = (*VALIDATION_METRICS, *TRUTH_METRICS)  # higher is better in all of them
TERMS = tuple(name for name, kind in get_type_hints(LossOptions).items() if kind is float)  # weights of the loss terms


@dataclass(frozen=True)
class Row:
    """One change of the options, or of the initial network."""

    what: str  # description
    model: Mapping[str, Any] = field(default_factory=dict)  # changed options of the network
    without: str = ""  # loss term whose weight becomes zero
    paper_loss: bool = False  # use the paper's loss of each task
    fixed: tuple[str, ...] = ()  # endings of names of parameters that are not trained
    zero: tuple[str, ...] = ()  # endings of names of parameters that are zero and not trained, to remove a branch

    def applied(self, options: Options) -> Options:
        """The options with this change.

        Raises:
            ValueError: the changed options are impossible, or leave a part without a loss.
        """
        parts = tuple(replace(part, loss=self._loss(part)) for part in options.parts)
        return replace(options, model=replace(options.model, **self.model), parts=parts)

    def prepare(self, model: AdaSFFuse) -> None:
        """Fix parameters of a network before it is trained.

        Raises:
            ValueError: the network has none of these parameters.
        """
        for ends in (*self.fixed, *self.zero):
            parameters = [value for name, value in model.named_parameters() if f".{name}".endswith(ends)]
            if not parameters:
                raise ValueError(f"the network has no parameters whose names end with {ends}")
            for parameter in parameters:
                parameter.requires_grad_(False)
                if ends in self.zero:
                    torch.nn.init.zeros_(parameter)

    def _loss(self, part: PartOptions) -> LossOptions:
        if self.paper_loss:
            return LossOptions.for_task(TASKS[part.task])
        return replace(part.loss, **{self.without: 0.0}) if self.without else part.loss


_NO_KINDS = {"kinds": (), **dict.fromkeys(KINDS_NEEDED, False)}
ROWS: dict[str, Row] = {
    REFERENCE: Row("the options file itself"),
    "haar": Row("wavelet filters stay Haar", fixed=(".low_pass", ".high_pass")),
    "no_fft": Row("without FFT branch", zero=(".frequency.weight",)),
    "no_spatial": Row("without spatial (3x3) branch", zero=(".spatial.weight", ".spatial.bias")),
    **{order: Row(f"{order} scan", {"scan": order}) for order in ("raster", "bidirectional")},
    "direct": Row("direct head", {"output": "direct", "exposure": False, "contrast": False, **_NO_KINDS}),
    "pyramid": Row("pyramid head", {"output": "pyramid"}),
    "no_residual": Row("without the decoder's image", {"residual": False}),
    "exposure": Row("weights start from exposure fusion", {"exposure": True}),
    "contrast": Row("weights start from the sources' contrast", {"contrast": True}),
    "no_contrast": Row("weights do not start from the sources' contrast", {"contrast": False}),
    "no_kinds": Row("sources of all kinds are treated alike", _NO_KINDS),
    **{f"n1_{n}": Row(f"N1 = {n} blocks on each band", {"band_blocks": n}) for n in range(3)},
    **{f"n2_{n}": Row(f"N2 = {n} blocks at full resolution", {"full_blocks": n}) for n in range(4)},
    **{f"patch_{n}": Row(f"{n}x{n} pixels per token", {"patch": n}) for n in (1, 2, 4)},
    **{f"no_{term}_loss": Row(f"loss without its {term} term", without=term) for term in TERMS},
    "paper_loss": Row("the paper's loss", paper_loss=True),
}


@dataclass(frozen=True)
class Trial:
    """One training run: a row of the table with one seed."""

    row: str
    seed: int
    options: Options
    folder: Path

    def scores(self) -> dict[str, float] | None:
        """Names and values of the validation after the last step; None if the run has not got there."""
        try:
            text = (self.folder / "log.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        for line in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
            if line["kind"] == "validation" and line["step"] == str(self.options.train.steps):
                return {name: float(v) for name, v in line.items() if v and name not in ("step", "kind")}
        return None

    def state(self) -> str:
        """'finished', 'continues after step N' or 'new'."""
        if self.scores() is not None:
            return "finished"
        newest = newest_checkpoint(self.folder)
        return f"continues after step {int(newest.stem.removeprefix('step_'))}" if newest else "new"

    def check(self) -> None:
        """Raise ValueError if the folder holds a run of other options."""
        path = self.folder / "options.json"
        if not path.exists():
            return
        before = comparable(load_options(path))
        for name, mine in vars(comparable(self.options)).items():
            if getattr(before, name) != mine:
                raise ValueError(f"{self.folder} holds a run of other options ({name} differs); choose another --out")

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))


def comparable(options: Options) -> Options:
    """Options without those that do not change the result: location and loading of the data, and logging."""
    parts = (replace(part, data=replace(part.data, root_path="", workers=0, cache_mb=0)) for part in options.parts)
    return replace(options, parts=tuple(parts), log=LogOptions())


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--opt", type=Path, required=True, help="options file (JSON) of the reference, see options/")
    parser.add_argument("--root_path", help="folder of the training data sets, as for train_AdaSFFuse.py")
    parser.add_argument(
        "--seeds",
        type=at_least(0),
        nargs="+",
        default=[0, 1, 2],
        help="random seeds; every row is trained with each (default: 0 1 2)",
    )
    parser.add_argument("--steps", type=at_least(1), help="updates of every run (default: the options file's)")
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="NAME",
        help=f"rows besides the reference (default: all): {', '.join(ROWS)}",
    )
    parser.add_argument("--out", type=Path, help="folder of the runs (default: checkpoint/ablation/NAME OF THE RUN)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page with the table here")
    parser.add_argument(
        "--jobs",
        type=at_least(0),
        default=1,
        help="number of runs at a time, of one thread each; 0: none (default: %(default)s)",
    )
    add_device_option(parser)
    parser.add_argument("--dry_run", action="store_true", help="list the runs and train nothing")
    parser.add_argument("--train", choices=ROWS, help=argparse.SUPPRESS)  # one run, here
    args = parser.parse_args(argv)
    args.seeds = list(dict.fromkeys(args.seeds))  # each once
    return args


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> int:
    check_outputs({"--markdown": args.markdown}, {"--out": args.out})
    if args.train:
        train_row(args)
        return 0
    trials = plan(load_options(args.opt, root_path=args.root_path), args)
    for trial in trials:
        trial.check()
    if args.dry_run:
        for trial in trials:
            print(f"{trial.row:22} seed {trial.seed}  {trial.state():28} {ROWS[trial.row].what}")
        return 0
    if args.jobs:
        run_all([trial for trial in trials if trial.scores() is None], args.jobs, args.device)
    finished = [trial for trial in trials if trial.scores() is not None]
    if any(trial.row == REFERENCE for trial in finished):
        text = report(args.opt.name, finished, args.seeds)
        print(text)
        if args.markdown:
            write_text(args.markdown, text)
    if len(finished) < len(trials):
        print(f"error: {len(trials) - len(finished)} of {len(trials)} runs are not finished", file=sys.stderr)
    return int(len(finished) < len(trials))


def plan(options: Options, args: argparse.Namespace) -> list[Trial]:
    """All runs, seed by seed, so that an early table has all rows.  Rows that change nothing are reported and left out.

    Raises:
        ValueError: the options have no held-out pairs, so nothing could be scored.
    """
    if not any(part.data.validation for part in options.parts):
        raise ValueError(f"{args.opt} holds no pairs out (data.validation): nothing would be scored")
    out = args.out or Path("checkpoint", "ablation", options.name)
    steps = args.steps or options.train.steps
    log = replace(options.log, panel=0, validate=steps, checkpoint=max(1, steps // 20), keep=1)
    options = replace(options, train=replace(options.train, steps=steps, init=""), log=log)
    variants = {}
    for name in dict.fromkeys([REFERENCE, *args.rows]):
        try:
            changed = ROWS[name].applied(options)
            ROWS[name].prepare(AdaSFFuse(changed.model))  # raises for impossible rows
        except ValueError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
            continue
        fixed = ROWS[name].fixed or ROWS[name].zero
        if changed == options and name != REFERENCE and not fixed:
            print(f"{name}: left out: the reference itself", file=sys.stderr)
            continue
        variants[name] = changed
    trials = []
    for seed in args.seeds:
        for name, changed in variants.items():
            run = f"{name}_seed{seed}"
            trials.append(
                Trial(name, seed, replace(changed, name=run, train=replace(changed.train, seed=seed)), out / run)
            )
    return trials


def run_all(trials: Sequence[Trial], jobs: int, device: str) -> None:
    """Train, `jobs` processes at once.  After SIGTERM or SIGINT each saves its state, and no other is started."""
    waiting, running, done, terminated = deque(trials), {}, 0, False
    with stop_requested() as stop:
        while running or (waiting and not stop()):
            while waiting and len(running) < jobs and not stop():
                trial = waiting.popleft()
                running[trial.folder] = trial, start(trial, device)
            if stop() and not terminated:
                for _, process in running.values():
                    process.terminate()
                terminated = True
            for trial, process in list(running.values()):
                if process.poll() is not None:
                    del running[trial.folder]
                    done += 1
                    print(f"[{done}/{len(trials)}] {trial.folder.name}: {outcome(trial, process)}", flush=True)
            time.sleep(0.1 if running else 0)


def start(trial: Trial, device: str) -> subprocess.Popen:
    """Start the ordinary trainer on one thread, in a process of its own, which locks the run's folder."""
    trial.folder.mkdir(parents=True, exist_ok=True)
    request = trial.folder.with_suffix(".json")
    write_text(request, json.dumps(trial.options.to_dict(), indent=2) + "\n")
    command = [sys.executable, Path(__file__).resolve(), "--train", trial.row, "--opt", request, "--device", device]
    with open(trial.folder / "output.txt", "a") as output:
        return subprocess.Popen(
            [*command, "--out", trial.folder.parent],
            stdout=output,
            stderr=output,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},  # the same package
        )


def train_row(args: argparse.Namespace) -> None:
    """Train one run in this process; errors as `train`."""
    train(load_options(args.opt), args.out, args.device, ROWS[args.train].prepare)


def outcome(trial: Trial, process: subprocess.Popen) -> str:
    """The scores of an ended run, or the reason why it has none."""
    scores = trial.scores()
    if scores is not None:
        return ", ".join(f"{name} {scores[name]:.4g}" for name in METRICS if name in scores)
    if process.returncode <= 0:  # success, or ended by a signal
        state = trial.state()
        if state.endswith(f" {trial.options.train.steps}"):
            return "no score: data.validation matches no image"
        return f"stopped; {state}"
    lines = (trial.folder / "output.txt").read_text(encoding="utf-8").strip().splitlines()
    return f"failed: {lines[-1] if lines else f'status {process.returncode}'}"


def report(name: str, trials: Sequence[Trial], seeds: Sequence[int]) -> str:
    """The Markdown page: a description, then the table, of several parts of the means over these.

    Args:
        trials: finished runs, with some of the reference.
    """
    by_row: dict[str, list[Trial]] = {}
    for trial in trials:
        by_row.setdefault(trial.row, []).append(trial)
    manifests = [trial.manifest() for trial in trials]
    options, images = by_row[REFERENCE][0].options, {manifest["data"]["sha256"] for manifest in manifests}
    commits = sorted({short_commit(start["git_commit"]) for manifest in manifests for start in manifest["starts"]})
    pairs = held_out_pairs(manifests[0]["data"]["files"])
    lines = [
        f"# Ablation of `{name}`",
        "",
        "This page shows what single parts of the network and of the loss contribute. `scripts/ablate.py` wrote it.",
        "",
        "## How it was measured",
        "",
        "- **Rows.** Each row changes one thing of the reference and is trained from random weights: "
        f"{options.train.steps} steps of {options.train.batch_size} crops of {options.parts[0].data.crop} x "
        f"{options.parts[0].data.crop} pixels, {options.train.precision}, seeds {', '.join(map(str, seeds))}, "
        f"commit {', '.join(commits)} ('+': with changes).",
        *describe(options),
        f"- **Scores.** Convention `{CONVENTION}`, averaged weights after the last step. They are means over the "
        f"held-out pairs ({', '.join(f'{label}: {count}' for label, count in pairs.items())}; their centres, at most "
        f"{SIZE} x {SIZE} pixels), then over the seeds. In parentheses: the spread of the seeds, largest minus "
        "smallest. Higher is better.",
        "- **Marks.** `=`: no further from the reference than the larger of both spreads; `+`: better; `-`: worse. No "
        "mark: fewer than two seeds, so nothing can be told.",
    ]
    if len(images) > 1:
        lines += ["", "**The images changed between these runs; rows are not comparable.**"]
    title = "Mean over the parts" if len(options.parts) > 1 else "Scores"
    lines += ["", f"## {title}", "", *table(by_row, len(seeds))]
    return "\n".join(lines) + "\n"


def describe(options: Options) -> list[str]:
    """The reference as items of a list: its network, then the loss of each part."""
    model = options.model
    parts = [f"{model.channels} channels", f"patch {model.patch}", f"N1 = {model.band_blocks}"]
    parts += [f"N2 = {model.full_blocks}", f"{model.scan} scan", f"{model.output} head"]
    lines = [f"- **Network of the reference.** {', '.join(parts)}."]
    for label, part in zip(options.labels, options.parts):
        weights = {term: getattr(part.loss, term) for term in TERMS}
        listed = ", ".join(f"{term} {weight:g}" for term, weight in weights.items() if weight)
        lines.append(f"- **Loss of the reference for {label}.** Target {part.loss.target}; {listed}.")
    return lines


def held_out_pairs(files: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Number of validation pairs of each part: a pair has one file in each of its data set's folders, of any name."""
    folders = Counter(
        (file["part"], PurePosixPath(file["name"]).parent) for file in files if file["role"] == "validation"
    )
    largest: Counter[tuple[str, PurePosixPath]] = Counter()
    for (part, folder), count in folders.items():
        largest[part, folder.parent] = max(largest[part, folder.parent], count)
    pairs: Counter[str] = Counter()
    for (part, _), count in largest.items():
        pairs[part] += count
    return dict(pairs)


def short_commit(commit: str | None) -> str:
    if commit is None:
        return "unknown"
    return f"{commit[:10]}+" if commit.endswith("+") else commit[:10]


def mean_scores(trials: Sequence[Trial]) -> dict[str, list[float]]:
    """Metric to one value per run, the mean over the parts."""
    scores = [trial.scores() or {} for trial in trials]
    names = [name for name in METRICS if all(name in run for run in scores)]
    return {name: [run[name] for run in scores] for name in names}


def table(by_row: Mapping[str, Sequence[Trial]], seeds: int) -> list[str]:
    """Lines of a Markdown table, the reference first."""
    results = {row: mean_scores(trials) for row, trials in by_row.items()}
    reference = results[REFERENCE]
    lines = [
        f"| row | change | parameters | {' | '.join(reference)} | against the reference |",
        f"| --- | --- | --: |{' --: |' * len(reference)} --- |",
    ]
    for row, trials in by_row.items():
        name = row if len(trials) == seeds else f"{row} ({len(trials)} of {seeds} seeds)"
        cells = [name, ROWS[row].what, f"{trained_parameters(trials[0]) / 1e3:.0f} k"]
        marks = []
        for metric, expected in reference.items():
            values = results[row].get(metric)
            mark = "" if row == REFERENCE or values is None else compare(values, expected)
            marks.append(mark)
            cells.append(score_text(values, mark) if values else "")
        lines.append(f"| {' | '.join([*cells, '' if row == REFERENCE else verdict(marks)])} |")
    return lines


def trained_parameters(trial: Trial) -> int:
    """Number of parameters that a run trains."""
    model = AdaSFFuse(trial.options.model)
    ROWS[trial.row].prepare(model)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def score_text(values: Sequence[float], mark: str) -> str:
    """Mean, spread and mark: '0.912 (0.004) ='."""
    mean, spread = statistics.mean(values), max(values) - min(values)
    digits = 2 if abs(mean) >= 10 else 3
    parts = [f"{mean:.{digits}f}", f"({spread:.{digits}f})" if len(values) > 1 else "", mark]
    return " ".join(part for part in parts if part)


def compare(values: Sequence[float], reference: Sequence[float]) -> str:
    """'=' if the means differ by no more than the larger spread, else '+' or '-'; '' with fewer than two seeds."""
    if min(len(values), len(reference)) < 2:
        return ""
    difference = statistics.mean(values) - statistics.mean(reference)
    spread = max(max(scores) - min(scores) for scores in (values, reference))
    if abs(difference) <= spread:
        return "="
    return "+" if difference > 0 else "-"


def verdict(marks: Sequence[str]) -> str:
    """A row's marks in a word; '' if some are missing."""
    if not all(marks):
        return ""
    words = {(True, True): "mixed", (True, False): "better", (False, True): "worse", (False, False): "equal"}
    return words["+" in marks, "-" in marks]


if __name__ == "__main__":
    sys.exit(main())
