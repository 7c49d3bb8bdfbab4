"""`python -m experiments.cost_of_a_move`: cost of a move along the exact utility, relative to level 1.

MNIST's network and shapes, one thread. The candidates are timed in turns, so that all see the same machine
load. The table shows each measured ratio beside the ratio of counted forward passes.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import click
import torch
from benchmarks.measure import interleaved
from benchmarks.synthetic import split

from midstream import plugins
from midstream.mathematics.derivatives.gradients import validation_gradient
from midstream.players.interface import Batch
from midstream.protocol.specification import Specification
from midstream_server.runs.training import TrainingRun

COUNTS: dict[str, Callable[[int, int], int]] = {
    "level-1": lambda v, b: 3 * v + 4 * b,
    "level-2,steps=2": lambda v, b: 3 * v + 3 * 4 * b,
    "level-1,utility=exact": lambda v, b: 3 * v + 7 * b,
    "level-2,steps=2,utility=exact": lambda v, b: 3 * (3 * v + 7 * b),
    "level-1,utility=exact,lookahead=1": lambda v, b: 3 * v + 16 * b,
    "level-1,utility=exact,lookahead=3": lambda v, b: 3 * v + 34 * b,
}


@click.command()
@click.option("--validation-size", default=1000, show_default=True)
@click.option("--batch-size", default=500, show_default=True)
@click.option("--turns", default=3, show_default=True)
def main(validation_size: int, batch_size: int, turns: int) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    data = split(batch_size, validation_size)
    specification = Specification.model_validate(
        {"dataset": "mnist", "validation_size": validation_size, "batch_size": batch_size}
    )
    run = TrainingRun(specification, data, device=torch.device("cpu"))
    batch = Batch(0, data.train.pixels(), data.train.labels)
    view = replace(
        run.view(),
        role="attacker",
        gradient_source=lambda: validation_gradient(run.model, *run.validation_here),
        batch_source=lambda count: [replace(batch, seq=i + 1) for i in range(count)],
    )
    moves: dict[str, Callable[[], object]] = {
        name: partial(plugins.make("attackers", f"{name},beta=0").perturb, batch, view) for name in COUNTS
    }
    times = interleaved(moves, torch.device("cpu"), turns)
    click.echo("| move | measured | counted |\n|---|---|---|")
    for name, count in COUNTS.items():
        counted = count(validation_size, batch_size) / COUNTS["level-1"](validation_size, batch_size)
        click.echo(f"| `{name}` | {times[name] / times['level-1']:.2f} | {counted:.2f} |")


if __name__ == "__main__":
    main()
