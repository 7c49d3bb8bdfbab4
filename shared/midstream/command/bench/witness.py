"""Watch a player: record its moves before projection, and which of its inputs it changed."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.players import referee
from midstream.players.interface import Augmenting, AugmentingRehearsal, Batch, Player, Rehearsing, View

Touchable = Literal[
    "parameters",
    "mode",
    "requires_grad",
    "gradients",
    "validation",
    "batch",
    "validation gradient",
    "moments",
]
"""Inputs of a player that it must not change."""

Read = Callable[[], list[Any]]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Move:
    """One move.

    Attributes:
        perturbation: the returned perturbation, before projection.
        shares: its norm for each example, in units of ε.
        seconds: its duration.
    """

    perturbation: Tensor
    shares: Tensor
    seconds: float


class Witness:
    """A wrapper that watches a player. It forwards all hooks; a hook that the player lacks does nothing.

    Args:
        player: the watched player.

    Attributes:
        moves: the player's moves so far.
        touched: the inputs that it changed, each with the number of the first such batch.
        trained_on: the batches that it "augmented" (including rehearsed ones) or "rehearsed", in order.
    """

    def __init__(self, player: Player) -> None:
        self.player = player
        self.moves: list[Move] = []
        self.touched: dict[Touchable, int] = {}
        self.trained_on: list[tuple[str, Batch]] = []

    @property
    def trains_on_more(self) -> bool:
        """Whether the player has a hook that changes the training batches."""
        return isinstance(self.player, (Augmenting, Rehearsing, AugmentingRehearsal))

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the player's move."""
        started = time.perf_counter()
        perturbation = self._watched(self.player.perturb, batch, view)
        seconds = time.perf_counter() - started
        if isinstance(perturbation, Tensor) and perturbation.shape == batch.inputs.shape:
            recorded = perturbation.detach().to(batch.inputs).clone()
            shares = view.budget.size(recorded) / view.budget.epsilon
            self.moves.append(Move(recorded, shares, seconds))
        return perturbation

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the player's augmentation of a corrected batch."""
        if not isinstance(self.player, Augmenting):
            return batch
        return self._noted(self._watched(self.player.augment, batch, view))

    def rehearse(self, batch: Batch, view: View) -> Sequence[Batch]:
        """Return the batches that the player rehearses."""
        if not isinstance(self.player, Rehearsing):
            return []
        batches = self._watched(self.player.rehearse, batch, view)
        if isinstance(batches, Sequence):
            self.trained_on += [("rehearsed", one) for one in batches]
        return batches

    def augment_rehearsal(self, batch: Batch, view: View) -> Batch:
        """Return the player's augmentation of a rehearsed batch."""
        if not isinstance(self.player, AugmentingRehearsal):
            return batch
        return self._noted(self._watched(self.player.augment_rehearsal, batch, view))

    def _noted(self, augmented: Batch) -> Batch:
        self.trained_on.append(("augmented", augmented))
        return augmented

    def _watched(self, hook: Callable[[Batch, View], Answer], batch: Batch, view: View) -> Answer:
        seen = Seen(batch, view)
        answer = hook(batch, seen.view)
        for what in seen.changed():
            self.touched.setdefault(what, batch.seq)
        return answer

    def state(self) -> dict[str, Tensor]:
        """Return the player's memory."""
        return referee.state_of(self.player)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore the player's memory."""
        referee.restore(self.player, state)


class Seen:
    """The inputs of a player at one move, with copies made when they were passed to it."""

    def __init__(self, batch: Batch, view: View) -> None:
        self._shown: list[tuple[Touchable, Read, list[Any]]] = []
        self.view = replace(view, gradient_source=self._gradient, step_source=self._step)
        self._sources = view
        model = view.model
        self._show("parameters", lambda: list(model.state_dict().values()))
        self._show("mode", lambda: [layer.training for layer in model.modules()])
        self._show("requires_grad", lambda: [parameter.requires_grad for parameter in model.parameters()])
        self._show("gradients", lambda: [parameter.grad for parameter in model.parameters()])
        self._show("validation", lambda: [view.validation_inputs, view.validation_labels])
        self._show("batch", lambda: [batch.inputs, batch.labels])

    def _show(self, what: Touchable, read: Read) -> None:
        self._shown.append((what, read, [_copy(value) for value in read()]))

    def _gradient(self) -> Gradient:
        gradient = self._sources.validation_gradient()
        self._show("validation gradient", lambda: list(gradient.values()))
        return gradient

    def _step(self) -> TrainingStep:
        step = self._sources.training_step()
        self._show("moments", lambda: [value for of in step.moments.values() for value in of.values()])
        return step

    def changed(self) -> Iterator[Touchable]:
        """Yield the inputs that differ from their copies."""
        for what, read, before in self._shown:
            now = read()
            if len(now) != len(before) or not all(map(_equal, now, before)):
                yield what


def _copy(value: object) -> object:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _equal(now: object, before: object) -> bool:
    if isinstance(now, Tensor) and isinstance(before, Tensor):
        return torch.equal(now, before)
    return now is before
