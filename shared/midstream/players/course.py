"""What a player learns before the game: what from, and in steps that can be gone on with.

A purifier learns its network on the validation set, an attacker its generator on surrogates. The player says
what a step is; its host takes the steps, tells how far it got, and keeps the outcome.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from midstream.mathematics.budget import Budget
from midstream.mathematics.seeds import seeded
from midstream.players.interface import Player


def _no_train() -> tuple[Tensor, Tensor]:
    raise LookupError("the training data are known only to an attacker whose host has the data set")


@dataclass(frozen=True)
class Ground:
    """What a player may learn from before the game.

    Attributes:
        validation_inputs: the inputs of the public Dval, `(examples, *input)`, float32 in the pixel range.
        validation_labels: its labels, `(examples,)`.
        classes: how many classes there are.
        budget: the ball of the player's moves.
        learning_rate: η of the training optimizer.
        batch_size: of the run's minibatches.
        seed: the run's seed.
        role: `"attacker"` or `"defender"`.
        model_source: makes a new model of the run's architecture, on the device, in evaluation mode.
        train_source: gives the training data, like the validation data, to whoever has them.
    """

    validation_inputs: Tensor
    validation_labels: Tensor
    classes: int
    budget: Budget
    learning_rate: float
    batch_size: int
    seed: int
    role: str
    model_source: Callable[[], nn.Module]
    train_source: Callable[[], tuple[Tensor, Tensor]] = _no_train

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.validation_inputs.device

    def model(self) -> nn.Module:
        """Return a model to train as the run does, its initial parameters drawn from torch's numbers."""
        return self.model_source()

    def train(self) -> tuple[Tensor, Tensor]:
        """Return the training inputs and labels, for an attacker that possesses the data set.

        Raises:
            LookupError: this player's host does not have them.
        """
        return self.train_source()


@dataclass(frozen=True)
class Course:
    """A learning in steps.

    Torch's random numbers are the course's own, seeded anew for each step, so a step may draw from them: the
    outcome is the same wherever the course was interrupted.

    Attributes:
        settings: all that the outcome depends on besides the ground and the code, such as the `repr` of a
            player that is a dataclass.
        parts: the networks and optimizers that a step changes, by name; nothing else changes.
        steps: how many there are.
        step: takes the step of a number, counted from 0, and returns the loss to tell.
    """

    settings: str
    parts: Mapping[str, nn.Module | Optimizer]
    steps: int
    step: Callable[[int], float]

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the parts hold: `PART.NAME`, of an optimizer `PART.NUMBER.NAME`."""
        return {
            f"{part}.{name}": value.detach()
            for part, of in self.parts.items()
            for name, value in (optimizer_state(of) if isinstance(of, Optimizer) else of.state_dict()).items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned, in this process or another."""
        for part, of in self.parts.items():
            own = {
                name[len(part) + 1 :]: value for name, value in state.items() if name.startswith(f"{part}.")
            }
            if isinstance(of, Optimizer):
                load_optimizer_state(of, own)
            else:
                of.load_state_dict(own)


@runtime_checkable
class Learner(Protocol):
    """A player with a part that is learned before the game."""

    def course(self, ground: Ground) -> Course:
        """Return how it learns, from the first step on.

        The player keeps the parts that it plays with: they have learned when its first batch comes.
        """


def learners(player: Player) -> Iterator[Learner]:
    """Return the players that must learn before a game: the player itself, and its `parts`, if it has any."""
    if isinstance(player, Learner):
        yield player
    for part in getattr(player, "parts", ()):
        yield from learners(part)


def begin(learner: Learner, ground: Ground) -> Course:
    """Return a player's course, what it draws for its networks seeded."""
    with seeded(ground.device, ground.seed, "course", ground.role):
        return learner.course(ground)


def take_step(course: Course, ground: Ground, number: int) -> float:
    """Take one step of a course, its draws seeded by the step's number; return its loss.

    Raises:
        ArithmeticError: the loss is infinite or NaN.
    """
    with seeded(ground.device, ground.seed, "course", ground.role, number), torch.enable_grad():
        loss = course.step(number)
    if not abs(loss) < float("inf"):
        raise ArithmeticError(f"the loss of step {number} is {loss}")
    return loss


def learn(player: Player, ground: Ground) -> None:
    """Have a player learn all that it must, here and now."""
    for learner in learners(player):
        course = begin(learner, ground)
        for number in range(course.steps):
            take_step(course, ground, number)


def optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return what an optimizer remembers as tensors: `NUMBER.KEY`."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": torch.as_tensor(value)
        for number, values in state.items()
        for key, value in values.items()
    }


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Take up what `optimizer_state` returned."""
    remembered: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        number, _, key = name.partition(".")
        remembered.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": remembered})
