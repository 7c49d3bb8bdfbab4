"""`midstream play --list`: every attacker and defender with its options and its place in the paper."""

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal

import click

from midstream import plugins
from midstream.players.fraction import OPTIONS as FRACTION
from midstream.players.fraction import Fraction

_WIDTH = 110


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
    click.echo("any attacker:")
    click.echo("\n".join(_options(Fraction, FRACTION)))
    click.echo()
    click.echo("Write level-2, level-3, … for level-k; options as level-2,steps=3,fraction=0.5; your own as")
    click.echo("package.module:Class or path/file.py:Class; defenders together as level-1+cutmix,on=both.")
    click.echo("In brackets: where a method is from, and where the paper's Table 1 has it. Any attacker is a")
    click.echo("man in the middle, or with --signed attacker the provider.")
    context.exit()


def _describe(kind: plugins.Kind, name: str) -> Iterator[str]:
    player = plugins.find(kind, name)
    summary = (inspect.getdoc(player) or "").partition("\n")[0]
    yield f"  {name:<20} {summary}"
    yield from _options(player, list(inspect.signature(player).parameters))


def _options(player: Callable[..., Any], names: Collection[str]) -> Iterator[str]:
    explained, parameters = option_texts(player), inspect.signature(player).parameters
    options = [parameters[name] for name in names]
    for option in sorted(options, key=lambda option: option.default is not option.empty):
        default = "required" if option.default is option.empty else f"{option.default}"
        head = f"    {option.name} = {default}"
        yield (
            textwrap.fill(
                explained.get(option.name, ""),
                _WIDTH,
                initial_indent=f"{head:<30} ",
                subsequent_indent=" " * 31,
            )
            or head
        )


def option_texts(player: Any, *, section: str = "Args") -> dict[str, str]:
    """Return what the docstrings of a player and its bases say of each name under a section's head."""
    texts: dict[str, str] = {}
    for described in reversed(inspect.getmro(player) if inspect.isclass(player) else [player]):
        _, _, arguments = inspect.cleandoc(described.__doc__ or "").partition(f"\n{section}:\n")
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
            texts[name] = " ".join(text.split())
    return texts
