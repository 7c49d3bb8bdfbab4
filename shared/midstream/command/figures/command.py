"""`midstream figure`: one subcommand per figure of the paper."""

import click

from midstream.command.figures import figure_3, figure_6, figure_8


@click.group("figure")
def command() -> None:
    """Regenerate a figure of the paper as a PNG, with its numbers in a JSON file.

    \b
    Example: midstream figure 3
    """


command.add_command(figure_3.command)
command.add_command(figure_6.command)
command.add_command(figure_8.command)
