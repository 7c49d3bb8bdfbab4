"""`python -m experiments.steadiness`: does an attack keep its direction, and reach its budget?

Momentum averages an input's directions over its visits (paper A.1.1), so an attack that reverses its
direction cancels itself. For some epochs, this prints the mean cosine between an input's new and previous
direction, and the mean norm of the sent perturbation in pixel units.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from statistics import mean

import click
import torch
from torch import Tensor

from midstream import Batch, View
from midstream.attacks.along_gradient import GradientAttacker
from midstream.mathematics.inputs.content_keys import content_keys
from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun


class Recorded:
    """An attacker that records the cosines between its directions and those of the previous visit."""

    def __init__(self, attacker: GradientAttacker) -> None:
        self.attacker = attacker
        self.cosines: list[float] = []
        self._last: dict[bytes, Tensor] = {}

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's move."""
        fresh = self.attacker.fresh(batch, view)
        for key, direction in zip(content_keys(batch.inputs), fresh.flatten(1), strict=True):
            if key in self._last:
                self.cosines.append(torch.cosine_similarity(direction, self._last[key], dim=0).item())
            self._last[key] = direction
        return self.attacker.history.blend(batch.inputs, fresh, view.budget)


@click.command()
@click.option("--attacker", "attackers", multiple=True, default=("level-1", "level-1,utility=exact"))
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--lr", default=0.0008, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--epoch", "epochs", multiple=True, type=int, default=(6, 24, 42, 54), show_default=True)
def main(attackers: tuple[str, ...], optimizer: str, lr: float, seed: int, epochs: tuple[int, ...]) -> None:
    """Play digits without a defender, and print cosine and norm for each epoch."""
    torch.set_num_threads(1)
    click.echo("| attacker |" + "".join(f" epoch {epoch} |" for epoch in epochs))
    click.echo("|---" * (len(epochs) + 1) + "|")
    for attacker in attackers:
        specification = Specification.model_validate(
            {"dataset": "digits", "optimizer": optimizer, "learning_rate": lr, "seed": seed}
        )
        split = load_split(specification, Source())
        run = TrainingRun(specification, split, device=torch.device("cpu"))
        batches = BatchSource(specification, split.train)
        attacked = AttackedRun(LocalGame(run), AttackSettings(attacker, allowed=None))
        attacked.player = recorded = Recorded(attacked.player)  # type: ignore[arg-type]
        cells = []
        for epoch in range(max(epochs) + 1):
            recorded.cosines, sizes = [], []
            for seq in range(epoch * run.steps_per_epoch, (epoch + 1) * run.steps_per_epoch):
                clean = batches.batch(seq)
                sent = attacked.attack(clean)
                sizes.append(specification.budget.size(sent.inputs - pixels(clean.inputs)).mean().item())
                run.take_step(Batch(seq, sent.inputs, sent.labels))
            if epoch in epochs:
                cells.append(f"{mean(recorded.cosines):.2f}, {mean(sizes):.2f}")
        click.echo(f"| `{attacker}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
