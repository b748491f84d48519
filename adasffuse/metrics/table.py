"""A table of scores: one row per method and image, means per method, as text, CSV, JSON, Markdown and LaTeX."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from adasffuse.images.notices import without_numbers
from adasffuse.messages import first_of, in_latex, in_markdown, printable
from adasffuse.metrics.conventions import METRICS, definitions

_NAMES_SHOWN = 5  # images that a note names


@dataclass(frozen=True)
class Row:
    """The scores of one fused image."""

    method: str
    name: str  # stem of the pair
    size: tuple[int, int]  # height, width
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Unscored:
    """An image of a method that has no scores."""

    method: str
    name: str  # stem of the pair
    reason: str


class ScoreTable:
    """Scores of several methods on several images, under one named convention.

    Means and ranks are over the images that all methods have.  If no image is common to all, each mean is over the
    method's own images and nothing is ranked.  A method ranks last in a metric if it lacks the score of an image that
    another method has: its mean is over fewer images, and perhaps over easier ones.
    """

    def __init__(self, metrics: Sequence[str], convention: str = "adasffuse", beside: Sequence[str] = ()) -> None:
        """An empty table.

        Args:
            metrics: names out of `METRICS`; they are ranked if `Metric.ranked`.
            convention: name out of `CONVENTIONS`.
            beside: further names, whose columns come after the mean rank and do not count in it.
        Raises:
            ValueError: unknown metric or convention, or the convention does not define the metric.
        """
        names = dict.fromkeys([*metrics, *beside])
        definitions(names, convention)
        self.ranked = tuple(name for name in dict.fromkeys(metrics) if METRICS[name].ranked)
        self.beside = tuple(name for name in names if name not in self.ranked)
        self.metrics = (*self.ranked, *self.beside)
        self.convention = convention
        self.rows: list[Row] = []
        self.unscored: list[Unscored] = []
        self.notices: list[str] = []  # sentences for the user about folders, files and cache

    def add(self, method: str, name: str, size: tuple[int, int], scores: Mapping[str, float]) -> None:
        """Add the scores of one fused image.

        Args:
            method, name: the method, and the stem of the pair.
            size: (height, width) in pixels.
            scores: metric to score, NaN where it is undefined.
        Raises:
            ValueError: a metric of the table is not among the scores.
        """
        missing = [metric for metric in self.metrics if metric not in scores]
        if missing:
            raise ValueError(f"{method}, {name}: no score for {', '.join(missing)}")
        size = (int(size[0]), int(size[1]))
        self.rows.append(Row(method, name, size, {metric: float(scores[metric]) for metric in self.metrics}))

    def add_unscored(self, method: str, name: str, reason: str) -> None:
        """Note that an image of a method could not be scored.

        Args:
            method, name: the method, and the stem of the pair.
            reason: a sentence that names the file.
        """
        self.unscored.append(Unscored(method, name, reason))

    @property
    def methods(self) -> list[str]:
        """Names of the methods that have scores, in the order they were added."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def empty_methods(self) -> list[str]:
        """Names of the methods without any scored image."""
        return list(dict.fromkeys(one.method for one in self.unscored if one.method not in self.methods))

    def names(self, method: str) -> list[str]:
        """Stems of the images that a method was scored on."""
        return [row.name for row in self.rows if row.method == method]

    def common_names(self) -> set[str]:
        """Stems of the images that every method was scored on."""
        names: dict[str, set[str]] = {}
        for row in self.rows:
            names.setdefault(row.method, set()).add(row.name)
        return set.intersection(*names.values()) if names else set()

    def _compared_rows(self, method: str) -> list[Row]:
        """The rows over which the means of a method are taken."""
        common = self.common_names()
        return [row for row in self.rows if row.method == method and (row.name in common or not common)]

    def values(self, method: str, metric: str) -> np.ndarray:
        """Scores of a method in one metric over which its mean is taken, NaN included: (N,) float64."""
        return np.array([row.scores[metric] for row in self._compared_rows(method)], dtype=np.float64)

    def means(self, method: str) -> dict[str, float]:
        """Mean per metric over the images with a score (not NaN); NaN if there is none."""
        rows, means = self._compared_rows(method), {}
        for metric in self.metrics:
            values = [row.scores[metric] for row in rows if not math.isnan(row.scores[metric])]
            means[metric] = float(np.mean(values)) if values else math.nan
        return means

    def skipped(self, method: str) -> dict[str, int]:
        """Number of images without a score, per metric."""
        rows = self._compared_rows(method)
        return {metric: sum(math.isnan(row.scores[metric]) for row in rows) for metric in self.metrics}

    def comparable(self, metric: str) -> set[str]:
        """The methods that can be compared in a metric: those with a score of every image on which any method has one.

        Empty if no image is common to all methods.
        """
        if not self.common_names():
            return set()
        scored = {
            method: {row.name for row in self._compared_rows(method) if not math.isnan(row.scores[metric])}
            for method in self.methods
        }
        wanted = set().union(*scored.values())
        return {method for method, names in scored.items() if names and names >= wanted}

    def ranks(self, metrics: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
        """Rank of every method in every ranked metric by its mean.

        Args:
            metrics: some metrics of the table in place of the ranked ones.
        Returns:
            method to metric to rank: 1 is best, equal means share the mean of their places, methods that lack a score
                which another one has share the last places; NaN if no image is common to all methods.
        """
        methods, ranks = self.methods, {method: {} for method in self.methods}
        means = {method: self.means(method) for method in methods}
        ranked = bool(self.common_names())
        for metric in self.ranked if metrics is None else metrics:
            sign = 1 if METRICS[metric].better == "lower" else -1
            column = np.array([sign * means[method][metric] for method in methods])
            comparable = self.comparable(metric)
            known = np.array([method in comparable for method in methods])
            places = np.full(len(methods), (known.sum() + 1 + len(methods)) / 2)  # mean of the last places
            _, place, ties = np.unique(column[known], return_inverse=True, return_counts=True)
            places[known] = (np.cumsum(ties) - (ties - 1) / 2)[place]  # ties share the mean of their places
            if not ranked:
                places[:] = math.nan
            for method, rank in zip(methods, places):
                ranks[method][metric] = float(rank)
        return ranks

    def mean_ranks(self, metrics: Sequence[str] | None = None) -> dict[str, float]:
        """Mean over the ranked metrics, or over `metrics`, of each method's rank; NaN if nothing is ranked."""
        return {
            method: float(np.mean(list(ranks.values()))) if ranks else math.nan
            for method, ranks in self.ranks(metrics).items()
        }

    def describe(self) -> str:
        """One line: convention, number of images compared and their sizes."""
        common = self.common_names()
        sizes = _sizes([row.size for row in self.rows if row.name in common or not common])
        counts = {method: len(self.names(method)) for method in self.methods}
        n = str(len(common))
        if not common and counts:
            n = ", ".join(f"{method} {count}" for method, count in counts.items())
        return f"convention {self.convention}, n = {n} ({sizes})"

    def notes(self) -> list[str]:
        """Sentences below the table: which images were compared, and which were not scored and why.

        What went wrong with many images of a method in one way, but for names and numbers, is said of the first one.
        """
        lines, common = [], self.common_names()
        if any(count for method in self.methods for count in self.skipped(method).values()):
            lines.append(
                "(-k): mean without k images that have no score, ranks last where another method has them; "
                "n/a: no score, ranks last"
            )
        counts = {method: len(self.names(method)) for method in self.methods}
        if len(set(counts.values())) > 1 or any(count > len(common) for count in counts.values()):
            scored = ", ".join(f"{method} {count}" for method, count in counts.items())
            if common:
                lines.append(
                    f"images scored: {scored}; means and ranks are over the {len(common)} that all methods have"
                )
            else:
                lines.append(f"images scored: {scored}; no image is common to all, so means are not comparable")
        groups: dict[str, list[Unscored]] = {}
        for one in self.unscored:
            kind = without_numbers(one.reason).replace(without_numbers(one.name), "*")
            groups.setdefault(kind, []).append(one)
        everyone = {*self.methods, *self.empty_methods}
        for group in groups.values():
            names, methods = list(dict.fromkeys(one.name for one in group)), {one.method for one in group}
            whose = "all methods" if methods == everyone and len(everyone) > 1 else ", ".join(sorted(methods))
            first = "" if len({one.reason for one in group}) == 1 else ", the first"
            lines.append(f"not scored: {first_of(names, _NAMES_SHOWN)} of {whose}{first}: {group[0].reason}")
        return lines

    def _unranked(self) -> str:
        """The end of a note: the metrics that are not ranked; '' for none."""
        return f"; not ranked: {', '.join(self.beside)}" if self.beside else ""

    def text(self) -> str:
        """The table for a terminal; * marks the best mean of a column, + the second best, (-k) k skipped images."""
        note = f"* best, + second best; arrows: better{self._unranked()}"
        cells = self._cells("{}*", "{}+", "{} (-{})", printable)
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = []
        for row in cells:
            method, *scores = row
            aligned = [cell.rjust(width) for cell, width in zip(scores, widths[1:])]
            lines.append("  ".join([method.ljust(widths[0]), *aligned]))
        rule = "-" * len(lines[0])
        return "\n".join([self.describe(), lines[0], rule, *lines[1:], rule, note, *self.notes()])

    def markdown(self) -> str:
        """The table in Markdown: best in bold, second best underlined."""
        cells = self._cells("**{}**", "<u>{}</u>", "{} (-{})", in_markdown)
        lines = ["| " + " | ".join(row) + " |" for row in cells]
        lines.insert(1, "|" + " --- |" + " ---: |" * (len(cells[0]) - 1))
        marks = f"Best in bold, second best underlined{self._unranked()}"
        notes = [f"{self.describe()}. {marks}.", *self.notes()]
        return "\n".join([*lines, "", "\n\n".join(notes), ""])

    def latex(self) -> str:
        """The table as a LaTeX tabular (package booktabs): best in bold, second best underlined."""
        cells = self._cells(r"\textbf{{{}}}", r"\underline{{{}}}", "{} ({{-}}{})", in_latex)
        cells[0] = [_latex_heading(cell) for cell in cells[0]]
        head, *body = (" & ".join(row) + r" \\" for row in cells)
        columns = "l" + "r" * (len(cells[0]) - 1)
        needs = r"needs \usepackage{booktabs}; best in bold, second best underlined"
        notes = [self.describe(), needs + self._unranked(), *self.notes()]
        notes = [f"% {printable(note)}" for note in notes]
        begin = [*notes, rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule"]
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
        """Means, ranks, every image's scores, what was not scored; NaN becomes null, infinity 'inf' or '-inf'."""
        ranks = _plain(self.mean_ranks())
        methods = {
            method: {
                "n": len(self.names(method)),
                "mean": _plain(self.means(method)),
                "skipped": self.skipped(method),
                "mean_rank": ranks[method],
            }
            for method in self.methods
        }
        images = [
            {"method": row.method, "name": row.name, "size": list(row.size), "scores": _plain(row.scores)}
            for row in self.rows
        ]
        better = {metric: METRICS[metric].better for metric in self.metrics}
        content = {
            "ok": bool(self.rows) and not self.empty_methods,
            "convention": self.convention,
            "better": better,
            "ranked": self.ranked,
            "compared": len(self.common_names()),
        }
        content |= {"methods": methods, "images": images, "failed": [asdict(one) for one in self.unscored]}
        content["notices"] = self.notices
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    def _cells(self, best: str, second: str, skipped: str, shown: Callable[[str], str]) -> list[list[str]]:
        """Header and one row of cells per method.

        Args:
            best, second: formats of a cell with the best and second best mean of its column.
            skipped: format of a cell and the number of skipped images.
            shown: writes a method's name.
        """
        ranks, mean_ranks = self.ranks(), self.mean_ranks()
        arrows = {"higher": "↑", "lower": "↓"}
        headers = {metric: metric + arrows[METRICS[metric].better] for metric in self.metrics}
        head = [*(headers[m] for m in self.ranked), "mean rank", *(headers[m] for m in self.beside)]
        lines = [["method", *head]]
        means = {method: self.means(method) for method in self.methods}
        comparable = {metric: self.comparable(metric) for metric in self.ranked}
        decimals = {m: _decimals([one[m] for one in means.values()]) for m in self.metrics}
        for method in self.methods:
            missing, cells = self.skipped(method), {}
            for metric in self.metrics:
                cell = _number(means[method][metric], decimals[metric])
                if metric in self.ranked and method in comparable[metric] and len(self.methods) > 1:
                    places = sorted({ranks[m][metric] for m in comparable[metric]})
                    if ranks[method][metric] == places[0]:
                        cell = best.format(cell)
                    elif ranks[method][metric] == places[1]:
                        cell = second.format(cell)
                cells[metric] = skipped.format(cell, missing[metric]) if missing[metric] else cell
            rank = "n/a" if math.isnan(mean_ranks[method]) else f"{mean_ranks[method]:.2f}"
            lines.append([shown(method), *(cells[m] for m in self.ranked), rank, *(cells[m] for m in self.beside)])
        return lines


def _decimals(column: Sequence[float]) -> int:
    """Digits behind the point of all numbers of a column: the least one from 0.1 on shows four significant digits."""
    sizes = [abs(value) for value in column if math.isfinite(value) and value != 0]
    least = min(sizes, default=0.0)
    return max(0, 4 - len(str(int(least)))) if least >= 1 else 4


def _number(value: float, decimals: int) -> str:
    """Never scientific."""
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else f"{value}"
    return f"{value:.{decimals}f}"


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
    """Values for JSON, which has neither NaN nor infinity: null for NaN, 'inf' or '-inf' for infinity."""
    special = {k: None if math.isnan(v) else str(v) for k, v in scores.items() if not math.isfinite(v)}
    return {**scores, **special}


def _latex_heading(cell: str) -> str:
    return in_latex(cell).replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")
