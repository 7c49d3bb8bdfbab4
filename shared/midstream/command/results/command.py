"""`midstream results`: the tables and plots of sweeps that were played."""

from pathlib import Path
from typing import Any

import click

from midstream.command.results.output_options import output_options


@click.command("results")
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    metavar="FOLDER…",
    type=click.Path(file_okay=False, path_type=Path),
)
@output_options
def command(folders: tuple[Path, ...], **settings: Any) -> None:
    """Print the table of sweeps that were played, and write it to files.

    Each FOLDER is the results folder of a sweep. Folders of several machines are merged. A trial that stands
    in two of them must have the same parameters in both.

    \b
    Example: midstream results results/sweep --rows attacker --columns defender --bars bars.png
    """
    from midstream.command.results.output import Output
    from midstream.command.results.reading import read_results

    Output(**settings).give(read_results(*folders))
