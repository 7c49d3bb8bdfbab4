"""A step of a game in one process as one program: v, attack, defence, gradients, optimizer and numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from midstream.defences.levels import NoDefense
from midstream.mathematics.derivatives.gradients import Gradient, validation_gradient
from midstream.mathematics.graphs.capturing import one_program
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.inputs.rows import Places, Rows
from midstream.players.checks import Checks
from midstream.players.fixed import is_fixed
from midstream.players.interface import Augmenting, AugmentingRehearsal, Batch, Rehearsing
from midstream.players.referee import move
from midstream.players.remembering import remembers, rows_of
from midstream.run.optimizing.one_call import held_back
from midstream.run.training import DivergedError
from midstream_proxy.surrogates.black_box import BlackBoxRun
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun


class Outcome(NamedTuple):
    """What a step computes.

    Attributes:
        read: what the host reads: 1 for each condition that holds, then the numbers of the metrics.
        clean: the inputs as pixels.
        attacked: the inputs after the attack.
        defended: the inputs after the defence.
        remembered: the new rows of the attacker's memory; None if it has none.
        gradients: the training loss's, at the trained parameters; empty if the step is taken already.
    """

    read: Tensor
    clean: Tensor
    attacked: Tensor
    defended: Tensor
    remembered: Tensor | None = None
    gradients: Sequence[Tensor | None] = ()


class StepProgram:
    """The step of a game whose players' moves are fixed programs; see `fits`.

    It computes by the run's own model for both sides: the attacker's copy would hold the same parameters.

    Args:
        run: the training run.
        attacked: the attack on it; None if nobody attacks.

    Attributes:
        conditions: number of conditions at the front of an outcome's `read`.
        reports: what each side reports, the same at each step.
        rows: the attacker's memory; None if it has none.
    """

    def __init__(self, run: TrainingRun, attacked: AttackedRun | None) -> None:
        self.run = run
        self.conditions = 0
        self.reports: dict[str, Mapping[str, float]] = {"attacker": {}, "defender": {}}
        remembering = attacked is not None and remembers(attacked.player)
        self.rows: Rows | None = rows_of(attacked.player) if attacked and remembering else None
        self._attacked = attacked

    def computed(self, inputs: Tensor, labels: Tensor, places: Places | None) -> Outcome:
        """Return what the step computes. It changes nothing, and reads nothing back.

        Args:
            inputs: the batch as it is stored, on the run's device.
            labels: its labels, likewise.
            places: the rows of the attacker's memory, if it has one.
        """
        run, checks = self.run, Checks()
        found: list[Gradient] = []

        def gradient() -> Gradient:  # computed once, for both sides
            if not found:
                found.append(validation_gradient(run.model, *run.validation_here))
            return found[0]

        with one_program():
            batch = Batch(run.step, pixels(inputs), labels, lambda: [b""] * len(labels))
            attacked, remembered = self._attack(batch, gradient, places, checks)
            defended = self._defend(replace(batch, inputs=attacked), gradient, checks)
            loss, gradients = run.descent.gradients(defended, labels)
        checks.require(loss.isfinite(), lambda: DivergedError("the training loss is no number"))
        checks.number(loss)
        self.conditions = checks.conditions
        return Outcome(checks.gathered(), batch.inputs, attacked, defended, remembered, gradients)

    def _attack(
        self, batch: Batch, gradient: Callable[[], Gradient], places: Places | None, checks: Checks
    ) -> tuple[Tensor, Tensor | None]:
        if self._attacked is None:
            return batch.inputs, None
        view = replace(self._attacked.view(batch), model=self.run.model, gradient_source=gradient)
        name, player = self._attacked.settings.attacker, self._attacked.player
        written: list[Tensor] = []
        with ExitStack() as stack:
            if self.rows is not None and places is not None:
                written = stack.enter_context(self.rows.given(places))
            moved = move(name, player, batch, view, checks=checks)
        self.reports["attacker"] = view.reports
        return moved, written[-1] if written else None

    def _defend(self, batch: Batch, gradient: Callable[[], Gradient], checks: Checks) -> Tensor:
        run, budget = self.run, self.run.specification.budget
        if type(run.defender) is NoDefense:
            checks.require(budget.within(batch.inputs), lambda: budget.refusal(batch.inputs))
            return batch.inputs
        view = replace(run.view(), gradient_source=gradient)
        defended = move(run.specification.defender, run.defender, batch, view, checks=checks)
        checks.number(budget.size(defended - batch.inputs).mean())
        self.reports["defender"] = view.reports
        return defended

    def take(self, outcome: Outcome, places: Places | None) -> None:
        """Take the step whose conditions hold: write the attacker's memory, and step along the gradients."""
        if self.rows is not None and places is not None and outcome.remembered is not None:
            self.rows.write(places, outcome.remembered)
        self.run.descend(outcome.gradients)

    def gated(self, opened: Tensor, inputs: Tensor, labels: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        """Compute the step, and take it if it is `opened` and its conditions hold; the host does not read it.

        The device must be one of `midstream.run.optimizing.one_call.GATED`.

        Args:
            opened: whether the step may be taken, a bool tensor without dimensions.
            inputs: as for `computed`.
            labels: as for `computed`.
            rows: the rows of the attacker's memory, if it has one; none may occur twice.
        """
        places = Places((), rows[0], None) if rows else None
        outcome = self.computed(inputs, labels, places)
        holds = outcome.read[: self.conditions].all() & opened
        if self.rows is not None and places is not None and outcome.remembered is not None:
            table = self.rows.table
            assert table is not None
            chosen = torch.where(holds, outcome.remembered, self.rows.read(places))
            table.index_copy_(0, places.rows, chosen)
        self.run.descent.point(outcome.gradients)
        with held_back(self.run.optimization.optimizer, unless=holds):
            self.run.optimization.optimizer.step()
        return outcome.read, outcome.clean, outcome.attacked, outcome.defended

    def changed(self) -> Iterator[Tensor]:
        """Yield the tensors that a step writes, without the attacker's memory."""
        yield from self.run.model.parameters()
        for state in self.run.optimization.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    def held(self) -> Iterator[Tensor]:
        """Yield the tensors that a step reads besides its batch, or writes."""
        yield from self.changed()
        yield from self.run.validation_here
        if self.rows is not None and self.rows.table is not None:
            yield self.rows.table


def fits(run: TrainingRun, attacked: AttackedRun | BlackBoxRun | None) -> bool:
    """Return whether a game's steps, after its first one, are a `StepProgram`."""
    defender, goes_on = run.defender, (Augmenting, Rehearsing, AugmentingRehearsal)
    specification, plain = run.specification, run.optimization.constant
    if not plain or specification.augment is not None or specification.on_error != "stop":
        return False
    if run.gate is not None:  # a checker may drop examples
        return False
    if isinstance(defender, goes_on) or rows_of(defender) is not None:
        return False
    sides = [defender] if attacked is None else [defender, attacked.player]
    if isinstance(attacked, BlackBoxRun) or not all(map(is_fixed, sides)):
        return False
    return attacked is None or not remembers(attacked.player) or rows_of(attacked.player) is not None
