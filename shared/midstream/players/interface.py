"""What a plug-in implements, what it sees, and how its host holds it to the rules.

An attacker and a defender are the same shape: an object with `perturb(batch, view)`. The attacker's host
is the proxy, the defender's the training server.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import repr as shortened
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.loss import Loss
from midstream.mathematics.seeds import generator
from midstream.mathematics.training_step import TrainingStep

REPORTS = 16
"""Numbers that a player may report of one move."""


@dataclass(frozen=True)
class Batch:
    """One minibatch.

    Attributes:
        seq: its place in the run, counted from 0; batch `seq` makes the step from θ_seq.
        inputs: `(batch, *input)`, float32 within the pixel range.
        labels: class indices, `(batch,)`, int64; where an `Augmenting` defender mixed examples, the share
            of each class, `(batch, classes)`, float32, which sum to 1.
    """

    seq: int
    inputs: Tensor
    labels: Tensor


def _no_optimizer() -> TrainingStep:
    raise LookupError("this player's host does not show it the training optimizer")


def _no_batches(count: int) -> list[Batch]:
    raise LookupError(
        f"the {count} batches after this one are known only to an attacker whose host has the data set"
    )


@dataclass(frozen=True)
class View:
    """What a player sees when it makes its move.

    Attributes:
        model: the model at the live parameters. A copy is given to the attacker, the model itself to the
            defender; neither may change it.
        parameters_version: which θ these are: the number of steps taken so far.
        loss: the loss, summed over a batch.
        learning_rate: η of the training optimizer.
        validation_inputs: the inputs of the public Dval, `(examples, *input)`, as stored: float32, or uint8
            that `midstream.pixels` turns into float32.
        validation_labels: its labels, `(examples,)`.
        budget: the ball that the host will project the move onto, and the pixel range.
        seed: what the player's random numbers derive from: the run's seed, or one that the host made of it.
        role: `"attacker"` or `"defender"`.
        classes: how many classes the run has; told to a defender, to others 0.
        steps_per_epoch: batches of an epoch; told to a defender, to others 1.
        batch_size: examples of a minibatch, of which an epoch's last may have fewer; told to a defender, to
            others 1.
    """

    model: nn.Module
    parameters_version: int
    loss: Loss
    learning_rate: float
    validation_inputs: Tensor
    validation_labels: Tensor
    budget: Budget
    seed: int
    role: str
    gradient_source: Callable[[], Gradient]
    step_source: Callable[[], TrainingStep] = _no_optimizer
    batch_source: Callable[[int], list[Batch]] = _no_batches
    reports: dict[str, float] = field(default_factory=dict)
    classes: int = 0
    steps_per_epoch: int = 1
    batch_size: int = 1

    def validation_gradient(self) -> Gradient:
        """Return `v = Σ_{z∈Dval} ∇θ L_θ(z)` at the live parameters.

        Computed at most once for each version, by whoever computes it first; see
        `midstream.validation_gradient`.
        """
        return self.gradient_source()

    def training_step(self) -> TrainingStep:
        """Return the optimizer as it will step from the live parameters: for Adam, with its moments.

        Read at most once for each version; see `midstream.training_step`.

        Raises:
            LookupError: this player's host does not show it.
        """
        return self.step_source()

    def upcoming(self, count: int) -> list[Batch]:
        """Return the next batches, clean, for an attacker that possesses the data set.

        Args:
            count: how many; there are fewer at the end of the run.

        Raises:
            LookupError: this player's host does not know them.
            ValueError: the data set of the host is not the one that the run is fed from.
        """
        return self.batch_source(count)

    def report(self, name: str, value: float) -> None:
        """Put a number about this move into the run's metrics, such as a solver's residual.

        Raises:
            ValueError: the number is not finite, the name is not lower case, or there are too many.
        """
        check_report(name, value)
        self.reports[name] = float(value)
        if len(self.reports) > REPORTS:
            raise ValueError(f"{name!r} is one report too many; a move has at most {REPORTS}")

    def generator(self, seq: int) -> torch.Generator:
        """Return the random numbers that belong to this player at batch `seq`, on the CPU."""
        return generator(self.seed, seq, self.role)


@runtime_checkable
class Player(Protocol):
    """An attacker or a defender.

    A player with memory also has `state_dict() -> dict[str, Tensor]` and `load_state_dict(state)`, so that
    it survives a restart.
    """

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbation to add to `batch.inputs`: same shape, in pixel units.

        The host projects it onto `view.budget`, adds it and clamps to the pixel range, so a player cannot
        exceed its budget. Whatever is raised here, a wrong shape, a NaN or an infinity stops the batch
        with an error that names the player: nothing unattacked or undefended slips through. Where whoever
        started the host chose `pass-clean`, the batch goes on as it came, and is counted.
        """


@runtime_checkable
class Remembering(Protocol):
    """A player with memory."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return all that the next move depends on and the view does not hold, by name.

        A tensor that has changed since the last call must be another one, or have been changed by torch.
        """

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned, in this process or another."""


@runtime_checkable
class Relabelling(Protocol):
    """An attacker that changes labels too."""

    def relabel(self, batch: Batch, view: View) -> Tensor:
        """Return the labels that go on in place of `batch.labels`: same shape, class indices."""


@runtime_checkable
class Augmenting(Protocol):
    """A defender that has the step taken on something made of the corrected batch, such as mixtures."""

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return what is trained on in place of a corrected batch.

        It is the trainer's own choice and may lie further away than ε. The inputs keep their shape and stay
        within the pixel range; the labels are class indices or shares of the classes, see `Batch`.
        """


@runtime_checkable
class Rehearsing(Protocol):
    """A defender that has the model take steps of its own, such as on the validation set."""

    def rehearse(self, batch: Batch, view: View) -> Sequence[Batch]:
        """Return the batches to step on after this one, within the same version of the parameters; or none.

        They are asked for, all at once, before the step on `batch`, which is given as it was corrected. Each
        may have any number of examples, else it is as `Augmenting.augment` says.
        """


@runtime_checkable
class AugmentingRehearsal(Protocol):
    """A defender that changes what is rehearsed, by itself or by whom it is combined with."""

    def augment_rehearsal(self, batch: Batch, view: View) -> Batch:
        """Return what is trained on in place of a rehearsed batch; see `Augmenting.augment`.

        `view.generator(batch.seq)` gives each rehearsed batch numbers of its own.
        """


def check_report(name: object, value: object) -> None:
    """Refuse a number that cannot stand in the metrics.

    Raises:
        ValueError: it is not finite, or its name is not lower case.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise ValueError(f"{shortened(name)} is no name of a report: lower case, at most 40 characters")
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"report {name} is {shortened(value)}, which is not a finite number")
