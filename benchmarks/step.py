"""A level-1 against level-1 step, compared with (a) its theoretical minimum and (b) naive code."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.apart import apart
from benchmarks.local_game import LocalSteps, Sizes
from benchmarks.measure import (
    Row,
    floor_operations,
    interleaved,
    matrix_product,
    matrix_rate,
    operations,
)
from benchmarks.synthetic import split
from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.checks import check_batch
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun

VALIDATION, BATCH = 5_000, 500


class Ours:
    """Both sides of a game in this process, one after the other as over HTTP, without its records."""

    def __init__(self, device: torch.device, attacker: str = "level-1", defender: str = "level-1") -> None:
        data = split(10 * BATCH, VALIDATION)
        specification = Specification.model_validate(
            {"dataset": "mnist", "defender": defender, "validation_size": VALIDATION, "batch_size": BATCH}
        )
        self.run = TrainingRun(specification, data, device=device)
        settings = AttackSettings(attacker, device=device, allowed=None)
        self.attacked = AttackedRun(LocalGame(self.run), settings)
        self.attacked.prepare()
        self.batches = BatchSource(specification, data.train)

    def __call__(self) -> None:
        seq = self.run.step
        batch = self.attacked.attack(self.batches.batch(seq))
        self.run.train(check_batch(batch, seq=seq, length=BATCH, input_shape=(1, 28, 28), classes=10))


class Naive:
    """A naive implementation of the step: ReLU before pooling in torch's default layout, the whole
    validation set at once, double backward, and a validation gradient for each side.
    """

    def __init__(self, device: torch.device, validation: int = VALIDATION, batch: int = BATCH) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            *(nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 64, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10)),
        ).to(device)
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=0.0008)
        data = split(batch, validation)
        self.validation = (data.validation.pixels().to(device), data.validation.labels.to(device))
        self.batch = (pixels(data.train.inputs).to(device), data.train.labels.to(device))
        self.history = torch.zeros_like(self.batch[0])

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.model(inputs), labels, reduction="sum")

    def direction(self, inputs: Tensor, labels: Tensor) -> Tensor:
        v = torch.autograd.grad(self.loss(*self.validation), self.parameters)
        x = inputs.clone().requires_grad_()
        gradient = torch.autograd.grad(self.loss(x, labels), self.parameters, create_graph=True)
        product = torch.stack([(g * u).sum() for g, u in zip(gradient, v, strict=True)]).sum()
        (mixed,) = torch.autograd.grad(product, x)
        unit: Tensor = mixed / mixed.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
        return unit

    def __call__(self) -> None:
        x, y = self.batch
        self.history = 0.95 * self.history - 0.05 * self.direction(x, y)
        attacked = (x + 3 * self.history).clamp(0, 1)
        defended = (attacked + 3 * self.direction(attacked, y)).clamp(0, 1)
        self.optimizer.zero_grad()
        self.loss(defended, y).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def rows(device: torch.device, turns: int) -> list[Row]:
    ours = LocalSteps(Sizes(VALIDATION, BATCH).specification("level-1"), "level-1", device)
    with apart(Naive, device) as naive:
        candidates: dict[str, Callable[[], object]] = {
            "matrix": matrix_product(device),
            "ours": ours,
            "naive": naive,
            "here": Naive(device),
        }
        times = interleaved(candidates, device, turns)
    counted = operations(ours.unrecorded)
    ours.close()
    rate = matrix_rate(times["matrix"])
    against_floor = times["ours"] * rate / floor_operations(VALIDATION, BATCH)
    against_naive = times["naive"] / times["ours"]
    on_cpu = device.type == "cpu"
    return [
        Row("matrix rate of this machine", f"{rate / 1e9:.0f} GFLOP/s"),
        Row("level-1 against level-1 step", f"{times['ours'] * 1e3:.1f} ms"),
        Row(
            "(a) that step against its floor at the matrix rate",
            f"{against_floor:.2f}×",
            "at most 2.0× on a CPU",
            against_floor <= 2.0 if on_cpu else None,
        ),
        Row(
            "(b) the naive step, in a plain process, against it",
            f"{against_naive:.2f}×",
            "at least 4.4×",
            against_naive >= 4.4 if on_cpu else None,
        ),
        Row(
            "    with the naive step in a process of midstream, which keeps the memory that it frees",
            f"{times['here'] / times['ours']:.2f}×",
        ),
        Row(
            "torch operations dispatched in that step",
            f"{counted.dispatched}",
            "at most 900",
            counted.dispatched <= 900,
        ),
        Row("… values that the host read back in it", f"{counted.read}"),
    ]
