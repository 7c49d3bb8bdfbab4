"""`python -m benchmarks`: print all figures and a description of the machine."""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
from collections.abc import Callable, Iterable

import click
from rich.console import Console
from rich.table import Table

from benchmarks import (
    dashboard,
    durability,
    hardware,
    levels,
    memory,
    players,
    ranks,
    step,
    strangers,
    transport,
    watchers,
)
from benchmarks.derivatives import sweep
from benchmarks.measure import Row
from midstream.run.process.environment import configure, describe

_PARTS = [
    "step",
    "transport",
    "memory",
    "levels",
    "durability",
    "strangers",
    "dashboard",
    "watchers",
    "derivatives",
    "players",
]


@click.command()
@click.option("--device", help="auto, cpu, cuda, …; without --only, print the figures of this device alone.")
@click.option("--threads", type=int, help="CPU threads; torch's default if not given.")
@click.option("--turns", default=4, show_default=True, help="Turns; each step is timed twice per turn.")
@click.option("--only", multiple=True, type=click.Choice(["hardware", "ranks", *_PARTS]))
@click.option(
    "--validation-size", default=5000, show_default=True, help="Validation images of the part `ranks`."
)
@click.option("--player", "chosen_players", multiple=True, help="With --only players: only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print the table of players as JSON.")
def main(
    device: str | None,
    threads: int | None,
    turns: int,
    only: tuple[str, ...],
    validation_size: int,
    chosen_players: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure speed and memory as ratios. These are measurements, not tests.

    `--device cuda` alone prints the figures of a GPU in docs/performance.md, in five minutes; `--device cpu`
    runs the same program on a CPU at a fifth of the sizes. Without a device, all parts are measured. The cost
    of players is printed as a Markdown table.
    """
    only = only or (tuple(_PARTS) if device is None else ("hardware",))
    chosen = configure(threads=threads, device=device or "auto")
    parts: dict[str, Callable[[], Iterable[Row]]] = {
        "hardware": lambda: hardware.rows(chosen),
        "step": lambda: step.rows(chosen, turns),
        "transport": lambda: transport.rows(chosen, turns),
        "memory": lambda: memory.rows(chosen),
        "levels": lambda: levels.rows(chosen, turns),
        "strangers": lambda: strangers.rows(),
        "durability": lambda: durability.rows(chosen, turns),
        "dashboard": lambda: dashboard.rows(),
        "watchers": lambda: watchers.rows(),
        "derivatives": lambda: sweep.rows(),
        "ranks": lambda: ranks.rows(turns, validation_size),
    }
    title = "MNIST network" + ", batch 500, 5,000 validation images" * ("hardware" not in only)
    table = Table(title=title, title_justify="left")
    for heading in ("figure", "measured", "meant to be", ""):
        table.add_column(heading)
    for name in only:
        for row in parts[name]() if name in parts else ():
            click.echo(f"{row.name}: {row.value}", err=True)  # whatever happens to the rest
            mark = "" if row.holds is None else "holds" if row.holds else "MISSED"
            table.add_row(row.name, row.value, row.bound, mark)
    console = Console(width=150, highlight=False)
    if table.rows:
        console.print(table)
    if "players" in only:
        costs = players.costs(chosen, turns, chosen_players)
        click.echo(json.dumps(players.as_json(costs)) if as_json else players.markdown(costs))
    console.print(json.dumps(describe(chosen)), soft_wrap=True)


if __name__ == "__main__":
    main()
