"""Options of what `midstream sweep` and `midstream results` print and write."""

from collections.abc import Sequence
from pathlib import Path

import click

from midstream.console import options


def _names(_: click.Context, __: click.Parameter, names: Sequence[str]) -> Sequence[str]:
    listed = [part.replace("-", "_") for name in names for part in name.split(",")]
    return ["learning_rate" if name == "lr" else name for name in listed]


output_options = options.together(
    click.option(
        "--value",
        help="The value that tables and plots show, such as validation_loss; by default the one that the "
        "trials are judged by: test_accuracy, or test_r2 of a regression.",
    ),
    click.option(
        "--rows",
        multiple=True,
        callback=_names,
        help="Setting that names the rows of the table; by default those that vary.",
    ),
    click.option(
        "--columns",
        multiple=True,
        callback=_names,
        help="Setting that names the columns; defender by default, if it varies.",
    ),
    click.option(
        "--over",
        multiple=True,
        default=("seed",),
        show_default=True,
        callback=_names,
        help="Setting that each cell averages over.",
    ),
    click.option(
        "--table",
        "tables",
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write the table to this file: Markdown, CSV or Parquet by its suffix .md, .csv or .parquet.",
    ),
    click.option(
        "--plot",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Plot mean learning curves with bands of one standard deviation to this PNG, PDF or SVG file.",
    ),
    click.option(
        "--bars",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Plot the table with error bars of one standard deviation to this PNG, PDF or SVG file.",
    ),
    click.option(
        "--frontier",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Plot --value against --against, one point per row, to this PNG, PDF or SVG file.",
    ),
    click.option(
        "--against",
        default="checker.auc",
        show_default=True,
        help="The value of the horizontal axis of --frontier.",
    ),
    click.option(
        "--paired",
        nargs=3,
        metavar="SETTING FIRST SECOND",
        help="Also print the differences between two values of a setting over the same seeds.",
    ),
    click.option(
        "--confidence",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.95,
        show_default=True,
        help="Confidence of the interval of --paired.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object: trials, table, failed."),
)
