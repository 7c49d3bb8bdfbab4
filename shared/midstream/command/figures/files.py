"""Write a figure's image and numbers; the options common to all figures."""

import json
from collections.abc import Mapping
from pathlib import Path

import click
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from midstream.console import options

# Okabe and Ito's colours, distinguishable with every kind of colour blindness.
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE, BLACK = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#000000",
)

figure_options = options.together(
    options.option(
        "--out", default="figures", show_default=True, type=click.Path(path_type=Path), help="Output folder."
    ),
    options.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Seed of all random draws.",
    ),
    options.option(
        "--threads",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="CPU threads; results are bit-identical only for equal counts.",
    ),
)


def blank(width: float, height: float) -> Figure:
    """Return an empty figure, size in inches, that needs no display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write(out: Path, number: int, figure: Figure, numbers: Mapping[str, object], *, dpi: int = 120) -> None:
    """Write `figure-N.png` and `figure-N.json` to a folder, and print their paths."""
    out.mkdir(parents=True, exist_ok=True)
    picture, table = out / f"figure-{number}.png", out / f"figure-{number}.json"
    table.write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    figure.savefig(picture, dpi=dpi)
    click.echo(f"plot: {picture}")
    click.echo(f"numbers: {table}")
