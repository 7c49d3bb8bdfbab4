"""Where a figure's picture and its numbers go, and the options that every figure has."""

import json
from pathlib import Path
from typing import Any

import click
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from midstream.console import options

# Okabe and Ito's colours, told apart with every kind of colour blindness.
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
        "--out", default="figures", show_default=True, type=click.Path(path_type=Path), help="Folder to fill."
    ),
    options.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Every random draw derives from it.",
    ),
    options.option(
        "--threads",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="CPU threads; equal bits need equal counts.",
    ),
)


def blank(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, drawn without a display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write(out: Path, number: int, figure: Figure, numbers: dict[str, Any], *, dpi: int = 120) -> None:
    """Write `figure-N.png` and `figure-N.json` into a folder, and say where."""
    out.mkdir(parents=True, exist_ok=True)
    picture, table = out / f"figure-{number}.png", out / f"figure-{number}.json"
    table.write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    figure.savefig(picture, dpi=dpi)
    click.echo(f"picture: {picture}")
    click.echo(f"numbers: {table}")
