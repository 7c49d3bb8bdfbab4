"""`python -m experiments.step_shares`: gain of infinite and settling PGD steps within one batch.

At some steps of clean training, each attacker perturbs the next batch at its full budget, without memory. The
gain is the increase of the first-order utility `-η ⟨Σ ∇θ L(x''), v⟩` over the clean batch's: without a
defender, and with a level-1 defender that corrects both batches. It is printed as a share of level 1's gain.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path
from statistics import mean, stdev

import click
import torch
from torch import Tensor

from midstream import Budget, Gradient, level_1_defense, level_k_attack, validation_gradient
from midstream.mathematics.derivatives.hessian import inner
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.level_k import INFINITE
from midstream.players.interface import Batch
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream_server.runs.training import TrainingRun

SETTINGS = {"digits": {}, "mnist": {"train_size": 1000, "validation_size": 500, "batch_size": 100}}
PLAYS = [(2, INFINITE), (3, INFINITE), (4, INFINITE), (2, 0.5), (4, 0.5), (2, 0.25), (4, 0.25), (7, 0.25)]
EXPECTED = ("level-1", "nobody")


@click.command()
@click.option("--dataset", type=click.Choice(list(SETTINGS)), default="digits", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), help="Torchvision's data root.")
@click.option("--at", "places", multiple=True, type=int, default=(10, 40, 100), show_default=True)
@click.option("--seeds", default=3, show_default=True)
def main(dataset: str, data_root: Path | None, places: tuple[int, ...], seeds: int) -> None:
    """Print a table with one row per number of steps, share of ε and expected opponent."""
    torch.set_num_threads(1)
    shares: dict[tuple[int, float, str, str], list[float]] = {}
    for seed in range(seeds):
        settings = {"dataset": dataset, "seed": seed, **SETTINGS[dataset]}
        specification = Specification.model_validate(settings)
        split = load_split(specification, Source(data_root))
        run = TrainingRun(specification, split, device=torch.device("cpu"))
        batches = BatchSource(specification, split.train)
        for seq in range(max(places) + 1):
            sent = batches.batch(seq)
            batch = Batch(seq, pixels(sent.inputs), sent.labels)
            if seq in places:
                for key, value in measured(run, batch).items():
                    shares.setdefault(key, []).append(value)
            run.take_step(batch)
    click.echo(
        "| steps | share of ε after the first | expects | against nobody | against level 1 |\n"
        + "|---" * 5
        + "|"
    )
    for steps, share in PLAYS:
        for expected in EXPECTED:
            cells = [shares[steps, share, expected, met] for met in ("nobody", "level-1")]
            text = " | ".join(f"{mean(values):.2f} ± {stdev(values):.2f}" for values in cells)
            click.echo(f"| {steps} | {share:g} | {expected} | {text} |")


def measured(run: TrainingRun, batch: Batch) -> dict[tuple[int, float, str, str], float]:
    """Return each play's gain against each opponent, as a share of level 1's gain against that opponent."""
    v, budget = run.validation_gradient(), run.specification.budget
    rate = run.specification.learning_rate

    def attack(steps: int, share: float, expected: str) -> Tensor:
        perturbation = level_k_attack(
            run.model,
            batch.inputs,
            batch.labels,
            validation_gradient=v,
            budget=budget,
            opponent=budget if expected == "level-1" else Budget(0.0, budget.norm),
            steps=steps,
            learning_rate=rate,
            share=share,
        )
        return budget.perturb(batch.inputs, perturbation)

    def value(inputs: Tensor, met: str) -> float:
        if met == "level-1":
            answer = level_1_defense(run.model, inputs, batch.labels, validation_gradient=v, budget=budget)
            inputs = budget.perturb(inputs, answer)
        gradient: Gradient = validation_gradient(run.model, inputs, batch.labels)
        return -rate * inner(gradient, v)

    found = {}
    for met in ("nobody", "level-1"):
        clean = value(batch.inputs, met)
        first = value(attack(1, INFINITE, met), met) - clean
        for steps, share in PLAYS:
            for expected in EXPECTED:
                gain = value(attack(steps, share, expected), met) - clean
                found[steps, share, expected, met] = gain / first
    return found


if __name__ == "__main__":
    main()
