"""A model in training: the run's model on the server, or an attacker's surrogate."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from midstream.errors import MidstreamError
from midstream.mathematics.derivatives.checking.check import FEW, check_derivatives
from midstream.mathematics.derivatives.chunk_size import choose_chunk_size
from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.derivatives.known_orders import remember
from midstream.mathematics.derivatives.orders import Order
from midstream.mathematics.graphs.program import Programs
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.players.checks import Checks
from midstream.players.interface import Batch
from midstream.protocol.messages.model import ModelDescription
from midstream.protocol.specification import Specification
from midstream.run.batch_norm import refuse_single_example
from midstream.run.buffers import buffers_kept_on_error
from midstream.run.chunk_size import chunk_size_here
from midstream.run.datasets import Split
from midstream.run.model_source import ModelSource
from midstream.run.optimizing.descent import Descent
from midstream.run.optimizing.optimization import Optimization
from midstream.run.process.precision import computing, in_float32
from midstream.run.ranks.here import share_run_model
from midstream.run.replayed import replayed_validation_gradient
from midstream.run.tasks.making import task_of


class DivergedError(MidstreamError, ArithmeticError):
    """The training loss is no longer a number."""


class Training:
    """A model and its optimizer. Training starts at θ_0, drawn from the seed, and takes one step at a time.

    Only the methods that take steps or load a state change the model. An object must be used by one thread at
    a time. Except during a step, the model is in evaluation mode.

    Args:
        specification: model, batch norm, optimizer, schedule and seed.
        split: the data. Only the size of the training part is used: training examples arrive in batches.
        device: the torch device to compute on.
        allowed: the dotted paths and files that the specification may name; None allows all.

    Raises:
        midstream.plugins.PluginError: there is no such model, loss, optimizer or schedule, or a batch is too
            small for the model's batch norm.
        midstream.DerivativeError: no order of differentiation gives correct derivatives of the model.
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
        self.task = task_of(split.task, specification.loss, allowed=allowed)
        self.budget = replace(specification.budget, scale=split.scale)
        """The defender's ball, with the scale of the columns."""
        self.train_size = len(split.train)
        self.dataset_sha256 = split.dataset_sha256
        self.steps_per_epoch = specification.steps_per_epoch(self.train_size)
        self.total_steps = specification.total_steps(self.train_size)
        self._models = ModelSource(
            specification, self.input_shape, len(self.classes), device=device, allowed=allowed
        )
        self.model = self._models.first()
        self.descent = Descent(self.model, loss=self.task.loss)
        self._has_buffers = any(True for _ in self.model.buffers())
        self.validation = split.validation
        self.validation_here = (split.validation.inputs.to(device), split.validation.labels.to(device))
        smallest, _ = specification.batch_limits(self.steps_per_epoch - 1, self.train_size)
        any_size = specification.batch_sizes == "any"
        refuse_single_example(self.model, self.input_shape, smallest, any_size=any_size)
        self.order: Order = self._check()
        """Order of differentiation for second derivatives, equal on both sides and for the whole run."""
        self.optimization = Optimization(
            specification, self.model, train_size=self.train_size, allowed=allowed
        )
        here, loss = self.validation_here, self.task.loss
        self.use_chunk_size(specification.chunk_size or chunk_size_here(self.model, *here, loss=loss))
        share_run_model(self.model, specification, self.classes, self.order, self.validation_here)
        self.step = 0
        self._known: tuple[int, Gradient] | None = None

    def use_chunk_size(self, size: int | None) -> None:
        """Differentiate `size` examples at a time; None leaves it to the derivatives."""
        self.chunk_size = size
        choose_chunk_size(self.model, size)
        self.programs = Programs(self.model.state_dict(keep_vars=True).values)

    def another_model(self) -> nn.Module:
        """Return a new model of the run's architecture; see `ModelSource.another`."""
        size, loss = self.chunk_size, self.task.loss
        return self._models.another(self._example(), order=self.order, chunk_size=size, loss=loss)

    def _check(self) -> Order:
        inputs = self._example()
        with in_float32():
            order = check_derivatives(self.model, inputs, self.validation_here[1][:FEW], loss=self.task.loss)
        remember(computing(self.model), inputs, order, loss=self.task.loss)
        return order

    def _example(self) -> Tensor:
        return pixels(self.validation_here[0][:FEW])

    def parameters(self) -> dict[str, Tensor]:
        """Return the live parameters and buffers, by name, detached."""
        return dict(self.model.state_dict())

    def state_dict(self) -> dict[str, Tensor]:
        """Return parameters and buffers as `model.NAME`, and the state of `Optimization.state_dict`."""
        here = {f"model.{name}": value for name, value in self.parameters().items()}
        return here | self.optimization.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor], *, step: int) -> None:
        """Restore the state of a training with the same specification.

        Args:
            state: the result of `state_dict`.
            step: number of steps that training had taken.
        """
        self.model.load_state_dict(_below("model.", state))
        self.optimization.load_state_dict(state)
        self.step, self._known = step, None

    def description(self) -> ModelDescription:
        """Return architecture, loss and optimizer: enough to rebuild the model."""
        return ModelDescription(
            model=self.specification.model,
            input_shape=list(self.input_shape),
            classes=list(self.classes),
            loss=self.task.loss_name,
            reduction="sum",
            task=self.task.kind,
            scale=self.budget.scale,
            chunk_size=self.chunk_size,
            derivatives=self.order,
            **self.optimization.described(),
        )

    @property
    def learning_rate(self) -> float:
        """The learning rate η of the next step."""
        return self.optimization.following.rate(self.step)

    def validation_gradient(self) -> Gradient:
        """Return the validation gradient `v` at the live parameters, computed once per version."""
        if self._known is None or self._known[0] != self.step:
            v = replayed_validation_gradient(self.programs, self.model, self.validation_here, self.task.loss)
            self._known = (self.step, v)
        return self._known[1]

    def training_step(self) -> TrainingStep:
        """Return the next step, with live moments, or raise `UnmodelledStepError`; see `NextStep.around`."""
        return self.optimization.following.around(self.optimization.next_step(self.step), self.step)

    def take_step(self, batch: Batch, checks: Checks | None = None) -> float:
        """Take the optimizer step `θ ← θ - η ∇θ Σ L_θ(x)` on a batch (paper eq. 3).

        The model is in training mode only during the step. Layer randomness is seeded by the run seed and the
        batch number.

        Args:
            batch: on the device.
            checks: conditions on the batch that are still to be read; the step is taken only if all hold.

        Returns:
            The batch's mean loss before the step, in nats per example.

        Raises:
            DivergedError: the loss is infinite or NaN; the state is unchanged.
            Exception: another condition does not hold; the state is unchanged.
        """
        loss = self._descend(batch, "step", checks=checks)
        self.step += 1
        return loss

    def take_step_and_rehearse(
        self, batch: Batch, rehearsed: Sequence[Batch], checks: Checks | None = None
    ) -> float:
        """Take the step on a batch, then one on each rehearsed batch. All steps together make one version.

        Each step's layer randomness is seeded by the run seed, batch number and rehearsal index.

        Args:
            batch: on the device.
            rehearsed: further batches, on the device; may be empty.
            checks: conditions on the batch that are still to be read; see `take_step`.

        Returns:
            The batch's mean loss before its step, in nats per example.

        Raises:
            DivergedError: the loss of a batch is infinite or NaN; the state is unchanged.
        """
        if not rehearsed:
            return self.take_step(batch, checks)
        step, before = self.step, {name: value.clone() for name, value in Training.state_dict(self).items()}
        try:
            loss = self._descend(batch, "step", checks=checks)
            for place, one in enumerate(rehearsed):
                self._descend(one, "rehearsal", place)
        except DivergedError:
            Training.load_state_dict(self, before, step=step)
            raise
        self.step += 1
        return loss

    def _descend(self, batch: Batch, *purpose: int | str, checks: Checks | None = None) -> float:
        checks = Checks() if checks is None else checks
        if not self._has_buffers:
            return self._descended(batch, purpose, checks)
        checks.settle()  # the forward pass may write to the buffers
        with buffers_kept_on_error(self.model):
            return self._descended(batch, purpose, checks)

    def _descended(self, batch: Batch, purpose: tuple[int | str, ...], checks: Checks) -> float:
        seed = self.specification.seed
        loss, gradients = self.descent.seeded_gradients(batch, self.programs, seed, *purpose)
        which = "".join(f", rehearsal {place}," for place in purpose[1:])
        checks.require(
            loss.isfinite(),
            lambda: DivergedError(f"the training loss of batch {batch.seq}{which} is {loss.item()}"),
        )
        total = checks.number(loss)
        checks.settle()
        self.descend(gradients)
        return total.value / len(batch.labels)

    def descend(self, gradients: Sequence[Tensor | None]) -> None:
        """Step along the gradients at the trained parameters."""
        self.descent.point(gradients)
        self.optimization.step(self.step)


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
