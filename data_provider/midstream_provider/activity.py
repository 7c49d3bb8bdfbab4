"""The provider's current activity, for its status page."""

import time

from midstream.players.reporting import Say
from midstream.protocol.messages import runs as messages
from midstream.protocol.messages.batches import Acknowledgement
from midstream.web.status.page import RunStatus, Status

_Facts = dict[str, str | float | None]


class Activity:
    """The provider's activity.

    The sending thread writes it, and the page's thread reads it. No lock is needed, since each change is a
    single assignment.

    Args:
        server: URL that the batches are sent to.
        say: called with each sentence given to `Activity.say`.
    """

    def __init__(self, server: str, say: Say) -> None:
        self._server = server
        self._say = say
        self._doing = f"waiting for {server}"
        self._run: RunStatus | None = None
        self._first: tuple[float, int] | None = None

    def say(self, text: str) -> None:
        """Show a sentence on the page, and pass it to the operator."""
        self._doing = text
        self._say(text)

    def feeds(self, status: messages.Status) -> None:
        """Record the run that the provider feeds.

        Args:
            status: the run's status.
        """
        self._first = (time.monotonic(), status.step)
        facts: _Facts = {"data_set": status.specification.dataset}
        self._shows(status.name, status.step, status.total_steps, facts)

    def acknowledged(self, answer: Acknowledgement) -> None:
        """Record an acknowledged batch.

        Args:
            answer: the server's acknowledgement.
        """
        assert self._run is not None
        assert self._first is not None
        step, total = answer.next_seq, self._run.total_steps
        seconds, steps = time.monotonic() - self._first[0], step - self._first[1]
        rate = steps / seconds if steps > 0 and seconds > 0 else None
        facts = {
            **self._run.facts,
            "loss": answer.loss,
            "batches_a_second": rate,
            "seconds_left": (total - step) / rate if rate and total else None,
        }
        self._doing = f"feeding run {self._run.run!r}"
        self._shows(self._run.run, step, total, facts)

    def _shows(self, run: str, step: int, total: int | None, facts: _Facts) -> None:
        over = step == total
        doing = "all batches were taken" if over else f"waits for batch {step} to be acknowledged"
        self._run = RunStatus(run, doing, step, total, facts)

    def status(self) -> Status:
        """Return the status for the page."""
        run = self._run
        return Status("data provider", self._doing, {"sends_to": self._server}, () if run is None else (run,))
