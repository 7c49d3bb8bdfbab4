"""A checker, which inspects batches and moves nothing, and how its host holds it to the rules."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from midstream.errors import MidstreamError
from midstream.players.culprit import place
from midstream.players.interface import Batch, View
from midstream.players.referee import HostError, PlayerError, restore, state_of
from midstream.players.scores.suspicion import Suspicion

Action = Literal["flag", "drop", "repair", "stop"]
Place = Literal["before", "after"]


class AlarmError(MidstreamError, RuntimeError):
    """A checker with the action `stop` raised an alarm; the message names the batch."""


@runtime_checkable
class Checker(Protocol):
    """A checker. One with memory also implements `Remembering`, one that learns before the game `Learner`.

    >>> from midstream import among
    >>> class Brightness:
    ...     def judge(self, batch, view):
    ...         return among(view.validation_inputs.flatten(1).mean(1), batch.inputs.flatten(1).mean(1))
    >>> isinstance(Brightness(), Checker)
    True
    """

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return how suspicious each example and the batch are; see `midstream.Suspicion`.

        The checker sees what the training server sees: the batch as it arrived or as the defender corrected
        it, the model at the live parameters, and the validation set, which nobody could alter. It does not
        see who was attacked. `midstream.among` turns any scores into suspicions.
        """


@dataclass(frozen=True)
class Finding:
    """What a checker found in one batch.

    Attributes:
        examples: the suspicion of each example.
        batch: the suspicion of the batch.
        flagged: which examples are above the threshold, bool, `(batch,)`, on the batch's device.
        alarm: whether the batch is above the alarm level.
        reported: numbers that the checker reported, by name.
    """

    examples: list[float]
    batch: float
    flagged: Tensor
    alarm: bool
    reported: Mapping[str, float]


@dataclass(kw_only=True)
class Gate:
    """A checker, and what the training server does with what it finds.

    Args:
        name: the checker's name and options, for messages.
        checker: the checker.
        action: `flag` counts suspicious examples. `drop` trains without them. `repair` lets the defender
            correct only them. `stop` ends the run at the first batch that raises an alarm.
        threshold: an example with a larger suspicion is flagged. On clean data like the validation set, a
            share of 1 - threshold is flagged.
        alarm: a batch with a larger suspicion raises an alarm.
        at: whether the checker sees a batch `before` or `after` the defender.
    """

    name: str
    checker: Checker
    action: Action = "flag"
    threshold: float = 0.95
    alarm: float = 0.9999
    at: Place = "before"

    def __post_init__(self) -> None:
        if self.action == "repair" and self.at == "after":
            raise ValueError(
                "action=repair chooses what the defender corrects, so the checker acts at=before"
            )
        if not 0 < self.alarm < 1:
            raise ValueError(f"alarm is a probability between 0 and 1, not {self.alarm}")

    @property
    def parts(self) -> tuple[Checker, ...]:
        """The checker, so that `learners` finds what it must learn before the game."""
        return (self.checker,)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the checker's memory, if it has any."""
        return state_of(self.checker)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the checker's memory, if it has any."""
        restore(self.checker, state)

    def inspect(self, batch: Batch, view: View) -> Finding:
        """Return what the checker finds in a batch.

        Raises:
            PlayerError: the checker raised, or returned no suspicion of each example.
            AlarmError: the action is `stop`, and the batch raises an alarm.
        """
        own = replace(view, role="checker", reports={})
        found = judged(self.name, self.checker, batch, own)
        examples, whole = found.examples.tolist(), float(found.batch)
        finding = Finding(
            examples, whole, found.examples > self.threshold, whole > self.alarm, dict(own.reports)
        )
        if finding.alarm and self.action == "stop":
            raise AlarmError(
                f"checker {self.name!r} stopped the run at batch {batch.seq}: its suspicion is {whole:.6g}, "
                f"above {self.alarm:g}; {int(finding.flagged.sum())} of {len(examples)} examples are "
                f"suspicious"
            )
        return finding


OPTIONS = ("action", "threshold", "alarm", "at")
"""Options that every checker accepts; a checker's own option of the same name takes precedence."""


def judged(name: str, checker: Checker, batch: Batch, view: View) -> Suspicion:
    """Return a checker's suspicion, checked.

    Raises:
        PlayerError: the checker raised, or returned something other than finite numbers of the right shape.
        HostError: the host could not provide what the checker asked its view for.
    """
    what = f"checker {name!r}"
    seen = replace(batch, inputs=batch.inputs.clone(), labels=batch.labels.clone())
    try:
        found = checker.judge(seen, view)
    except (HostError, PlayerError):
        raise
    except Exception as error:
        raise PlayerError(f"{what} failed at batch {batch.seq}: {error!r}{place(error)}") from error
    if not isinstance(found, Suspicion):
        raise PlayerError(f"{what} returned a {type(found).__name__} at batch {batch.seq}, not a Suspicion")
    for part, shape in (("examples", batch.labels.shape[:1]), ("batch", ())):
        value = getattr(found, part)
        if not isinstance(value, Tensor) or value.shape != shape or not value.is_floating_point():
            told = f"{tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise PlayerError(
                f"{what} returned {part} of {told} at batch {batch.seq}, not floats of shape {tuple(shape)}"
            )
        if not value.isfinite().all():
            raise PlayerError(f"{what} returned a NaN or an infinity in {part} at batch {batch.seq}")
    return Suspicion(found.examples.detach().float().to(batch.inputs.device), found.batch.detach().float())
