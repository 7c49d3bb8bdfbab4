"""Learning curves of finished runs, one line a run."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from midstream.runfolder import read_metrics


def draw_learning_curves(picture: Path, runs: Mapping[str, Path]) -> None:
    """Draw test accuracy over steps as a PNG.

    Args:
        picture: the file to write.
        runs: run folders by the label of their line.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, folder in runs.items():
        evaluated = [record for record in read_metrics(folder) if record["test_accuracy"] is not None]
        axes.plot(
            [record["step"] for record in evaluated],
            [record["test_accuracy"] for record in evaluated],
            label=f"{label}, {evaluated[-1]['test_accuracy']:.3f} at the end",
        )
    axes.set(xlabel="step", ylabel="test accuracy", ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(picture, dpi=150)
