"""`midstream plugins check`: run a plug-in on the test bench."""

import json
import sys
from typing import TYPE_CHECKING, Literal

import click

from midstream import plugins

if TYPE_CHECKING:
    from midstream.command.bench.checks import Check
    from midstream.command.bench.game import Role

SIDES: tuple["Role", ...] = ("attacker", "defender", "checker")
KINDS: dict["Role", Literal["attackers", "defenders"]] = {"attacker": "attackers", "defender": "defenders"}
_STYLES = {"passed": "green", "note": "yellow", "failed": "bold red"}


@click.group("plugins")
def command() -> None:
    """Tools for your own attackers, defenders and checkers.

    \b
    Example: midstream plugins check examples/disguise.py:Disguise
    """


@command.command("check")
@click.argument("plugin")
@click.option(
    "--as",
    "role",
    type=click.Choice(["attacker", "defender", "checker"]),
    help="Role to check; by default derived from the plug-in's name, else all that it can play.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; torch's default if not given.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
def check(plugin: str, role: "Role | None", threads: int | None, as_json: bool) -> None:
    """Check that a plug-in obeys the rules for players, in a game of 60 steps on embedded digits.

    PLUGIN is path/file.py:Class, package.module:Class or an installed name, optionally followed by options.
    An attacker plays without a defender; a defender plays against level 1; a checker judges a game of which
    level 1 attacks a third. The exit code is 0 if no rule was
    broken, and 1 if one was broken or the plug-in cannot be loaded.

    \b
    Example: midstream plugins check examples/disguise.py:Disguise,shift=3
    """
    from midstream.run.process.environment import configure

    configure(threads=threads, device="cpu")
    found = {side: _play(side, plugin) for side in ([role] if role else _sides(plugin))}
    failed = any(each.outcome == "failed" for checks in found.values() for each in checks)
    if as_json:
        sides = {side: [each.described() for each in checks] for side, checks in found.items()}
        click.echo(json.dumps({"plugin": plugin, "passed": not failed, **sides}))
    else:
        for side, checks in found.items():
            _print(plugin, side, checks)
    sys.exit(int(failed))


def _play(side: "Role", plugin: str) -> "list[Check]":
    from midstream.command.bench.bench import WORK, check_player
    from midstream.command.bench.checker import check_checker
    from midstream.console.progress import Progress

    with Progress(WORK, label=f"{plugin} as {side}") as progress:
        if side == "checker":
            return check_checker(plugin, tell=progress.update)
        return check_player(side, plugin, tell=progress.update)


def _sides(plugin: str) -> "list[Role]":
    """Return the side named in the plug-in's class name or file name; else every side it can be made for."""
    name, _ = plugins.parse(plugin)
    where, _, attribute = name.rpartition(":")
    for words in (attribute.lower(), where.rpartition("/")[2].lower()):
        named = [side for side in SIDES if side[:5] in words]
        if len(named) == 1:
            return named
    possible: list[Role] = []
    refusals: list[plugins.PluginError] = []
    for side in SIDES:
        try:
            plugins.make(KINDS[side], plugin) if side in KINDS else plugins.make_gate(plugin)
        except plugins.PluginError as error:
            refusals.append(error)
        else:
            possible.append(side)
    if not possible:
        raise refusals[0]
    return possible


def _print(plugin: str, side: "Role", checks: "list[Check]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{plugin} as {side}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("check", "", "result"):
        table.add_column(heading, style="bold" if heading == "check" else None, overflow="fold")
    for each in checks:
        table.add_row(each.name, Text(each.outcome, _STYLES[each.outcome]), Text(each.detail))
    Console().print(table)
