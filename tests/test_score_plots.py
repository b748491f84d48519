"""Plots of a score table: nothing is cut off, and ranks can be read on their colours."""

import pytest

from adasffuse.metrics import ScoreTable, plots

pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb


@pytest.mark.parametrize("methods", [1, 2, 8])
def test_titles_captions_and_names_lie_within_the_plots(methods):
    table = ScoreTable(("CIEDE2000",))
    for number in range(methods):
        for name, size in (("p", (900, 339)), ("q", (226, 612))):
            table.add(f"a method of some length {number}", name, size, {"CIEDE2000": number + len(name)})
    for figure in (plots._boxes(table, "CIEDE2000", plots.figures()), plots._ranks(table, plots.figures())):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # lays the figure out
        drawn = figure.get_tightbbox(canvas.get_renderer())  # inches
        width, height = figure.get_size_inches()
        assert min(drawn.x0, drawn.y0) >= 0 and drawn.x1 <= width and drawn.y1 <= height


def test_ranks_are_readable_on_their_colours():
    """The contrast is at least 4.5, as WCAG 2.1 asks of text, and brightness alone tells the ranks apart."""
    table = ScoreTable(("EN",))
    for number in range(7):
        table.add(f"m{number}", "p", (8, 8), {"EN": number})
    axes = plots._ranks(table, plots.figures()).axes[0]
    image = axes.images[0]
    shades = []
    for text in axes.texts[::2]:  # of EN, the mean is the same
        shades.append(plots._light(image.cmap(image.norm(float(text.get_text())))))
        light, dark = sorted((shades[-1], plots._light(to_rgb(text.get_color()))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, text
    assert len(shades) == 7 and shades == sorted(shades)
    assert plots._light((0, 0, 0)) == 0 and plots._light((1, 1, 1)) == pytest.approx(1)
