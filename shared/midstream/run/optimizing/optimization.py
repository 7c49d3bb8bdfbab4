"""How a training steps on a gradient: optimizer, schedule, clipping and accumulation."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from midstream.mathematics.optimizers.live_step import training_step
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.protocol.specification import Specification
from midstream.run.optimizing.next_step import NextStep, UnmodelledStepError
from midstream.run.optimizing.one_call import arrange
from midstream.run.optimizing.optimizers import make_optimizer
from midstream.run.optimizing.state import load_state, rehearse, state_of

_SUMS = "accumulated."


class Optimization:
    """An optimizer of a model, with schedule, clipping and accumulation.

    Args:
        specification: optimizer, learning rate, schedule, clipping and accumulation.
        model: the model that it trains.
        train_size: the number of training examples.
        allowed: the dotted paths and files that the specification may name; None allows all.

    Raises:
        midstream.plugins.PluginError: there is no such optimizer or schedule, or it is not allowed.
        OptimizerStateError: the state of an optimizer of your own cannot be saved or restored.
    """

    def __init__(
        self,
        specification: Specification,
        model: nn.Module,
        *,
        train_size: int,
        allowed: Collection[str] | None,
    ) -> None:
        rehearse(specification.optimizer, allowed=allowed)
        self.optimizer = make_optimizer(
            specification.optimizer, model.parameters(), specification.learning_rate, allowed=allowed
        )
        self.following = NextStep(
            specification,
            total_steps=specification.total_steps(train_size),
            steps_per_epoch=specification.steps_per_epoch(train_size),
        )
        self.specification = specification
        self.plain = specification.optimizer in ("adam", "sgd")
        """Whether it is Adam or SGD without options."""
        if self.plain:
            arrange(self.optimizer, next(model.parameters()).device)
        self._model = model
        self._shares = [float(group["lr"]) / specification.learning_rate for group in self._groups]
        """Learning rate of each parameter group, as a share of η: an optimizer of your own chooses them."""
        self._sums: dict[str, Tensor] = {}
        self._set_rate(0)
        self.unmodelled = self._unmodelled()
        """Why no exact utility goes through the step; None if one does."""

    @property
    def constant(self) -> bool:
        """Whether each minibatch is the same plain step, so that a graph can hold it."""
        own = self.specification
        alone = own.clip_norm is None and self.following.accumulate == 1
        return self.plain and alone and own.schedule in (None, "constant")

    def step(self, number: int) -> None:
        """Step on the parameters' `grad`, the gradient of the sum of a minibatch's losses.

        Args:
            number: the number of the minibatch. With accumulation, the optimizer steps at every k-th and at
                the last one, on the sum of the gradients since its last step.
        """
        if self.following.accumulate > 1:
            self._add()
            self.pass_by(number)
        else:
            self._step(number)

    def pass_by(self, number: int) -> None:
        """Pass a minibatch that has no gradient: step if it is due and others of its group have one."""
        if not self._sums or not self.following.is_due(number):
            return
        for name, parameter in self._model.named_parameters():
            parameter.grad = self._sums.get(name)
        self._sums = {}
        self._step(number)

    def _step(self, number: int) -> None:
        if self.specification.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), self.specification.clip_norm)
        self._set_rate(number)
        self.optimizer.step()

    def _add(self) -> None:
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None:
                before = self._sums.get(name)
                self._sums[name] = parameter.grad.clone() if before is None else before + parameter.grad

    def next_step(self, number: int) -> TrainingStep:
        """Return the optimizer's own step on the minibatch of a number, without clipping and later rates.

        Raises:
            UnmodelledStepError: it is not modelled.
        """
        if self.unmodelled is not None:
            raise UnmodelledStepError(self.unmodelled)
        self._set_rate(number)
        return training_step(self.optimizer, self._model)

    def described(self) -> dict[str, Any]:
        """Return what a model's description says of it."""
        return {
            "optimizer": self.specification.optimizer,
            "learning_rate": self.specification.learning_rate,
            "total_steps": self.following.total_steps,
            "steps_per_epoch": self.following.steps_per_epoch,
            "unmodelled": self.unmodelled,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return the optimizer's state, as `optimizer.NUMBER.KEY`, and the sums, as `accumulated.NAME`."""
        own = state_of(self.optimizer, self.specification.optimizer)
        state = {f"optimizer.{name}": value for name, value in own.items()}
        return state | {f"{_SUMS}{name}": value for name, value in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; other names are ignored."""
        own = {
            name.removeprefix("optimizer."): value
            for name, value in state.items()
            if name.startswith("optimizer.")
        }
        load_state(self.optimizer, own, self.specification.optimizer)
        here = dict(self._model.named_parameters())
        self._sums = {
            name.removeprefix(_SUMS): value.to(here[name.removeprefix(_SUMS)].device)
            for name, value in state.items()
            if name.startswith(_SUMS)
        }

    def _set_rate(self, number: int) -> None:
        rate = self.following.rate(number)
        for group, share in zip(self._groups, self._shares, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * share)
            else:
                group["lr"] = rate * share

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def _unmodelled(self) -> str | None:
        try:
            self.following.around(training_step(self.optimizer, self._model), 0)
        except ValueError as error:
            return str(error)
        return None
