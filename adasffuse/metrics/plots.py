"""Plots of a score table; need matplotlib (extra `plots`)."""

from functools import partial
from pathlib import Path

import numpy as np

from adasffuse.files import write_with
from adasffuse.metrics.conventions import METRICS
from adasffuse.metrics.table import ScoreTable


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
        figure = figure_class(figsize=(1.5 + 1.1 * len(table.methods), 3.6), layout="constrained")
        axes = figure.subplots()
        columns = [values[np.isfinite(values)] for values in (table.values(m, metric) for m in table.methods)]
        axes.boxplot(columns, showmeans=True)
        axes.set_xticks(range(1, len(columns) + 1), table.methods, rotation=20)
        axes.set_title(f"{metric}: {METRICS[metric].title} ({METRICS[metric].better} is better)", fontsize=9)
        figure.supxlabel(table.describe(), fontsize=7)
        files.append(Path(folder) / f"{metric}.png")
        write_with(files[-1], partial(figure.savefig, dpi=130))
    files.append(Path(folder) / "ranks.png")
    write_with(files[-1], partial(_ranks(table, figure_class).savefig, dpi=130))
    return files


def _ranks(table: ScoreTable, figure_class):
    """Ranks as a coloured grid, methods sorted by mean rank."""
    ranks, mean_ranks = table.ranks(), table.mean_ranks()
    methods = sorted(table.methods, key=lambda method: mean_ranks[method])
    grid = np.array([[*ranks[method].values(), mean_ranks[method]] for method in methods])
    figure = figure_class(figsize=(2 + 0.75 * grid.shape[1], 1.4 + 0.4 * len(methods)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid, cmap="RdYlGn_r", aspect="auto", vmin=1, vmax=max(len(methods), 2))
    for (row, column), rank in np.ndenumerate(grid):
        axes.text(column, row, f"{rank:.3g}", ha="center", va="center", fontsize=9)
    axes.set_xticks(range(grid.shape[1]), [*table.ranked, "mean"], rotation=30)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_title("rank of the mean, 1 is best", fontsize=10)
    figure.supxlabel(table.describe(), fontsize=7)
    return figure


def figures():
    """Matplotlib's class of figures.

    Raises:
        ModuleNotFoundError: matplotlib is missing; the message says how to install it.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plots need matplotlib; install it with: pip install 'adasffuse[plots]'") from error
    return Figure
