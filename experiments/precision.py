"""What bfloat16 costs in direction and gains in time: `python -m experiments.precision` (docs/precision.md).

Each row trains a model in float32 on clean minibatches, and then compares v and B_x v at those parameters
with float64. Times are process times of one thread, the best of several.
"""

import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from midstream import check_derivatives, mixed_derivative, validation_gradient
from midstream.mathematics.derivatives.known_orders import remember
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.loss import cross_entropy
from midstream.players.interface import Batch
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream.run.process import precision
from midstream.run.process.environment import configure
from midstream.run.training import Training

_CPU = torch.device("cpu")
_TURNS = 5


@click.command()
@click.option("--dataset", "datasets", multiple=True, default=["digits", "mnist"], show_default=True)
@click.option("--steps", default=60, show_default=True, help="Clean training steps before the comparison.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    envvar="MIDSTREAM_DATA_ROOT",
    help="torchvision root that holds MNIST.",
)
def main(datasets: tuple[str, ...], steps: int, data_root: Path | None) -> None:
    configure(threads=1, device="cpu")
    click.echo("| data set | v | B_x v | median input | worst input | time of v | of B_x v | of the step |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for dataset in datasets:
        settings = {"dataset": dataset, "train_size": 1000, "validation_size": 400, "batch_size": 100}
        specification = Specification.model_validate(settings)
        split = load_split(specification, Source(data_root, False))
        training, batches = (
            Training(specification, split, device=_CPU),
            BatchSource(specification, split.train),
        )
        for seq in range(steps):
            batch = batches.batch(seq)
            training.take_step(Batch(seq, pixels(batch.inputs), batch.labels))
        inputs, labels = pixels(split.validation.inputs), split.validation.labels
        click.echo(f"| {dataset} | {' | '.join(_row(training.model, inputs, labels))} |")


def _row(model: nn.Module, inputs: Tensor, labels: Tensor) -> list[str]:
    order = check_derivatives(model, inputs[:2], labels[:2])
    models = {"float64": copy.deepcopy(model).double(), "float32": model, "bfloat16": copy.deepcopy(model)}
    precision.choose("bfloat16", _CPU)
    precision.computing(models["bfloat16"])
    precision.choose("float32", _CPU)
    found, seconds = {}, {}
    for name, one in models.items():
        x = inputs.double() if name == "float64" else inputs
        remember(one, x, order)
        v = validation_gradient(one, x, labels)
        found[name] = torch.cat([part.flatten() for part in v.values()]), mixed_derivative(one, x, labels, v)
        seconds[name] = [
            _best(partial(validation_gradient, one, x, labels)),
            _best(partial(mixed_derivative, one, x[:100], labels[:100], v)),
            _best(partial(_backward, one, x[:100], labels[:100])),
        ]
    coarse, true = found["bfloat16"], found["float64"]
    each = cosine_similarity(coarse[1].flatten(1).double(), true[1].flatten(1))
    whole = [
        cosine_similarity(one.flatten().double(), other.flatten(), dim=0).item()
        for one, other in zip(coarse, true, strict=True)
    ]
    cosines = [*whole, each.median().item(), each.min().item()]
    ratios = (a / b for a, b in zip(seconds["bfloat16"], seconds["float32"], strict=True))
    return [*(f"{value:.4f}" for value in cosines), *(f"{ratio:.2f}×" for ratio in ratios)]


def _backward(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_TURNS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


if __name__ == "__main__":
    main()
