"""`midstream play --list`: every attacker and defender with its options and its place in the paper."""

import inspect
from collections.abc import Iterator
from typing import Literal

import click

from midstream import plugins


def print_players(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the players and exit, where the flag was given."""
    if not wanted:
        return
    kinds: tuple[Literal["attackers", "defenders"], ...] = ("attackers", "defenders")
    for kind in kinds:
        click.echo(f"{kind}:")
        for name in plugins.names(kind):
            click.echo("\n".join(_describe(kind, name)))
        click.echo()
    click.echo("Write level-2, level-3, … for level-k; options as level-2,steps=3,beta=0.9; your own as")
    click.echo("package.module:Class or path/file.py:Class.")
    context.exit()


def _describe(kind: plugins.Kind, name: str) -> Iterator[str]:
    player = plugins.find(kind, name)
    summary = (inspect.getdoc(player) or "").partition("\n")[0]
    yield f"  {name:<20} {summary}"
    for option in inspect.signature(player).parameters.values():
        default = "" if option.default is option.empty else f" = {option.default}"
        yield f"  {'':<20}   {option.name}{default}"
