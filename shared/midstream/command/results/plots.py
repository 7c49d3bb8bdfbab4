"""Plots of a sweep: learning curves with bands, and final values with error bars."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from midstream.command.figures import files
from midstream.command.results.spread import spread
from midstream.command.results.table import Table
from midstream.command.sweep.trial import Setting

Kind = Literal["curves", "bars", "frontier"]

Curve = Sequence[tuple[int, float]]
"""A value over steps."""

_COLOURS = (files.BLUE, files.VERMILLION, files.GREEN, files.PURPLE, files.ORANGE, files.SKY, files.BLACK)
_SHARES = ("test_accuracy", "validation_accuracy", "conversion_rate", "evasion_rate")


def label(table: Table, settings: Mapping[str, Setting]) -> str:
    """Return a group in words, for a legend."""
    return ", ".join(f"{name.replace('_', ' ')} {settings[name]}" for name in (*table.rows, *table.columns))


def curves(groups: Mapping[str, Sequence[Curve]], *, value: str) -> Figure:
    """Return a plot of the mean curve of each group, with a band of one sample standard deviation.

    Args:
        groups: the curves of each group's trials, by its label. Only steps that all of them have are drawn.
        value: name of the value.
    """
    figure, axes = _blank(value)
    for (text, trials), colour in zip(groups.items(), cycle(_COLOURS), strict=False):
        steps = sorted(set.intersection(*({step for step, _ in curve} for curve in trials)))
        found = [spread([dict(curve)[step] for curve in trials]) for step in steps]
        means = np.array([one.mean for one in found])
        half = np.array([one.deviation or 0.0 for one in found])
        axes.plot(steps, means, color=colour, label=text)
        axes.fill_between(steps, means - half, means + half, color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel("step")
    axes.legend(loc="best")
    return figure


def bars(table: Table) -> Figure:
    """Return a plot of a table: one group of bars per row, one bar per column, with error bars.

    If the rows are one setting whose values are numbers, they are the horizontal axis, and each column is a
    line with error bars. An error bar is one sample standard deviation to each side.
    """
    figure, axes = _blank(table.value)
    rows = list(dict.fromkeys(tuple(cell.settings[name] for name in table.rows) for cell in table.cells))
    columns = list(
        dict.fromkeys(tuple(cell.settings[name] for name in table.columns) for cell in table.cells)
    )
    numeric = len(table.rows) == 1 and len(rows) > 1 and all(isinstance(row[0], int | float) for row in rows)
    for number, (column, colour) in enumerate(zip(columns, cycle(_COLOURS), strict=False)):
        cells = [
            cell for cell in table.cells if tuple(cell.settings[name] for name in table.columns) == column
        ]
        places = [rows.index(tuple(cell.settings[name] for name in table.rows)) for cell in cells]
        means = [cell.spread.mean for cell in cells]
        errors = [cell.spread.deviation or 0.0 for cell in cells]
        text = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in zip(table.columns, column, strict=True)
        )
        if numeric:
            at = [float(str(rows[place][0])) for place in places]
            order = np.argsort(at)
            axes.errorbar(
                np.array(at)[order],
                np.array(means)[order],
                np.array(errors)[order],
                color=colour,
                capsize=3,
                marker="o",
                label=text,
            )
        else:
            width = 0.8 / len(columns)
            shifted = [place - 0.4 + width * (number + 0.5) for place in places]
            axes.bar(shifted, means, width, yerr=errors, color=colour, capsize=3, label=text)
    if numeric:
        axes.set_xlabel(table.rows[0].replace("_", " "))
    else:
        axes.set_xticks(range(len(rows)), [", ".join(map(str, row)) for row in rows])
        axes.tick_params(axis="x", labelrotation=20 if len(rows) > 3 else 0)
        axes.set_xlabel(", ".join(name.replace("_", " ") for name in table.rows))
    if table.columns:
        figure.legend(loc="outside upper center", ncols=min(len(columns), 3))
    return figure


def frontier(across: Table, up: Table) -> Figure:
    """Return a plot of one value against another: a point per row, a line per column, error bars both ways.

    Args:
        across: the value of the horizontal axis.
        up: the value of the vertical axis; cells that the other table lacks are left out.
    """
    figure, axes = _blank(up.value)
    columns = list(dict.fromkeys(tuple(cell.settings[name] for name in up.columns) for cell in up.cells))
    for column, colour in zip(columns, cycle(_COLOURS), strict=False):
        pairs = [
            (found, cell)
            for cell in up.cells
            if tuple(cell.settings[name] for name in up.columns) == column
            and (found := across.cell(**cell.settings)) is not None
        ]
        axes.errorbar(
            [one.spread.mean for one, _ in pairs],
            [one.spread.mean for _, one in pairs],
            xerr=[one.spread.deviation or 0.0 for one, _ in pairs],
            yerr=[one.spread.deviation or 0.0 for _, one in pairs],
            color=colour,
            capsize=3,
            marker="o",
            label=", ".join(
                f"{name.replace('_', ' ')} {value}" for name, value in zip(up.columns, column, strict=True)
            ),
        )
        texts = [",".join(str(cell.settings[name]) for name in up.rows) for _, cell in pairs]
        for (one, other), text in zip(pairs, _apart(texts), strict=True):
            at = (one.spread.mean, other.spread.mean)
            axes.annotate(text, at, textcoords="offset points", xytext=(6, 6), fontsize="x-small")
    axes.set_xlabel(across.value.replace("_", " "))
    if up.columns:
        figure.legend(loc="outside upper center", ncols=min(len(columns), 3))
    return figure


def _apart(texts: Sequence[str]) -> list[str]:
    """Return texts without the parts between commas that all of them share.

    >>> _apart(["level-1,beta=0", "level-1,beta=0,stealth=0.5"])
    ['level-1,beta=0', 'stealth=0.5']
    """
    parts = [text.split(",") for text in texts]
    shared = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    return [",".join(part for part in own if part not in shared) or ",".join(own) for own in parts]


def _blank(value: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_ylabel(value.replace("_", " "))
    if value in _SHARES:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes
