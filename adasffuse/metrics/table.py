"""A table of scores: one row per method and image, means per method, as text, CSV, JSON, Markdown and LaTeX."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adasffuse.metrics.conventions import METRICS, definitions


@dataclass(frozen=True)
class Row:
    """The scores of one fused image."""

    method: str
    name: str  # stem of the pair
    size: tuple[int, int]  # height, width
    scores: Mapping[str, float]


class ScoreTable:
    """Scores of several methods on several images, under one named convention."""

    def __init__(self, metrics: Sequence[str], convention: str = "adasffuse") -> None:
        definitions(metrics, convention)  # names an unknown one
        self.metrics = tuple(metrics)
        self.convention = convention
        self.rows: list[Row] = []

    def add(self, method: str, name: str, size: tuple[int, int], scores: Mapping[str, float]) -> None:
        """Add the scores, in every metric of the table, of one fused image of `size` (height, width)."""
        missing = [metric for metric in self.metrics if metric not in scores]
        if missing:
            raise ValueError(f"{method}, {name}: no score for {', '.join(missing)}")
        size = (int(size[0]), int(size[1]))
        self.rows.append(Row(method, name, size, {metric: float(scores[metric]) for metric in self.metrics}))

    @property
    def methods(self) -> list[str]:
        """Method names in the order they were added."""
        return list(dict.fromkeys(row.method for row in self.rows))

    def values(self, method: str, metric: str) -> np.ndarray:
        """All scores of a method in one metric, NaN included."""
        return np.array([row.scores[metric] for row in self.rows if row.method == method], dtype=np.float64)

    def means(self, method: str) -> dict[str, float]:
        """Mean per metric over the images with a score (not NaN); NaN where there is none."""
        values = {metric: self.values(method, metric) for metric in self.metrics}
        return {
            metric: float(v[~np.isnan(v)].mean()) if (~np.isnan(v)).any() else math.nan for metric, v in values.items()
        }

    def skipped(self, method: str) -> dict[str, int]:
        """Number of images without a score, per metric."""
        return {metric: int(np.isnan(self.values(method, metric)).sum()) for metric in self.metrics}

    def ranks(self) -> dict[str, dict[str, float]]:
        """Rank of every method in every metric by its mean, 1 the best, ties share; NaN where it has no mean."""
        methods, ranks = self.methods, {method: {} for method in self.methods}
        means = {method: self.means(method) for method in methods}
        for metric in self.metrics:
            sign = 1 if METRICS[metric].better == "lower" else -1
            column = np.array([sign * means[method][metric] for method in methods])
            placed = np.full(len(methods), np.nan)
            placed[~np.isnan(column)] = _rank(column[~np.isnan(column)])
            for method, rank in zip(methods, placed):
                ranks[method][metric] = float(rank)
        return ranks

    def mean_ranks(self) -> dict[str, float]:
        """Mean over the metrics of each method's rank."""
        return {method: _mean(list(ranks.values())) for method, ranks in self.ranks().items()}

    def describe(self) -> str:
        """One line: convention, number of images scored and their sizes."""
        counts = {method: sum(row.method == method for row in self.rows) for method in self.methods}
        n = str(next(iter(counts.values()), 0))
        if len(set(counts.values())) > 1:
            n = ", ".join(f"{method} {count}" for method, count in counts.items())
        return f"convention {self.convention}, n = {n} ({_sizes([row.size for row in self.rows])})"

    def text(self) -> str:
        """The table for a terminal; * marks the best mean of a column, + the second best, (-k) that k were skipped."""
        note = "* best, + second best; (-k): mean without k images that have no score; arrows: better"
        cells = self._cells("{}*", "{}+", "{} (-{})")
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
            )
            for row in cells
        ]
        rule = "-" * len(lines[0])
        return "\n".join([self.describe(), lines[0], rule, *lines[1:], rule, note])

    def markdown(self) -> str:
        """The table in Markdown: best in bold, second best underlined."""
        cells = self._cells("**{}**", "<u>{}</u>", "{} (-{})")
        lines = ["| " + " | ".join(row) + " |" for row in cells]
        lines.insert(1, "|" + " --- |" + " ---: |" * (len(cells[0]) - 1))
        return "\n".join([*lines, "", f"{self.describe()}. Best in bold, second best underlined.", ""])

    def latex(self) -> str:
        """The table as a LaTeX tabular (package booktabs): best in bold, second best underlined."""
        cells = self._cells(r"\textbf{{{}}}", r"\underline{{{}}}", "{} ({{-}}{})")
        cells = [[_latex(cell) for cell in row] for row in cells]
        head, *body = (" & ".join(row) + r" \\" for row in cells)
        columns = "l" + "r" * (len(cells[0]) - 1)
        begin = [f"% {self.describe()}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule"]
        return "\n".join([*begin, *body, r"\bottomrule", r"\end{tabular}", ""])

    def csv(self) -> str:
        """Every image's scores in full precision: method, name, height, width, convention, metrics."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["method", "name", "height", "width", "convention", *self.metrics])
        for row in self.rows:
            scores = [repr(row.scores[metric]) for metric in self.metrics]
            writer.writerow([row.method, row.name, *row.size, self.convention, *scores])
        return out.getvalue()

    def json(self) -> str:
        """Means, ranks and every image's scores as JSON; what is NaN or infinite becomes null or a string."""
        ranks = self.mean_ranks()
        methods = {
            method: {
                "n": sum(row.method == method for row in self.rows),
                "mean": _plain(self.means(method)),
                "skipped": self.skipped(method),
                "mean_rank": _plain(ranks)[method],
            }
            for method in self.methods
        }
        images = [
            {"method": row.method, "name": row.name, "size": list(row.size), "scores": _plain(row.scores)}
            for row in self.rows
        ]
        better = {metric: METRICS[metric].better for metric in self.metrics}
        content = {"convention": self.convention, "better": better, "methods": methods, "images": images}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    def _cells(self, best: str, second: str, skipped: str) -> list[list[str]]:
        """Header and one line per method, marked."""
        ranks, mean_ranks = self.ranks(), self.mean_ranks()
        arrows = {"higher": "↑", "lower": "↓"}
        lines = [["method", *(metric + arrows[METRICS[metric].better] for metric in self.metrics), "mean rank"]]
        for method in self.methods:
            means, missing, line = self.means(method), self.skipped(method), [method]
            for metric in self.metrics:
                cell = _number(means[metric])
                order = sorted({ranks[m][metric] for m in self.methods if not math.isnan(ranks[m][metric])})
                if len(self.methods) > 1 and ranks[method][metric] in order[:2]:
                    cell = (best if ranks[method][metric] == order[0] else second).format(cell)
                line.append(skipped.format(cell, missing[metric]) if missing[metric] else cell)
            lines.append([*line, f"{mean_ranks[method]:.2f}"])
        return lines


def _rank(values: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal values share the mean of their places."""
    below = (values < values[:, None]).sum(axis=1)
    equal = (values == values[:, None]).sum(axis=1)
    return below + (equal + 1) / 2


def _mean(values: list[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else math.nan


def _number(value: float) -> str:
    """Four significant digits or more, never scientific: 0.5728, 21.79, 2314."""
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else f"{value}"
    digits_before_point = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:.{max(0, 4 - digits_before_point)}f}"


def _sizes(sizes: list[tuple[int, int]]) -> str:
    """'640x480', or the range of widths and heights."""
    if not sizes:
        return "nothing scored"
    counts = Counter(sizes)
    if len(counts) == 1:
        ((height, width),) = counts
        return f"{width}x{height} px"
    heights, widths = zip(*counts)
    return f"{min(widths)}-{max(widths)} x {min(heights)}-{max(heights)} px, width x height"


def _plain(scores: Mapping[str, float]) -> dict[str, float | str | None]:
    """JSON has neither NaN nor infinity: null and 'inf', '-inf'."""
    return {k: None if math.isnan(v) else v if math.isfinite(v) else str(v) for k, v in scores.items()}


def _latex(cell: str) -> str:
    return cell.replace("_", r"\_").replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")
