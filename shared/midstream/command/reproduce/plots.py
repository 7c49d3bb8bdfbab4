"""Plots of figures 4, 5, 7, A.9 and A.10 in the paper's form."""

from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from midstream.command.figures import files
from midstream.command.reproduce.comparison import Compared
from midstream.command.reproduce.document import Panel, Reproduction
from midstream.command.reproduce.gains import gains
from midstream.command.results.spread import spread

_GREY = "#999999"
_COLOURS = (
    *(files.BLUE, files.VERMILLION, files.GREEN, files.PURPLE, files.ORANGE, files.SKY, files.BLACK),
    _GREY,
)
_Draw = Callable[[Axes, Panel, Sequence[Compared]], None]


def picture(reproduction: Reproduction, found: Sequence[Compared]) -> Figure:
    """Return a figure with one plot for each panel that has games; a grid has a second one, of its gains."""
    plots: list[tuple[str, _Draw, Panel, Sequence[Compared]]] = []
    for panel in reproduction.panels:
        own: Sequence[Compared] = [one for one in found if one.cell.panel is panel and one.spread is not None]
        if own:
            plots.append((panel.name, _DRAWN[panel.kind], panel, own))
        if panel.kind == "grid" and gains(own):
            plots.append(("b", _gains, panel, own))
    figure = files.blank(4.6 * max(1, len(plots)), 4.0)
    for axes, (name, draw, panel, own) in zip(
        figure.subplots(1, max(1, len(plots)), squeeze=False)[0], plots, strict=False
    ):
        draw(axes, panel, own)
        axes.set_title(f"({name})" if name else reproduction.source, fontsize=10)
    figure.suptitle(reproduction.title, fontsize=11)
    return figure


def _curves(axes: Axes, panel: Panel, found: Sequence[Compared]) -> None:
    for one, colour in zip(found, cycle(_COLOURS), strict=False):
        curves = [dict(game.curve) for game in one.games if game.curve]
        steps = sorted(set.intersection(*map(set, curves))) if curves else []
        at = [spread([100 * curve[step] for curve in curves]) for step in steps]
        means = np.array([point.mean for point in at])
        half = np.array([point.deviation or 0.0 for point in at])
        axes.plot(steps, means, color=colour, label=panel.rows[one.cell.row].title or one.cell.row)
        axes.fill_between(steps, means - half, means + half, color=colour, alpha=0.2, linewidth=0)
    _accuracy(axes, "step")


def _line(axes: Axes, panel: Panel, found: Sequence[Compared]) -> None:
    for column, colour in zip(panel.columns, cycle(_COLOURS), strict=False):
        of_column = [one for one in found if one.cell.column == column]
        points = sorted(
            (float(one.cell.at), one.spread.mean, one.spread.deviation or 0.0)
            for one in of_column
            if one.spread is not None and isinstance(one.cell.at, int | float)
        )
        if points:
            at, means, errors = zip(*points, strict=True)
            label = panel.columns[column].title or column
            axes.errorbar(at, means, errors, color=colour, capsize=3, marker="o", label=label)
    _accuracy(axes, panel.over.replace("-", " "))


def _grid(axes: Axes, panel: Panel, found: Sequence[Compared]) -> None:
    rows, columns = list(panel.rows), list(panel.columns)
    table = np.full((len(rows), len(columns)), np.nan)
    for one in found:
        if one.spread is not None:
            table[rows.index(one.cell.row), columns.index(one.cell.column)] = one.spread.mean
    axes.imshow(table, cmap="viridis", aspect="auto")
    middle = float(np.nanmean(table))
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(columns)), [panel.columns[name].title for name in columns])
    axes.set_yticks(range(len(rows)), [panel.rows[name].title for name in rows])
    axes.set(xlabel="defender", ylabel="attacker")


def _gains(axes: Axes, panel: Panel, found: Sequence[Compared]) -> None:  # noqa: ARG001
    for side, colour in (("attacker", files.VERMILLION), ("defender", files.BLUE)):
        own = [gain for gain in gains(found) if gain.side == side]
        seconds, points = [1000 * gain.seconds for gain in own], [gain.gain for gain in own]
        axes.plot(seconds, points, color=colour, marker="o", label=side)
        for gain in own:
            axes.annotate(gain.level, (1000 * gain.seconds, gain.gain), fontsize=8)
    axes.set(xlabel="additional time per minibatch, ms", ylabel="gain over level 0, in points")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")


def _accuracy(axes: Axes, across: str) -> None:
    axes.set(xlabel=across, ylabel="test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)


_DRAWN: dict[str, _Draw] = {"curves": _curves, "line": _line, "grid": _grid, "table": _line}
