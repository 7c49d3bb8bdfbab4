"""Learning curves: as plots, one line per run, and as sparklines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from midstream.storage.run_folder import read_metrics

_BLOCKS = "▁▂▃▄▅▆▇█"

Records = Sequence[Mapping[str, Any]]


def draw_learning_curves(picture: Path, runs: Mapping[str, Path]) -> None:
    """Draw test accuracy over steps as a PNG.

    Args:
        picture: the file to write.
        runs: maps each line's label to a run folder.
    """
    figure = _blank(7, 4.2)
    axes = figure.add_subplot()
    for label, folder in runs.items():
        _accuracy(axes, label, read_metrics(folder))
    axes.legend(loc="lower right")
    figure.savefig(picture, dpi=150)


def draw_runs(picture: Path, runs: Mapping[str, Records]) -> None:
    """Draw test accuracy, validation loss and the defender's correction over steps, one line per run.

    Args:
        picture: the file to write; its suffix selects PNG, PDF or SVG.
        runs: maps each line's label to the run's metric records.

    Raises:
        ValueError: matplotlib cannot write files with this suffix.
    """
    figure = _blank(7, 9)
    accuracy, loss, correction = figure.subplots(3, sharex=True)
    for label, records in runs.items():
        _accuracy(accuracy, label, records)
        _line(
            loss, [record for record in records if record["validation_loss"] is not None], "validation_loss"
        )
        _line(correction, records, "correction")
    accuracy.set_xlabel("")
    accuracy.legend(loc="best")
    loss.set(ylabel="validation loss, nats per example")
    correction.set(ylabel="defender's correction, pixel units", xlabel="step")
    for axes in (loss, correction):
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=150)


def sparkline(shares: Sequence[float], width: int = 60) -> str:
    """Return a sparkline: numbers in [0, 1] as at most `width` block characters.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    count = min(width, len(shares))
    shown = [shares[round(place * (len(shares) - 1) / max(count - 1, 1))] for place in range(count)]
    return "".join(_BLOCKS[min(int(share * len(_BLOCKS)), len(_BLOCKS) - 1)] for share in shown)


def _blank(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _accuracy(axes: Axes, label: str, records: Records) -> None:
    evaluated = [record for record in records if record["test_accuracy"] is not None]
    end = f", {evaluated[-1]['test_accuracy']:.3f} at the end" if evaluated else ", not evaluated yet"
    _line(axes, evaluated, "test_accuracy", label + end)
    axes.set(xlabel="step", ylabel="test accuracy", ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)


def _line(axes: Axes, records: Records, name: str, label: str | None = None) -> None:
    axes.plot([record["step"] for record in records], [record[name] for record in records], label=label)
