"""`python -m experiments.gain_of_a_step`: how far one attacked batch raises the validation loss.

A model is trained without an attacker. At some steps, each attacker perturbs the next batch at its full
budget, without memory. The optimizer takes that step and further steps on clean batches. The gain is the
increase of the validation loss over clean training: printed in 10⁻³ nats per example for level 1, and as a
share of level 1's gain for the other attackers, seed by seed.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from copy import deepcopy
from statistics import mean, stdev

import click
import torch

from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.utility import total_loss
from midstream.players.interface import Batch
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source, Split
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun

ATTACKERS = (
    "level-1",
    "level-2,steps=4",
    "level-2,steps=4,opponent_epsilon=0",
    "level-1,utility=exact",
    "level-2,steps=4,utility=exact",
    "level-2,steps=4,opponent_epsilon=0,utility=exact",
    "level-1,utility=exact,lookahead=1",
    "level-1,utility=exact,lookahead=3",
)
AFTER = (1, 2, 4)


@click.command()
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--lr", default=0.0008, show_default=True)
@click.option("--at", "places", multiple=True, type=int, default=(30, 60, 150), show_default=True)
@click.option("--seeds", default=5, show_default=True)
def main(optimizer: str, lr: float, places: tuple[int, ...], seeds: int) -> None:
    """Print one table per training step, for digits."""
    torch.set_num_threads(1)
    gains: dict[tuple[int, str, int], list[float]] = {}
    for seed in range(seeds):
        specification = Specification.model_validate(
            {"dataset": "digits", "optimizer": optimizer, "learning_rate": lr, "seed": seed}
        )
        split = load_split(specification, Source())
        run = TrainingRun(specification, split, device=torch.device("cpu"))
        batches = BatchSource(specification, split.train)
        for seq in range(max(places) + 1):
            if seq in places:
                clean = losses(run, split, [batches.batch(seq + i) for i in range(max(AFTER))])
                for attacker in ATTACKERS:
                    settings = AttackSettings(f"{attacker},beta=0", allowed=None)
                    attacked = AttackedRun(LocalGame(run), settings).attack(batches.batch(seq))
                    later = [batches.batch(seq + i) for i in range(1, max(AFTER))]
                    raised = losses(run, split, [attacked, *later])
                    for after in AFTER:
                        gain = 1e3 * (raised[after - 1] - clean[after - 1])
                        gains.setdefault((seq, attacker, after), []).append(gain)
            run.take_step(seen(batches.batch(seq)))
    for place in places:
        click.echo(f"\nat step {place}:\n")
        click.echo("| attacker |" + "".join(f" after {n} |" for n in AFTER) + "\n|---|---|---|---|")
        for attacker in ATTACKERS:
            cells = [gains[place, attacker, after] for after in AFTER]
            if attacker != ATTACKERS[0]:
                firsts = [gains[place, ATTACKERS[0], after] for after in AFTER]
                cells = [
                    [a / b for a, b in zip(*pair, strict=True)] for pair in zip(cells, firsts, strict=True)
                ]
            text = " | ".join(f"{mean(values):.2f} ± {stdev(values):.2f}" for values in cells)
            click.echo(f"| `{attacker}` | {text} |")


def losses(run: TrainingRun, split: Split, batches: list[WireBatch]) -> list[float]:
    """Return the mean validation loss after each of several steps; the run's own state does not change."""
    trained, values = deepcopy(run), []
    for batch in batches:
        trained.take_step(seen(batch))
        total = total_loss(trained.model, split.validation.inputs, split.validation.labels)
        values.append(total.item() / len(split.validation))
    return values


def seen(batch: WireBatch) -> Batch:
    """Return a batch as the model sees it."""
    return Batch(batch.seq, pixels(batch.inputs), batch.labels)


if __name__ == "__main__":
    main()
