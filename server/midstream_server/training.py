"""One training run: its model, its defender, and the step."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from midstream import plugins
from midstream.datasets import Split
from midstream.gradients import Gradient, validation_gradient
from midstream.loss import cross_entropy
from midstream.models import build_model
from midstream.modes import layers_in_training_mode, switched
from midstream.players import Batch, Player, View, move
from midstream.seeds import seeded
from midstream.specification import Specification
from midstream.training_step import TrainingStep, training_step
from midstream_server.evaluation import Evaluation, evaluate


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        step: steps taken so far, this one included; also the version of the parameters after it.
        loss: mean training loss of the defended batch at the parameters before the step, nats an example.
        correction: mean distance the defender moved an input, `‖x'' - x'‖`, in pixel units.
        seconds: time the defence and the step took.
        received: the first few inputs as they arrived.
        defended: the same inputs after the defence.
        labels: their labels.
        reported: what the defender said of its move, by name.
    """

    step: int
    loss: float
    correction: float
    seconds: float
    received: Tensor
    defended: Tensor
    labels: Tensor
    reported: dict[str, float]


class DivergedError(ArithmeticError):
    """The training loss is no longer a number."""


class TrainingRun:
    """A model in training, defended.

    The only method that changes the model is `train`; it belongs to one thread at a time. Outside of the step
    that it takes, the model is in evaluation mode.

    Args:
        specification: what to train, on what, how.
        split: the data, of which the training part is only counted here: it arrives in batches.
        device: where to compute.
        allowed: the dotted paths and files that the specification may name; None allows all.

    Raises:
        ValueError: the specification does not fit the data.
        midstream.plugins.PluginError: there is no such model or defender.
    """

    def __init__(
        self,
        specification: Specification,
        split: Split,
        *,
        device: torch.device,
        allowed: Collection[str] | None = None,
    ) -> None:
        self.specification = specification
        self.device = device
        self.input_shape = tuple(split.validation.inputs.shape[1:])
        self.classes = split.classes
        if specification.target is not None and specification.target >= len(self.classes):
            raise ValueError(
                f"target is class {specification.target}, but {specification.dataset!r} has the classes 0 to "
                f"{len(self.classes) - 1}; name one of them, or leave it out"
            )
        self.train_size = len(split.train)
        self.steps_per_epoch = specification.steps_per_epoch(self.train_size)
        self.total_steps = specification.total_steps(self.train_size)
        self.model = initial_model(specification, self.input_shape, len(self.classes), allowed).to(device)
        self._trained = layers_in_training_mode(self.model)
        self.model.eval()
        optimizers = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        self.optimizer = optimizers[specification.optimizer](
            self.model.parameters(), lr=specification.learning_rate
        )
        self.defender: Player = plugins.make("defenders", specification.defender, allowed=allowed)
        self.validation = split.validation
        self._validation = (split.validation.inputs.to(device), split.validation.labels.to(device))
        self._test = (split.test.inputs.to(device), split.test.labels.to(device))
        self.step = 0
        self._known: tuple[int, Gradient] | None = None

    def parameters(self) -> dict[str, Tensor]:
        """Return the live parameters and buffers, by name, detached."""
        return {name: value.detach() for name, value in self.model.state_dict().items()}

    def description(self) -> dict[str, Any]:
        """Return architecture and loss, enough to rebuild the model."""
        return {
            "model": self.specification.model,
            "input_shape": list(self.input_shape),
            "classes": list(self.classes),
            "loss": "cross-entropy",
            "reduction": "sum",
            "optimizer": self.specification.optimizer,
            "learning_rate": self.specification.learning_rate,
        }

    def validation_gradient(self) -> Gradient:
        """Return `v` at the live parameters, computed once for each version."""
        if self._known is None or self._known[0] != self.step:
            self._known = (self.step, validation_gradient(self.model, *self._validation))
        return self._known[1]

    def training_step(self) -> TrainingStep:
        """Return the step that the optimizer will take next, its moments the live ones."""
        return training_step(self.optimizer, self.model)

    def view(self) -> View:
        """Return what the defender sees before the next step."""
        return View(
            model=self.model,
            parameters_version=self.step,
            loss=cross_entropy,
            learning_rate=self.specification.learning_rate,
            validation_inputs=self._validation[0],
            validation_labels=self._validation[1],
            budget=self.specification.budget,
            seed=self.specification.seed,
            role="defender",
            gradient_source=self.validation_gradient,
            step_source=self.training_step,
        )

    def train(self, batch: Batch) -> Step:
        """Defend one batch and take the step `θ ← θ - η ∇θ Σ L_θ(x'')` (paper eq. 3), by the optimizer.

        The step alone is taken in training mode; what its layers draw derives from the run's seed and the
        batch's number.

        Raises:
            midstream.players.PlayerError: the defender broke its rules; nothing was changed.
            DivergedError: the loss is infinite or NaN; nothing was changed.
        """
        started = time.perf_counter()
        batch = Batch(batch.seq, batch.inputs.to(self.device), batch.labels.to(self.device))
        view = self.view()
        defended = move(self.specification.defender, self.defender, batch, view)
        seed = self.specification.seed
        with seeded(self.device, seed, batch.seq, "step"), switched(self._trained, training=True):
            loss = cross_entropy(self.model(defended), batch.labels)
        if not loss.isfinite():
            raise DivergedError(f"the training loss of batch {batch.seq} is {loss.item()}")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        return Step(
            step=self.step,
            loss=loss.item() / len(batch.labels),
            correction=self.specification.budget.size(defended - batch.inputs).mean().item(),
            seconds=time.perf_counter() - started,
            received=batch.inputs[:8].cpu(),
            defended=defended[:8].cpu(),
            labels=batch.labels[:8].cpu(),
            reported=view.reports,
        )

    def evaluation_due(self) -> bool:
        """Return whether the parameters as they are now are to be evaluated."""
        every = self.specification.evaluate_every or self.steps_per_epoch
        return self.step > 0 and (self.step % every == 0 or self.step == self.total_steps)

    def evaluate(self) -> Evaluation:
        """Return how good the model is at the live parameters."""
        return evaluate(
            self.model,
            step=self.step,
            validation=self._validation,
            test=self._test,
            target=self.specification.target,
        )


def initial_model(
    specification: Specification,
    input_shape: tuple[int, ...],
    classes: int,
    allowed: Collection[str] | None = None,
) -> nn.Module:
    """Return the model at θ_0, drawn from the run's seed."""
    with seeded(torch.device("cpu"), specification.seed, "model"):
        return build_model(
            specification.model,
            input_shape,
            classes,
            batch_norm=specification.batch_norm,
            allowed=allowed,
        )
