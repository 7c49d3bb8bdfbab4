"""Learning before the game: the data a player learns from, and resumable training steps.

A purifier trains its network on the validation set, an attacker its generator on surrogates. The player
defines a step; its host takes the steps, reports progress, and caches the trained state.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from midstream.mathematics.budget import Budget
from midstream.mathematics.seeds import seeded


def _no_train() -> tuple[Tensor, Tensor]:
    raise LookupError("the training data are known only to an attacker whose host has the data set")


def _no_index() -> Tensor:
    raise LookupError("where the training data are in their data set is known only to a host that has it")


@dataclass(frozen=True)
class Ground:
    """The data and settings that a player may learn from before the game.

    Attributes:
        validation_inputs: inputs of the public validation set Dval, `(examples, *input)`, float32 in the
            pixel range.
        validation_labels: labels of the validation set, as in `midstream.players.interface.Batch`.
        classes: the number of classes, or of another task's outputs.
        budget: the ball that the player's moves are projected onto.
        learning_rate: η of the training optimizer.
        batch_size: examples per minibatch of the run.
        seed: the run's seed.
        role: `"attacker"`, `"defender"` or `"checker"`.
        model_source: builds a new model of the run's architecture, on the device, in evaluation mode.
        train_source: returns the training inputs and labels, if the host has them.
        index_source: returns where each training example is in the data set, if the host has the data.
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
    index_source: Callable[[], Tensor] = _no_index

    @property
    def device(self) -> torch.device:
        """The device to compute on."""
        return self.validation_inputs.device

    def model(self) -> nn.Module:
        """Return a new model of the run's architecture; torch's global generator draws its parameters."""
        return self.model_source()

    def train(self) -> tuple[Tensor, Tensor]:
        """Return the training inputs and labels, for an attacker that possesses the data set.

        Raises:
            LookupError: this player's host does not have the training data.
        """
        return self.train_source()

    def train_index(self) -> Tensor:
        """Return the place of each training example in the data set's training data, `(examples,)`, int64.

        Raises:
            LookupError: this player's host does not have the data set.
        """
        return self.index_source()


@dataclass(frozen=True)
class Course:
    """A player's training, divided into steps.

    A step may draw from torch's global random numbers: they are seeded anew for each step, so the outcome is
    the same wherever the course is interrupted and resumed.

    Attributes:
        settings: everything that the outcome depends on besides the ground and the code, such as the `repr`
            of a player that is a dataclass.
        parts: the networks and optimizers that a step changes, by name; a step changes nothing else.
        steps: the number of steps.
        step: takes the step of the given number, counted from 0, and returns its loss.
    """

    settings: str
    parts: Mapping[str, nn.Module | Optimizer]
    steps: int
    step: Callable[[int], float]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of all parts, under `PART.NAME`; for an optimizer, `PART.NUMBER.NAME`."""
        return {
            f"{part}.{name}": value.detach()
            for part, of in self.parts.items()
            for name, value in (optimizer_state(of) if isinstance(of, Optimizer) else of.state_dict()).items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned, in this process or another."""
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
    """A player that must learn before the game."""

    def course(self, ground: Ground) -> Course:
        """Return the player's course, at its first step.

        The player holds on to the parts that it plays with; they are trained by the time its first batch
        arrives.
        """


@runtime_checkable
class Surveying(Protocol):
    """A player that looks at the data before the game."""

    def survey(self, ground: Ground) -> None:
        """Compute what the player needs of the data, before it learns and before its first batch.

        It is called each time that a host makes the player, so it should be quick; a `Learner`'s course is
        cached instead. It raises `ValueError` if the player cannot play on these data.
        """


@runtime_checkable
class Restricting(Protocol):
    """A player that hides some of the data from its `parts`, before the game too."""

    def restricted(self, ground: Ground) -> Ground:
        """Return what its parts may learn on."""


def members(player: object) -> Iterator[object]:
    """Return the player itself and, recursively, its `parts`."""
    yield player
    for part in getattr(player, "parts", ()):
        yield from members(part)


def grounds(player: object, ground: Ground) -> Iterator[tuple[object, Ground]]:
    """Return the `members` of a player, each with what it may learn on."""
    yield player, ground
    its = player.restricted(ground) if isinstance(player, Restricting) else ground
    for part in getattr(player, "parts", ()):
        yield from grounds(part, its)


def learners(player: object) -> Iterator[Learner]:
    """Return the players that must learn before a game: the player itself and, recursively, its `parts`."""
    return (one for one in members(player) if isinstance(one, Learner))


def surveyors(player: object) -> Iterator[Surveying]:
    """Return the players that look at the data before a game; see `learners`."""
    return (one for one in members(player) if isinstance(one, Surveying))


def begin(learner: Learner, ground: Ground) -> Course:
    """Return a player's course; the initial values of its networks are drawn from seeded random numbers."""
    with seeded(ground.device, ground.seed, "course", ground.role):
        return learner.course(ground)


def take_step(course: Course, ground: Ground, number: int) -> float:
    """Take one step of a course, with random numbers seeded by the step's number; return its loss.

    Raises:
        ArithmeticError: the loss is infinite or NaN.
    """
    with seeded(ground.device, ground.seed, "course", ground.role, number), torch.enable_grad():
        loss = course.step(number)
    if not abs(loss) < float("inf"):
        raise ArithmeticError(f"the loss of step {number} is {loss}")
    return loss


def learn(player: object, ground: Ground) -> None:
    """Show a player the data, and take all steps of every course that it must learn."""
    found = list(grounds(player, ground))
    for one, its in found:
        if isinstance(one, Surveying):
            one.survey(its)
    for one, its in found:
        if isinstance(one, Learner):
            course = begin(one, its)
            for number in range(course.steps):
                take_step(course, its, number)


def optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as tensors, under `NUMBER.KEY`."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": torch.as_tensor(value)
        for number, values in state.items()
        for key, value in values.items()
    }


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Restore what `optimizer_state` returned, in the memory layout of the parameters.

    A file does not hold the layout. A fused optimizer reads memory in its order, whatever the strides say.
    """
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    remembered: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        number, _, key = name.partition(".")
        like = parameters[int(number)]
        if value.shape == like.shape and value.stride() != like.stride():
            value = torch.empty_like(like, dtype=value.dtype).copy_(value).detach()
        remembered.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": remembered})
