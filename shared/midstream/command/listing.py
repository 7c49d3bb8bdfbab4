"""`midstream play --list [NAME]`: attackers, defenders and checkers, their options and sources."""

import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator

import click

from midstream import plugins
from midstream.plugins.naming import numbered_level, unknown

_WIDTH = 110


ALL = "all"
"""What `--list` without a name asks for."""

_KINDS: tuple[plugins.Kind, ...] = ("attackers", "defenders", "checkers")


def print_players(context: click.Context, _: click.Parameter, wanted: str | None) -> None:
    """Print all players, or those called `wanted`, and exit; a long list is shown page by page.

    Raises:
        midstream.plugins.PluginError: no player has that name.
    """
    if wanted is None:
        return
    text = "\n".join(_everyone() if wanted == ALL else _one(wanted))
    if sys.stdout.isatty() and text.count("\n") >= shutil.get_terminal_size().lines:
        click.echo_via_pager(text)
    else:
        click.echo(text)
    context.exit()


def _everyone() -> Iterator[str]:
    from midstream.players.checking import OPTIONS as GATE
    from midstream.players.checking import Gate
    from midstream.players.wrappers.any_attacker import AROUND

    for kind in _KINDS:
        yield f"{kind}:"
        for name in plugins.names(kind):
            yield from _describe(kind, name)
        yield ""
    yield "any attacker:"
    for around in AROUND:
        yield from _options(around.player, around.options)
    yield ""
    yield "any checker:"
    yield from _options(Gate, GATE)
    yield ""
    yield "level-2, level-3, … are level-k. Options: level-2,steps=3,fraction=0.5."
    yield "Your own player: package.module:Class or path/file.py:Class."
    yield "Several defenders: level-1+cutmix,on=both."
    yield "Parentheses give a method's source and its row in the paper's Table 1."
    yield "An attacker is a man in the middle, or the provider with --signed attacker."


def _one(wanted: str) -> Iterator[str]:
    name, _ = numbered_level(plugins.parse(wanted)[0], "attackers")
    sides = [kind for kind in _KINDS if name in plugins.names(kind)]
    if not sides and ":" not in name and not name.endswith(".py"):
        known = {found for kind in _KINDS for found in plugins.names(kind)}
        raise plugins.PluginError(unknown("attacker, defender or checker", name, known))
    if not sides:
        sides = ["attackers"]  # a class of one's own is described alike on every side
    for kind in sides:
        if kind != sides[0]:
            yield ""
        if name in plugins.names(kind):
            yield f"{kind.removesuffix('s')}:"
        yield from _describe(kind, name)
        _, _, rest = (inspect.getdoc(plugins.find(kind, name)) or "").partition("\n")
        prose = rest.partition("\nArgs:")[0].strip()
        if prose:
            yield ""
            yield textwrap.indent(prose, "    ")


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
