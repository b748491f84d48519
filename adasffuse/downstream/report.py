"""Tables and figures of a comparison: means and spread over seeds, and paired differences between modalities."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.downstream.contrast import Contrast, contrasts
from adasffuse.downstream.experiment import ALL, Experiment, Run, found_boxes, found_masks
from adasffuse.downstream.frames import Frame, mask_of
from adasffuse.files import write_text, write_with
from adasffuse.images.color import as_rgb
from adasffuse.images.panel import contact_sheet
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise, write_image
from adasffuse.messages import counted, in_latex, in_markdown
from adasffuse.metrics.plots import figures

METRICS = {"detect": ("mAP", "AP50", "AP75"), "segment": ("IoU", "accuracy")}  # the first one is shown per class
_TITLES = {"mAP": "mAP@[.5:.95]", "AP50": "AP@.5", "AP75": "AP@.75"}
_DRAWN_SCORE = 0.4  # least score of drawn boxes
_BOX_COLORS = ((255, 70, 70), (80, 230, 80), (70, 150, 255), (255, 220, 50), (240, 90, 240), (60, 230, 230))
_OVERLAY = 0.5  # share of a class's colour in an overlay
MEAN = "mean"


@dataclass(frozen=True)
class Value:
    """One score of one network."""

    modality: str  # trained on
    tested: str  # scored on
    seed: int
    group: str
    metric: str
    name: str  # of the class, or 'mean'
    value: float  # NaN: the class has no score


@dataclass
class Report:
    """The scores of all finished runs of an experiment."""

    experiment: Experiment
    values: list[Value]
    contrasts: list[Contrast] = field(default_factory=list)

    @staticmethod
    def of(experiment: Experiment, results: Mapping[Run, Mapping[str, Any]]) -> "Report":
        """From what `carry_out` returned for each run."""
        values = [
            Value(run.modality, tested, run.seed, group, metric, name, math.nan if value is None else value)
            for run, content in results.items()
            for tested, groups in content["scores"].items()
            for group, metrics in groups.items()
            for metric, names in metrics.items()
            for name, value in names.items()
        ]
        return Report(experiment, values, contrasts(experiment.scored, experiment.files, experiment.classes))

    def by_seed(self, modality: str, group: str, metric: str, name: str, tested: str | None = None) -> dict[int, float]:
        """Seed to value of the networks trained on a modality, scored on it or on `tested`."""
        wanted = (modality, tested or modality, group, metric, name)
        return {
            one.seed: one.value
            for one in self.values
            if (one.modality, one.tested, one.group, one.metric, one.name) == wanted
        }

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(one.group for one in self.values))

    @property
    def modalities(self) -> list[str]:
        return [name for name in self.experiment.files if any(one.modality == name for one in self.values)]

    def columns(self, group: str) -> list[tuple[str, str]]:
        """Metric and class of each column of a group's table: each class by the first metric, then the means."""
        first, *others = METRICS[self.experiment.task]
        names = self.experiment.classes.names
        present = [
            n for n in names if any(one.group == group and one.name == n and one.value >= 0 for one in self.values)
        ]
        return [*((first, name) for name in present), *((metric, MEAN) for metric in (first, *others))]

    def table(self, group: str) -> list[list[str]]:
        """Header and rows of cells: mean and standard deviation over seeds."""
        columns = self.columns(group)
        rows = [["trained and tested on", *(_heading(self.experiment.task, *column) for column in columns)]]
        for modality in self.modalities:
            rows.append([modality, *(_cell(self.by_seed(modality, group, *column)) for column in columns)])
        return rows

    def applied_table(self, group: str) -> list[list[str]]:
        """`table` for networks of the modality `experiment.applied`, tested on every modality; empty without such."""
        trained = self.experiment.applied
        if trained not in self.modalities:
            return []
        columns = self.columns(group)
        rows = [[f"trained on {trained}, tested on", *(_heading(self.experiment.task, *column) for column in columns)]]
        for tested in self.experiment.files:
            cells = [_cell(self.by_seed(trained, group, *column, tested=tested)) for column in columns]
            rows.append([tested, *cells])
        return rows

    def differences(self, group: str) -> list[list[str]]:
        """Paired differences of the first metric per class: mean over seeds, and the number of positive ones."""
        columns = [column for column in self.columns(group) if column[0] == METRICS[self.experiment.task][0]]
        rows = [["difference, same seed", *(_heading(self.experiment.task, *column) for column in columns)]]
        bases = [name for name in ("visible", "infrared") if name in self.modalities]
        pairs = [(a, b) for b in bases for a in self.modalities if a != b and (b, a) != ("infrared", "visible")]
        for better, base in pairs:
            cells = []
            for column in columns:
                one, other = (self.by_seed(name, group, *column) for name in (better, base))
                both = [one[seed] - other[seed] for seed in one.keys() & other.keys()]
                both = [value for value in both if math.isfinite(value)]
                positive = f" ({sum(value > 0 for value in both)}/{len(both)})" if both else ""
                cells.append(_cell(dict(enumerate(both)), signed=True) + positive)
            rows.append([f"{better} - {base}", *cells])
        return rows

    def contrast_table(self, group: str) -> list[list[str]]:
        """Mean contrast of the objects of each class in each kind of image, and the share of darker ones; or empty."""
        stems = {frame.stem for frame in self.experiment.scored_groups().get(group, [])}
        found: dict[str, dict[str, list[float]]] = {}
        for one in self.contrasts:
            if one.stem in stems:
                found.setdefault(one.image, {}).setdefault(one.name, []).append(one.value)
        names = [name for name in self.experiment.classes.names if any(name in some for some in found.values())]
        if not names:
            return []
        rows = [["kind of image", *names]]
        for kind, some in found.items():
            cells = [f"{np.mean(some[name]):+.0f} ({np.mean(np.less(some[name], 0)):.0%} darker)" for name in names]
            rows.append([kind, *cells])
        return rows

    def describe(self) -> str:
        """A few lines about the network, its training and the test frames."""
        e = self.experiment
        height, width = e.size
        groups = {group: frames for group, frames in e.scored_groups().items() if group in e.groups}
        parts = ", ".join(f"{len(frames)} {group}" for group, frames in groups.items())
        kind = "masks" if e.task == "segment" else "boxes"
        start = "from scratch" if e.weights == "scratch" else f"from {e.weights} weights"
        network = e.model if e.model.startswith(("yolo", "segformer", "ssdlite")) else f"{e.model} on {e.backbone}"
        seeds = ", ".join(map(str, e.seeds))
        others = "".join(
            f"{name}: {counted(len(frames), 'frame')} of another data set. " for name, frames in e.others.items()
        )
        return (
            f"{network}, {start}, {width}x{height}, {counted(e.budget.epochs, 'epoch')} of "
            f"{counted(len(e.train), 'frame')}, seeds {seeds}; "
            f"tested on {counted(len(e.test), 'frame')}{f' ({parts})' if parts else ''} with {kind}. "
            f"{others}"
            "Mean and standard deviation over seeds; a class that no test frame shows has no column."
        )

    def text(self) -> str:
        """All tables for the terminal."""
        parts = [self.describe()]
        for title, rows in self._tables():
            widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
            lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
            parts.append("\n".join([title, *lines]))
        return "\n\n".join(parts)

    def markdown(self) -> str:
        parts = [self.describe()]
        for title, rows in self._tables():
            lines = [f"| {' | '.join(map(in_markdown, row))} |" for row in rows]
            lines.insert(1, "|---" * len(rows[0]) + "|")
            parts.append("\n".join([f"**{title}**\n", *lines]))
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """One tabular per table (package booktabs)."""
        parts = []
        for title, rows in self._tables():
            head, *body = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in rows]
            spec = "l" + "r" * (len(rows[0]) - 1)
            lines = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
            parts.append("\n".join([f"% {title}", *lines, r"\end{tabular}"]))
        return "\n\n".join(parts) + "\n"

    def csv(self) -> str:
        """One line per value, without averaging."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trained_on", "tested_on", "seed", "group", "metric", "class", "value"])
        for one in self.values:
            value = "" if math.isnan(one.value) else f"{one.value:.6g}"
            writer.writerow([one.modality, one.tested, one.seed, one.group, one.metric, one.name, value])
        return file.getvalue()

    def _tables(self) -> Iterable[tuple[str, list[list[str]]]]:
        """Title and rows of all tables that are not empty."""
        for group in self.groups:
            yield f"{group} frames", self.table(group)
        for group in self.groups:
            applied = self.applied_table(group)
            if applied:
                yield f"{group} frames, networks trained on {self.experiment.applied} images", applied
        for group in self.groups:
            rows = self.differences(group)
            if len(rows) > 1:
                yield f"{group} frames, paired differences (seeds in which they are above 0)", rows
        for group in self.groups:
            rows = self.contrast_table(group)
            if rows:
                yield f"{group} frames, objects against their surroundings, mean difference in gray levels", rows


def write_report(report: Report, results: Mapping[Run, Mapping[str, Any]], drawn: int = 4) -> list[Path]:
    """Write tables (CSV, Markdown, LaTeX), figures and drawn predictions to the experiment's folder.

    Args:
        drawn: number of test frames to draw with the predictions of the first seed in each modality.
    Returns:
        The files.
    """
    out = report.experiment.out
    texts = {"table.csv": report.csv(), "table.md": report.markdown(), "table.tex": report.latex()}
    for name, text in texts.items():
        write_text(out / name, text)
    files = [out / name for name in texts]
    detail = _confusion_figure if report.experiment.task == "segment" else _precision_recall_figure
    files += [_scores_figure(report), detail(report.experiment, results)]
    if drawn:
        files.append(_draw(report, drawn))
    return files


def _scores_figure(report: Report) -> Path:
    """A panel per class and for their mean, over all frames, with a point per seed and a line at the mean."""
    columns = [column for column in report.columns(ALL) if column[0] == METRICS[report.experiment.task][0]]
    figure = figures()(figsize=(2.2 * len(columns) + 0.6, 1.6 + 0.3 * len(report.modalities)), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, columns):
        for row, modality in enumerate(report.modalities):
            values = list(report.by_seed(modality, ALL, *column).values())
            axes.plot(values, [row] * len(values), "o", ms=4, alpha=0.6)
            axes.plot([np.mean(values)] * 2, [row - 0.35, row + 0.35], "k-", lw=1.5)
        axes.set_title(_heading(report.experiment.task, *column), fontsize=9)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(report.modalities)), report.modalities)
    panels[0].invert_yaxis()
    path = report.experiment.out / "scores.png"
    write_with(path, partial(figure.savefig, dpi=130))
    return path


def _precision_recall_figure(experiment: Experiment, results: Mapping[Run, Mapping[str, Any]]) -> Path:
    """Precision against recall at IoU .5, a panel per class; means over seeds, all frames."""
    shown = [name for name in experiment.classes.names if any(name in r["curves"][ALL] for r in results.values())]
    figure = figures()(figsize=(3.4 * len(shown) + 0.4, 3.4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        for modality in experiment.files:
            curves = [r["curves"][ALL][kind] for run, r in results.items() if run.modality == modality]
            if curves:
                axes.plot(np.linspace(0, 1, 101), np.mean(curves, axis=0), label=modality)
        axes.set(title=kind, xlabel="recall", ylabel="precision at IoU .5", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(fontsize=7)
    path = experiment.out / "precision_recall.png"
    write_with(path, partial(figure.savefig, dpi=130))
    return path


def _confusion_figure(experiment: Experiment, results: Mapping[Run, Mapping[str, Any]]) -> Path:
    """Confusion matrices, a panel per modality; sums over seeds, all frames."""
    names = experiment.classes.names
    done = [name for name in experiment.files if any(run.modality == name for run in results)]
    side = 0.42 * len(names) + 1.2
    figure = figures()(figsize=(side * len(done), side + 0.4), layout="constrained")
    for axes, modality in zip(figure.subplots(1, len(done), squeeze=False)[0], done):
        matrix = sum(np.array(r["confusion"][ALL]) for run, r in results.items() if run.modality == modality)
        shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                colour = "white" if share > 0.6 else "black"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color=colour)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set(title=modality, xlabel="found, % of the true class's pixels")
    path = experiment.out / "confusion.png"
    write_with(path, partial(figure.savefig, dpi=130))
    return path


def _draw(report: Report, count: int) -> Path:
    """A contact sheet with a row per test frame: the label, then the prediction in each modality."""
    experiment = report.experiment
    step = max(1, len(experiment.test) // count)
    frames = experiment.test[step // 2 :: step][:count]
    runs = [Run(modality, experiment.seeds[0]) for modality in report.modalities]
    shown_in = "visible" if "visible" in experiment.files else runs[0].modality
    rows = [[(f"{frame.stem}: label", _labelled(frame, experiment, shown_in))] for frame in frames]
    for run in runs:
        found = found_masks(experiment, run, frames) if experiment.task == "segment" else found_boxes(experiment, run)
        for row, frame in zip(rows, frames):
            pixels = _pixels(experiment.files[run.modality][frame.stem])
            if experiment.task == "segment":
                shown = overlay(pixels, found[frame.stem], experiment.classes.drawn)
            else:
                boxes = [(one.name, one.edges) for one in found[frame.stem] if one.score >= _DRAWN_SCORE]
                shown = with_boxes(pixels, boxes, experiment)
            row.append((run.modality, shown))
    path = experiment.out / "predictions.png"
    write_image(path, contact_sheet(rows))
    return path


def _labelled(frame: Frame, experiment: Experiment, modality: str) -> ndarray:
    pixels = _pixels(experiment.files[modality][frame.stem])
    if experiment.task == "segment":
        return overlay(pixels, mask_of(frame, experiment.classes), experiment.classes.drawn)
    boxes = [(box.name, (box.left, box.top, box.right, box.bottom)) for box in frame.boxes.boxes]
    return with_boxes(pixels, boxes, experiment)


def _pixels(path: Path) -> ndarray:
    """(H, W, 3) uint8."""
    return as_rgb(quantise(read_image(path).pixels, "8"))


def overlay(pixels: ndarray, ids: ndarray, colors: Sequence[tuple[int, int, int]]) -> ndarray:
    """An image overlaid with the colours of its classes, except for background (0) and ignored pixels.

    Args:
        pixels: (H, W, 3) uint8.
        ids: (H, W).
    Returns:
        (H, W, 3) uint8.
    """
    table = np.zeros((256, 3), np.float32)
    table[: len(colors)] = colors
    mixed = (1 - _OVERLAY) * pixels + _OVERLAY * table[ids]
    shown = (ids > 0) & (ids < len(colors))
    return np.where(shown[..., None], mixed, pixels).round().astype(np.uint8)


def with_boxes(
    pixels: ndarray, boxes: Sequence[tuple[str, tuple[float, float, float, float]]], experiment: Experiment
) -> ndarray:
    """An image, (H, W, 3) uint8, with boxes (class, edges) drawn on it."""
    drawn = np.ascontiguousarray(pixels)
    for name, edges in boxes:
        color = _BOX_COLORS[experiment.classes.number(name) % len(_BOX_COLORS)]
        left, top, right, bottom = (round(value) for value in edges)
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), color, 2)
        cv2.putText(drawn, name, (left + 2, max(10, top - 3)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)
    return drawn


def _heading(task: str, metric: str, name: str) -> str:
    if name != MEAN:
        return name
    if task == "segment":
        return {"IoU": "mIoU", "accuracy": "mean accuracy"}[metric]
    return _TITLES[metric]


def _cell(values: Mapping[int, float], signed: bool = False) -> str:
    """Mean, and standard deviation if there are two values or more."""
    some = [value for value in values.values() if math.isfinite(value)]
    if not some:
        return "-"
    mean = f"{np.mean(some):{'+' if signed else ''}.3f}"
    return mean + (f" ± {np.std(some, ddof=1):.3f}" if len(some) > 1 else "")


def _latex(cell: str) -> str:
    return in_latex(cell).replace("±", r"$\pm$")
