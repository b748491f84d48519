"""Plots of a score table; need matplotlib (extra `plots`)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from adasffuse.files import write_with
from adasffuse.installation import install_command
from adasffuse.metrics.conventions import METRICS
from adasffuse.metrics.table import ScoreTable

_NARROWEST = 5.0  # inches: the widest title and caption fit
_MIDDLE_GRAY = 0.18  # relative luminance on which black and white text have equal contrast


def save_plots(table: ScoreTable, folder: str | Path) -> list[Path]:
    """A box plot per metric over the images (`METRIC.png`), and the methods' ranks (`ranks.png`).

    Args:
        table: at least one method with scores.
        folder: folder for the PNG files, made if needed.
    Returns:
        The files.
    Raises:
        OSError: a file cannot be written.
        ModuleNotFoundError: matplotlib is missing; the message says how to install it.
    """
    figure_class, files = figures(), []
    for metric in table.metrics:
        files.append(Path(folder) / f"{metric}.png")
        write_with(files[-1], partial(_boxes(table, metric, figure_class).savefig, dpi=130))
    files.append(Path(folder) / "ranks.png")
    write_with(files[-1], partial(_ranks(table, figure_class).savefig, dpi=130))
    return files


def _boxes(table: ScoreTable, metric: str, figure_class):
    """A box per method of its scores in one metric."""
    width = max(_NARROWEST, 1.5 + 1.1 * len(table.methods))
    figure = figure_class(figsize=(width, 3.7), layout="constrained")
    axes = figure.subplots()
    columns = [values[np.isfinite(values)] for values in (table.values(m, metric) for m in table.methods)]
    axes.boxplot(columns, showmeans=True)
    axes.set_xticks(range(1, len(columns) + 1), table.methods, rotation=20, ha="right", rotation_mode="anchor")
    figure.suptitle(f"{metric}: {METRICS[metric].title} ({METRICS[metric].better} is better)", fontsize=9)
    figure.supxlabel(f"{table.describe()}\nline: median, triangle: mean, circles: outliers", fontsize=7)
    return figure


def _ranks(table: ScoreTable, figure_class):
    """Ranks as a grid, methods sorted by mean rank; the best is dark blue, the last white, for all kinds of sight."""
    ranks, mean_ranks = table.ranks(), table.mean_ranks()
    methods = sorted(table.methods, key=lambda method: mean_ranks[method])
    grid = np.array([[*ranks[method].values(), mean_ranks[method]] for method in methods])
    width = max(_NARROWEST, 2 + 0.75 * grid.shape[1])
    figure = figure_class(figsize=(width, 1.4 + 0.4 * len(methods)), layout="constrained")
    axes = figure.subplots()
    last = max(len(methods), 2)
    image = axes.imshow(grid, cmap="Blues_r", aspect="auto", vmin=1, vmax=last)
    for (row, column), rank in np.ndenumerate(grid):
        color = "white" if _light(image.cmap(image.norm(rank))) < _MIDDLE_GRAY else "black"
        axes.text(column, row, f"{rank:.3g}", ha="center", va="center", fontsize=9, color=color)
    axes.set_xticks(range(grid.shape[1]), [*table.ranked, "mean"], rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(methods)), methods)
    axes.set_title("rank of the mean, 1 is best", fontsize=10)
    figure.supxlabel(table.describe(), fontsize=7)
    return figure


def _light(color: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour (R, G, B, ...) in [0, 1], as WCAG 2.1 defines contrast by it."""
    rgb = np.asarray(color[:3])
    return float(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


def figures():
    """Matplotlib's class of figures.

    Raises:
        ModuleNotFoundError: matplotlib is missing; the message says how to install it.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"plots need matplotlib: {install_command('plots')}") from error
    return Figure
