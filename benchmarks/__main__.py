"""`python -m benchmarks`: every figure, printed with the machine it was measured on."""

import os

# As the services have it; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json

import click
from rich.console import Console
from rich.table import Table

from benchmarks import durability, levels, memory, step, strangers, transport
from midstream.environment import configure, describe

_PARTS = ["step", "transport", "memory", "levels", "durability", "strangers"]


@click.command()
@click.option("--device", default="auto", show_default=True)
@click.option("--threads", type=int, help="CPU threads; torch's choice by default.")
@click.option("--turns", default=4, show_default=True, help="Turns that each step is timed in, twice a turn.")
@click.option("--only", multiple=True, type=click.Choice(_PARTS))
def main(device: str, threads: int | None, turns: int, only: tuple[str, ...]) -> None:
    """Measure speed and memory as ratios; none of them is a test."""
    chosen = configure(threads=threads, device=device)
    parts = {
        "step": lambda: step.rows(chosen, turns),
        "transport": lambda: transport.rows(chosen, turns),
        "memory": lambda: memory.rows(chosen),
        "levels": lambda: levels.rows(chosen, turns),
        "strangers": lambda: strangers.rows(),
        "durability": lambda: durability.rows(chosen, turns),
    }
    table = Table(title="MNIST network, batch 500, 5,000 validation images", title_justify="left")
    for heading in ("figure", "measured", "meant to be", ""):
        table.add_column(heading)
    for name in only or parts:
        for row in parts[name]():
            mark = "" if row.holds is None else "holds" if row.holds else "MISSED"
            table.add_row(row.name, row.value, row.bound, mark)
    console = Console(width=150, highlight=False)
    console.print(table)
    console.print(json.dumps(describe(chosen)), soft_wrap=True)


if __name__ == "__main__":
    main()
