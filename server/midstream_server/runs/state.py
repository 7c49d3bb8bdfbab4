"""The state of a run: which moves its operator and its batches may make, and how others are refused."""

from collections.abc import Callable
from typing import Literal

from midstream.protocol.problem import Problem
from midstream_server.runs.recovery.durable import Kept

State = Literal["waiting", "running", "paused", "finished", "stopped", "failed"]


class RunState:
    """The state machine of one run.

    A run is ``waiting`` for its first batch, then ``running``. It ends in one of three states::

        waiting ──first batch──> running ──last step──> finished
           any state but an end ──────stop───────────> stopped
           any state but an end ──────error──────────> failed
        waiting, running ──pause──> paused ──resume──> waiting at step 0, running after it

    An end is final: pausing, resuming or stopping an ended run is refused, and so is a new batch.
    Stopping a stopped run again changes nothing.

    Args:
        name: the run's name, for its refusals.
        step: the number of steps taken.
        kept: the operator's pause or stop that an earlier server stored; None if there is none.
        reason: why the run is in that state.
        say: called with a sentence when the run ends.
        changed: called when the state has changed.
    """

    def __init__(
        self,
        name: str,
        *,
        step: int,
        kept: Kept | None = None,
        reason: str | None = None,
        say: Callable[[str], None] = lambda _: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._say = say
        self._changed = changed
        self.now: State = kept or ("running" if step else "waiting")
        self.reason = reason
        self.closing = False
        """Whether the server is closing down. The run then takes no more batches, whatever its state."""

    @property
    def ended(self) -> bool:
        """Whether the run is finished, stopped or failed."""
        return self.now in ("finished", "stopped", "failed")

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to the run in this process."""
        return self.closing or self.ended

    def start(self) -> None:
        """Go from waiting to running; every other state stays."""
        if self.now == "waiting":
            self.now = "running"

    def pause(self) -> None:
        """Take no more batches until `resume`."""
        self.now = "paused"
        self._changed()

    def resume(self, *, step: int) -> None:
        """Take batches again, from a step on."""
        self.now = "running" if step else "waiting"
        self._changed()

    def end(self, state: Literal["finished", "stopped", "failed"], reason: str | None) -> None:
        """Enter a final state, for a reason if there is one."""
        self.now, self.reason = state, reason
        self._say(f"run {self._name!r} {state}" + (f": {reason}" if reason else ""))
        self._changed()

    def refuse_if_ended(self, verb: str, *, step: int) -> None:
        """Refuse a request that only a run which has not ended can take.

        Args:
            verb: what was asked for, as in "the run cannot be VERB".
            step: the number of steps taken.

        Raises:
            Problem: 409, the run has ended.
        """
        if self.ended:
            reason = f": {self.reason}" if self.reason else ""
            raise Problem(
                409,
                f"The run is {self.now}",
                f"run {self._name!r} cannot be {verb}, it is {self.now}{reason}",
                next_seq=step,
            )

    def refuse_batch(self, seq: int, *, step: int, total_steps: int) -> None:
        """Refuse a batch that is not the next one, or that this state does not allow.

        Args:
            seq: the batch's number.
            step: the number of steps taken, which is the number of the next batch.
            total_steps: the number of steps that the run takes.

        Raises:
            Problem: 409, the run has ended, has all its batches, or lacks batches before this one; 503, it
                is paused, or the server is closing down.
        """
        self.refuse_if_ended("given a batch", step=step)
        if seq > step:
            detail = f"batch {seq} came, batch {step} is next in run {self._name!r}"
            raise Problem(409, "Batches are missing", detail, next_seq=step)
        if self.now == "paused" or self.closing:
            why = "paused by its operator" if self.now == "paused" else "closing down"
            raise Problem(503, "The run takes no batches now", f"run {self._name!r} is {why}", retry_after=1)
        if step >= total_steps:
            detail = f"run {self._name!r} has all its {step} steps"
            raise Problem(409, "The run is complete", detail, next_seq=step)
