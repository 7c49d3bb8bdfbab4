"""A model of rank 0, whose derivatives all ranks compute together where that is right."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_statistics import statistics_of
from midstream.mathematics.derivatives.functional import trainable
from midstream.mathematics.derivatives.gradients import along
from midstream.mathematics.derivatives.parts import chunk_length
from midstream.mathematics.modes import layers_in_training_mode
from midstream.mathematics.sharing.registry import StepGradients, share
from midstream.mathematics.sharing.spans import Span
from midstream.run.ranks import work
from midstream.run.ranks.leader import Asked, Leader
from midstream.run.ranks.work import Description, Task


class SharedModel:
    """Computes the derivatives of a model together with the other ranks.

    A derivative is computed on rank 0 alone if its examples depend on each other, as with batch norm that
    trains; if layers draw random numbers or write to buffers in it; if there are too few examples; and, with
    `exact`, if one process would take all examples at once, as in a training step.

    Args:
        leader: this rank.
        model: the model.
        description: what the others build it from.
        validation: the set over which `v` is taken; the others keep it.
    """

    def __init__(
        self, leader: Leader, model: nn.Module, description: Description, validation: tuple[Tensor, Tensor]
    ) -> None:
        self._leader = leader
        self._model = model
        self._description = description
        self._validation = validation
        self._busy = False
        self._draws = False
        share(model, self)

    def loss_and_gradient(
        self, inputs: Tensor, labels: Tensor, chunk_size: int | None
    ) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Return the loss over a set and its gradient; see `midstream.validation_gradient`."""
        statistics, chunk = statistics_of(self._model), chunk_length(inputs, chunk_size)
        coupled = statistics is not None and statistics.validation_batch is not None
        if self._alone() or coupled or (parts := self._divided(inputs, labels, chunk)) is None:
            return None
        fixed = inputs is self._validation[0] and labels is self._validation[1]
        asked = self._asked("sum", inputs, labels, parts, chunk, fixed=fixed)
        apart = self._leader.exact
        with self._here():
            found = self._leader.summed(
                asked,
                lambda: work.sums(self._model, inputs, labels, parts[0], chunk_size=chunk, apart=apart),
            )
        if found is None:
            return None
        loss, *gradients = found
        return loss, dict(zip(trainable(self._model), gradients, strict=True))

    def mixed_derivative(
        self, inputs: Tensor, labels: Tensor, vector: Mapping[str, Tensor], chunk_size: int | None
    ) -> Tensor | None:
        """Return `B_x v`; see `midstream.mixed_derivative`."""
        coupled, chunk = statistics_of(self._model) is not None, chunk_length(inputs, chunk_size)
        if self._alone() or coupled or (parts := self._divided(inputs, labels, chunk)) is None:
            return None
        v = along(vector, trainable(self._model))
        asked = self._asked("rows", inputs, labels, parts, chunk, vector=v)
        with self._here():
            return self._leader.rows(
                asked, lambda: work.rows(self._model, inputs, labels, vector, parts[0], chunk_size=chunk)
            )

    def step_gradients(
        self, alone: Callable[[Tensor, Tensor], StepGradients], inputs: Tensor, labels: Tensor
    ) -> StepGradients | None:
        """Return the gradients of a training step."""
        parts = self._divided(inputs, labels, 1)
        if self._leader.exact or self._draws or self._busy or parts is None:
            return None
        likes = [one for one in self._model.parameters() if one.requires_grad]
        asked = self._asked("step", inputs, labels, parts, len(labels))
        before = _random_state(inputs.device)

        def own() -> list[list[Tensor]]:
            found = work.step(alone, inputs, labels, parts[0], likes)
            if self._drew(before):
                raise RuntimeError("layers draw random numbers for the whole batch")
            return found

        with self._here():
            found = self._leader.summed(asked, own)
        if found is None:
            _restore(before, inputs.device)
            return None
        loss, used, *gradients = found
        return loss, [one if count else None for one, count in zip(gradients, used.tolist(), strict=True)]

    def _drew(self, before: list[Tensor]) -> bool:
        now = _random_state(self._leader.device)
        self._draws = not all(torch.equal(one, other) for one, other in zip(before, now, strict=True))
        return self._draws

    def _alone(self) -> bool:
        return self._busy or bool(layers_in_training_mode(self._model))

    def _divided(self, inputs: Tensor, labels: Tensor, chunk: int) -> list[Span] | None:
        count = len(inputs)
        return self._leader.divided(count, chunk) if count == len(labels) else None

    def _asked(
        self,
        task: Task,
        inputs: Tensor,
        labels: Tensor,
        parts: list[Span],
        chunk: int,
        *,
        vector: Mapping[str, Tensor] | None = None,
        fixed: bool = False,
    ) -> Asked:
        given = self._model, self._description, inputs, labels, parts, chunk
        return Asked(task, *given, vector=vector, fixed=fixed)

    @contextmanager
    def _here(self) -> Iterator[None]:
        """Compute this rank's own part alone within this context."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


def _random_state(device: torch.device) -> list[Tensor]:
    found = [torch.get_rng_state()]
    return [*found, torch.cuda.get_rng_state(device)] if device.type == "cuda" else found


def _restore(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
