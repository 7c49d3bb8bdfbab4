"""`midstream play --list`: all attackers, defenders and checkers, their options and sources."""

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Iterator

import click

from midstream import plugins

_WIDTH = 110


def print_players(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the players and exit, if the flag is set."""
    if not wanted:
        return
    from midstream.players.checking import OPTIONS as GATE
    from midstream.players.checking import Gate
    from midstream.players.fraction import OPTIONS as FRACTION
    from midstream.players.fraction import Fraction
    from midstream.players.stealth import OPTIONS as STEALTH
    from midstream.players.stealth import Stealth

    kinds: tuple[plugins.Kind, ...] = ("attackers", "defenders", "checkers")
    for kind in kinds:
        click.echo(f"{kind}:")
        for name in plugins.names(kind):
            click.echo("\n".join(_describe(kind, name)))
        click.echo()
    click.echo("any attacker:")
    click.echo("\n".join(_options(Fraction, FRACTION)))
    click.echo("\n".join(_options(Stealth, STEALTH)))
    click.echo()
    click.echo("any checker:")
    click.echo("\n".join(_options(Gate, GATE)))
    click.echo()
    click.echo("level-2, level-3, … are level-k. Options: level-2,steps=3,fraction=0.5.")
    click.echo("Your own player: package.module:Class or path/file.py:Class.")
    click.echo("Several defenders: level-1+cutmix,on=both.")
    click.echo("Parentheses give a method's source and its row in the paper's Table 1.")
    click.echo("An attacker is a man in the middle, or the provider with --signed attacker.")
    context.exit()


def _describe(kind: plugins.Kind, name: str) -> Iterator[str]:
    player = plugins.find(kind, name)
    summary = (inspect.getdoc(player) or "").partition("\n")[0]
    yield f"  {name:<20} {summary}"
    yield from _options(player, list(inspect.signature(player).parameters))


def _options(player: Callable[..., object], names: Collection[str]) -> Iterator[str]:
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


def option_texts(player: object, *, section: str = "Args") -> dict[str, str]:
    """Return the entries of one docstring section, by name, for a player and its base classes."""
    texts: dict[str, str] = {}
    for described in reversed(inspect.getmro(player) if inspect.isclass(player) else [player]):
        _, _, arguments = inspect.cleandoc(described.__doc__ or "").partition(f"\n{section}:\n")
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
            texts[name] = " ".join(text.split())
    return texts
