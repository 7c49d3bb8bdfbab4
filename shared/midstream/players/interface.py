"""The interface that a plug-in implements, and what it sees.

Attackers and defenders have the same shape: an object with `perturb(batch, view)` (`Player`). Any of the
other protocols here may be implemented in addition. The proxy hosts the attacker, the training server hosts
the defender; `midstream.players.referee` checks what a player returns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.graphs.program import Programs
from midstream.mathematics.inputs.content_keys import content_keys
from midstream.mathematics.loss import Loss
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.mathematics.seeds import generator
from midstream.players.reports import REPORTS, check_report


@dataclass(frozen=True)
class Batch:
    """One minibatch.

    Attributes:
        seq: position in the run, counted from 0; the step on batch `seq` starts from θ_seq.
        inputs: `(batch, *input)`, float32 within the pixel range.
        labels: class indices, `(batch,)`, int64. If an `Augmenting` defender mixed examples, the share of
            each class, `(batch, classes)`, float32; each row sums to 1.
        key_source: how the host computes the `content_keys`; None computes them from `inputs`. A player that
            makes a batch of the same examples in another order sets it to None.
    """

    seq: int
    inputs: Tensor
    labels: Tensor
    key_source: Callable[[], Sequence[bytes]] | None = field(default=None, repr=False, compare=False)

    def content_keys(self) -> Sequence[bytes]:
        """Return a content key of each input as it came to the host: 16 bytes, equal for equal inputs.

        A host computes them at most once for each batch, when a player first asks. If a player has made a
        batch of some of the examples, they are those of its inputs.
        """
        found = None if self.key_source is None else self.key_source()
        return found if found is not None and len(found) == len(self.inputs) else content_keys(self.inputs)


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
        model: the model at the live parameters. The attacker gets a copy, the defender the model itself;
            neither may change it.
        parameters_version: the version of θ that the model holds: the number of steps taken so far.
        loss: the loss, summed over a batch.
        learning_rate: η of the training optimizer.
        validation_inputs: inputs of the public validation set Dval, `(examples, *input)`, as stored:
            float32, or uint8, which `midstream.pixels` converts to float32.
        validation_labels: labels of the validation set, `(examples,)`.
        budget: the ball that the host projects the move onto, and the pixel range.
        seed: seed of the player's random numbers: the run's seed, or one that the host derived from it.
        role: `"attacker"`, `"defender"` or `"checker"`.
        gradient_source: how the host computes `validation_gradient`.
        step_source: how the host reads `training_step`.
        batch_source: how the host looks up `upcoming` batches.
        reports: the numbers that `report` has collected for this move.
        classes: number of classes in the run. The server's players get this; attackers see 0.
        steps_per_epoch: batches per epoch. The server's players get this; attackers see 1.
        batch_size: examples per minibatch; the last one of an epoch may have fewer. The server's players get
            this; attackers see 1.
        programs: computes pure functions of tensors, which a CUDA device may replay as graphs.
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
    programs: Programs = field(default_factory=partial(Programs, capture=False), repr=False)

    def validation_gradient(self) -> Gradient:
        """Return `v = Σ_{z∈Dval} ∇θ L_θ(z)` at the live parameters.

        It is computed at most once for each version of the parameters, by whoever needs it first. See
        `midstream.validation_gradient`.
        """
        return self.gradient_source()

    def training_step(self) -> TrainingStep:
        """Return the optimizer's next step from the live parameters; for Adam, this includes its moments.

        It is read at most once for each version of the parameters. See `midstream.training_step`.

        Raises:
            LookupError: this player's host does not show the optimizer.
        """
        return self.step_source()

    def upcoming(self, count: int) -> list[Batch]:
        """Return the next clean batches, for an attacker that possesses the data set.

        Args:
            count: how many batches; fewer are returned at the end of the run.

        Raises:
            LookupError: this player's host does not know the batches.
            ValueError: the host's data set is not the one that the run trains on.
        """
        return self.batch_source(count)

    def report(self, name: str, value: float) -> None:
        """Record a number about this move in the run's metrics, such as a solver's residual.

        Raises:
            ValueError: the number is not finite, the name is not lower case, or the move has too many
                reports.
        """
        check_report(name, value)
        self.reports[name] = float(value)
        if len(self.reports) > REPORTS:
            raise ValueError(f"{name!r} is one report too many; a move has at most {REPORTS}")

    def generator(self, seq: int) -> torch.Generator:
        """Return a CPU generator for this player's random numbers at batch `seq`."""
        return generator(self.seed, seq, self.role)


@runtime_checkable
class Player(Protocol):
    """An attacker or a defender.

    A player with memory also implements `Remembering`, `state_dict()` and `load_state_dict(state)`, so that
    its memory survives a restart.

    >>> class Brighter:
    ...     def perturb(self, batch, view):
    ...         return view.budget.project(torch.ones_like(batch.inputs))
    >>> isinstance(Brighter(), Player)
    True
    """

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbation to add to `batch.inputs`: same shape, in pixel units.

        The host projects it onto `view.budget`, adds it and clamps to the pixel range, so a player cannot
        exceed its budget. An exception, a wrong shape, a NaN or an infinity stops the batch with an error
        that names the player, so no batch slips through unattacked or undefended. If the host was started
        with `pass-clean`, the batch goes on unchanged instead, and is counted.
        """


@runtime_checkable
class Remembering(Protocol):
    """A player with memory."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return everything that the next move depends on and the view does not hold, by name.

        To change a tensor between two calls, replace it or change it in place by torch operations: other
        changes are not noticed.
        """

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned, in this process or another."""


@runtime_checkable
class Relabelling(Protocol):
    """An attacker that also changes labels."""

    def relabel(self, batch: Batch, view: View) -> Tensor:
        """Return the labels that replace `batch.labels`: class indices of the same shape."""


@runtime_checkable
class Augmenting(Protocol):
    """A defender that replaces the corrected batch before the training step, for example by mixtures."""

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the batch to train on in place of a corrected batch.

        The trainer chooses it, so it may lie further than ε from the batch. The inputs keep their shape and
        stay within the pixel range; the labels are class indices or shares of the classes, see `Batch`.
        """


@runtime_checkable
class Rehearsing(Protocol):
    """A defender that adds training steps of its own, for example on the validation set."""

    def rehearse(self, batch: Batch, view: View) -> Sequence[Batch]:
        """Return the batches to train on after this one; the list may be empty.

        The steps on these batches count as part of the same version of the parameters. The host asks for all
        of them before it takes the step on `batch`, the corrected batch. Each may have any number of
        examples; its inputs and labels follow the rules of `Augmenting.augment`.
        """


@runtime_checkable
class AugmentingRehearsal(Protocol):
    """A defender that changes rehearsed batches: its own, or those of the defenders it is combined with."""

    def augment_rehearsal(self, batch: Batch, view: View) -> Batch:
        """Return the batch to train on in place of a rehearsed batch; see `Augmenting.augment`.

        `view.generator(batch.seq)` differs for each rehearsed batch.
        """
