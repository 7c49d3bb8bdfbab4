"""Learning curves: as plots, one line per run, and as sparklines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from midstream.command.results.spread import Spread, spread
from midstream.command.runs.measured import ACCURACY, flat, judged, words
from midstream.storage.run_folder import read_metrics

_BLOCKS = "▁▂▃▄▅▆▇█"

Records = Sequence[Mapping[str, Any]]


def draw_learning_curves(picture: Path, runs: Mapping[str, Path]) -> None:
    """Draw test accuracy over steps as a PNG; for another task, the measure that it is judged by.

    Args:
        picture: the file to write.
        runs: maps each line's label to a run folder.
    """
    figure = _blank(7, 4.2)
    axes = figure.add_subplot()
    for label, folder in runs.items():
        _accuracy(axes, label, [read_metrics(folder)])
    axes.legend(loc="lower right" if axes.get_ylabel() == words(ACCURACY) else "best")
    figure.savefig(picture, dpi=150)


def draw_runs(picture: Path, runs: Mapping[str, Records]) -> None:
    """Draw test accuracy, validation loss and the defender's correction over steps, one line per run.

    Args:
        picture: the file to write; its suffix selects PNG, PDF or SVG.
        runs: maps each line's label to the run's metric records.

    Raises:
        ValueError: matplotlib cannot write files with this suffix.
    """
    draw_groups(picture, {label: [records] for label, records in runs.items()})


def draw_groups(picture: Path, groups: Mapping[str, Sequence[Records]]) -> None:
    """Draw groups of runs as `draw_runs` does: the mean of each group, with a band of one standard deviation.

    Args:
        picture: the file to write; its suffix selects PNG, PDF or SVG.
        groups: maps each line's label to the metric records of the group's runs.

    Raises:
        ValueError: matplotlib cannot write files with this suffix.
    """
    figure = _blank(7, 9)
    accuracy, loss, correction = figure.subplots(3, sharex=True)
    for label, group in groups.items():
        _accuracy(accuracy, label, group)
        _line(loss, group, "validation_loss")
        _line(correction, group, "correction")
    accuracy.set_xlabel("")
    accuracy.legend(loc="best")
    nats = judged(record for group in groups.values() for one in group for record in one) == ACCURACY
    loss.set(ylabel="validation loss" + ", nats per example" * nats)
    correction.set(ylabel="defender's correction, pixel units", xlabel="step")
    for axes in (loss, correction):
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=150)


def mean_curve(group: Sequence[Records], name: str) -> list[tuple[int, Spread]]:
    """Return the spread of a value over the steps at which every run of a group has it.

    >>> runs = [[{"step": 1, "loss": 0.5}], [{"step": 1, "loss": 0.25}, {"step": 2, "loss": 0.125}]]
    >>> [(step, spread.mean) for step, spread in mean_curve(runs, "loss")]
    [(1, 0.375)]
    """
    curves = [{r["step"]: r[name] for r in records if r[name] is not None} for records in group]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    return [(step, spread([curve[step] for curve in curves])) for step in steps]


def sparkline(shares: Sequence[float], width: int = 60) -> str:
    """Return a sparkline: numbers in [0, 1] as at most `width` block characters; a smaller one counts as 0.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    count = min(width, len(shares))
    shown = [shares[round(place * (len(shares) - 1) / max(count - 1, 1))] for place in range(count)]
    return "".join(_BLOCKS[min(int(max(share, 0) * len(_BLOCKS)), len(_BLOCKS) - 1)] for share in shown)


def _blank(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _accuracy(axes: Axes, label: str, group: Sequence[Records]) -> None:
    name = judged(record for records in group for record in records)
    group = [[flat(record) for record in records if record["test_loss"] is not None] for records in group]
    curve = mean_curve(group, name)
    end = f", {curve[-1][1]} at the end" if curve else ", not evaluated yet"
    _line(axes, group, name, label + end)
    axes.set(xlabel="step", ylabel=words(name))
    if name == ACCURACY:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)


def _line(axes: Axes, group: Sequence[Records], name: str, label: str | None = None) -> None:
    curve = mean_curve(group, name)
    steps = [step for step, _ in curve]
    (line,) = axes.plot(steps, [spread.mean for _, spread in curve], label=label)
    if len(group) > 1:
        low = [spread.mean - (spread.deviation or 0.0) for _, spread in curve]
        high = [spread.mean + (spread.deviation or 0.0) for _, spread in curve]
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
