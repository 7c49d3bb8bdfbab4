"""What happens to a batch before the step: the defender moves, and the checker inspects, drops or stops."""

from dataclasses import dataclass, replace

from torch import Tensor

from midstream.defences.levels import NoDefense
from midstream.mathematics.derivatives.batch_statistics import statistics_of
from midstream.players.checking import Finding, Gate
from midstream.players.checks import Checks
from midstream.players.interface import Augmenting, AugmentingRehearsal, Batch, Player, Rehearsing, View
from midstream.players.referee import PASSED_CLEAN, PlayerError, move, pass_clean
from midstream.players.trained_on import augmented, augmented_rehearsal, rehearsed


@dataclass(frozen=True)
class Moved:
    """A batch after the defender and the checker.

    Attributes:
        defended: all inputs after the defence; inputs that were not defended are as they arrived.
        trained_on: the batch to train on; without examples if the checker dropped all.
        rehearsed: the batches to rehearse after it.
        finding: what the checker found; None without a checker.
    """

    defended: Tensor
    trained_on: Batch
    rehearsed: list[Batch]
    finding: Finding | None = None


def moved(
    name: str, defender: Player, gate: Gate | None, batch: Batch, view: View, *, checks: Checks | None
) -> Moved:
    """Return a batch after the defender and the checker.

    Args:
        name: the defender's name.
        defender: the defender.
        gate: the checker and its action; None for no checker.
        batch: the batch as it arrived, on the device.
        view: what the defender sees.
        checks: what to add the conditions on the defender's numbers to; None reads them now.

    Raises:
        PlayerError: the defender or the checker broke its rules.
        midstream.players.checking.AlarmError: the checker stops the run.
    """
    if gate is None:
        return _defended(name, defender, batch, view, checks)
    if gate.at == "after":
        defended = _corrected(name, defender, batch, view, None)
        corrected = replace(batch, inputs=defended)
        finding = gate.inspect(corrected, view)
        return _followed(name, defender, _kept(gate, corrected, finding), view, defended, finding)
    finding = gate.inspect(batch, view)
    if gate.action == "flag" or not finding.flagged.any():
        if gate.action == "repair":
            return _followed(name, defender, batch, view, batch.inputs, finding)
        return replace(_defended(name, defender, batch, view, checks), finding=finding)
    part = finding.flagged if gate.action == "repair" else ~finding.flagged
    defended = batch.inputs.clone()
    if part.any():
        if gate.action == "repair" and statistics_of(view.model) is not None:
            # The step will use the statistics of the whole batch, so the defender must, too.
            defended[part] = _corrected(name, defender, batch, view, None)[part]
        else:
            chosen = Batch(batch.seq, batch.inputs[part], batch.labels[part])
            defended[part] = _corrected(name, defender, chosen, view, None)
    return _followed(
        name, defender, _kept(gate, replace(batch, inputs=defended), finding), view, defended, finding
    )


def passed_clean(gate: Gate | None, batch: Batch, view: View, error: PlayerError) -> Moved:
    """Return a batch as it arrived, because a player failed at it; the failure is reported."""
    pass_clean(view, error)
    finding = None
    if gate is not None:
        nobody = batch.labels.new_zeros(len(batch.labels)).bool()
        finding = Finding([], 0.0, nobody, False, {PASSED_CLEAN: 1.0})
    return Moved(batch.inputs, batch, [], finding)


def _kept(gate: Gate, batch: Batch, finding: Finding) -> Batch:
    """Return the batch that goes on, without the examples that the checker drops."""
    if gate.action != "drop" or not finding.flagged.any():
        return batch
    kept = ~finding.flagged
    return Batch(batch.seq, batch.inputs[kept], batch.labels[kept])


def _defended(name: str, defender: Player, batch: Batch, view: View, checks: Checks | None) -> Moved:
    defended = _corrected(name, defender, batch, view, checks)
    return _followed(name, defender, replace(batch, inputs=defended), view, defended, None)


def _corrected(name: str, defender: Player, batch: Batch, view: View, checks: Checks | None) -> Tensor:
    if type(defender) is NoDefense:
        return batch.inputs
    # A defender that goes on from its corrected batch must not see one that breaks the rules.
    goes_on = isinstance(defender, (Augmenting, Rehearsing, AugmentingRehearsal))
    return move(name, defender, batch, view, checks=None if goes_on else checks)


def _followed(
    name: str, defender: Player, batch: Batch, view: View, defended: Tensor, finding: Finding | None
) -> Moved:
    """Return a corrected batch after the defender's further hooks."""
    if type(defender) is NoDefense or not len(batch.labels):
        return Moved(defended, batch, [], finding)
    trained_on = augmented(name, defender, batch, view)
    also = rehearsed(name, defender, batch, view)
    return Moved(defended, trained_on, augmented_rehearsal(name, defender, also, view), finding)
