"""`midstream figure`: one subcommand per figure of the paper."""

import click

from midstream.console.commands import Commands, Entry

_FIGURES = {
    "3": Entry(
        "midstream.command.figures.figure_3", "play", "Level 1 and level 2 in scalar regression (section 5)."
    ),
    "6": Entry(
        "midstream.command.figures.figure_6", "play", "Level 2, optimal contraction and influence (6.2)."
    ),
    "8": Entry("midstream.command.figures.figure_8", "play", "Images clean, attacked and defended (A.2.2)."),
}


@click.command("figure", cls=Commands, entries=_FIGURES)
def command() -> None:
    """Regenerate a figure of the paper as a PNG, with its numbers in a JSON file.

    \b
    Example: midstream figure 3
    """
