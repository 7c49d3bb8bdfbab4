"""Progress of a sweep on standard error: a bar on a terminal, otherwise a line every few seconds."""

import time
from types import TracebackType

from rich import progress
from rich.console import Console

from midstream.command.sweep.events import Ended, Event

_EVERY = 5.0  # seconds between lines, if standard error is not a terminal


class SweepProgress:
    """Show how many trials are done and failed, those in hand, and the time left.

    A trial counts by the share of its steps that is done, so the estimate moves within long trials.

    Args:
        names: what each trial is called, by its name.
        done: number of trials that were finished before.
    """

    def __init__(self, names: dict[str, str], *, done: int) -> None:
        self._names = names
        self._done = self._before = done
        self._failed = 0
        self._in_hand: dict[str, float] = {}
        self._shares_before: dict[str, float] = {}
        self._began = self._printed = time.monotonic()
        self._console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.TextColumn("sweep"),
            progress.BarColumn(bar_width=20),
            progress.TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
        )
        self._task = self._bar.add_task("sweep", total=len(names), completed=done, text=self.text())

    def __enter__(self) -> "SweepProgress":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def tell(self, event: Event | None) -> None:
        """Take up what a worker reported."""
        if isinstance(event, Ended):
            self._in_hand.pop(event.trial, None)
            self._shares_before[event.trial] = self._shares_before.get(event.trial, 0.0)
            self._done += event.reason is None
            self._failed += event.reason is not None
            if event.reason is not None:
                self._print(f"{self._names[event.trial]} failed: {event.reason}")
        elif event is not None:
            share = event.step / max(event.total, 1)
            self._shares_before.setdefault(event.trial, share)  # what a resumed trial had done before
            self._in_hand[event.trial] = share
        shown = self._done + self._failed + sum(self._in_hand.values())
        self._bar.update(self._task, completed=shown, text=self.text())
        if not self._console.is_terminal and time.monotonic() - self._printed > _EVERY:
            self._printed = time.monotonic()
            self._print(f"sweep: {self.text()}")

    def text(self) -> str:
        """Return the progress in words."""
        words = [f"{self._done} of {len(self._names)} trials done"]
        words += [f"{self._failed} failed"] * (self._failed > 0)
        words += [f"{self._names[trial]} at {share:.0%}" for trial, share in self._in_hand.items()]
        seconds = self.seconds_left()
        return ", ".join(words) + ("" if seconds is None else f"; {_time(seconds)} left")

    def seconds_left(self) -> float | None:
        """Return the estimated seconds left, or None before the first progress."""
        ended = self._done + self._failed
        whole = ended - self._before + sum(self._in_hand.values()) - sum(self._shares_before.values())
        left = len(self._names) - ended - sum(self._in_hand.values())
        return None if whole <= 0 else (time.monotonic() - self._began) * left / whole

    def _print(self, words: str) -> None:
        self._console.print(words, highlight=False, soft_wrap=True, markup=False)


def _time(seconds: float) -> str:
    """Return a duration in words.

    >>> _time(42), _time(600), _time(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
