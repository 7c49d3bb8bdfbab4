"""Progress on standard error: a bar on a terminal, otherwise a line every few seconds."""

import time
from types import TracebackType

from rich import progress
from rich.console import Console
from rich.table import Column

_EVERY = 5.0  # seconds between lines, if standard error is not a terminal


class Progress:
    """Show steps done, rate and time left.

    Args:
        total: total number of steps.
        done: number of steps that were done before.
        label: text in front of the bar.

    >>> with Progress(10, label="game") as shown:
    ...     shown.update(3, "loss 0.2")
    """

    def __init__(self, total: int, *, done: int = 0, label: str = "") -> None:
        self._console = Console(stderr=True)
        self._label = label
        self._total = total
        # On a narrow terminal, the text columns shrink before the bar and its numbers.
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", table_column=_words(1)),
            progress.BarColumn(bar_width=20),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[text]}", table_column=_words(2)),
            progress.TimeRemainingColumn(),
            console=self._console,
            expand=True,
        )
        self._task = self._bar.add_task(label, total=total, completed=done, text="")
        self._first: tuple[float, int] | None = None
        self._printed = time.monotonic()

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def update(self, step: int, text: str = "", *, total: int | None = None) -> None:
        """Show that `step` steps are done; `total` replaces the total if given."""
        self._total = total or self._total
        now = time.monotonic()
        if self._first is None or self._first[1] == step:
            self._first = (now, step)  # the rate excludes the wait before the first step
        seconds, steps = now - self._first[0], step - self._first[1]
        if steps > 0:
            text = f"{text}  {steps / seconds:.1f} steps/s"
        self._bar.update(self._task, completed=step, total=self._total, text=text)
        if not self._console.is_terminal and now - self._printed > _EVERY:
            self._printed = now
            left = f", {(self._total - step) * seconds / steps:.0f} s left" if steps > 0 else ""
            words = f"{self._label}: step {step} of {self._total}  {text}{left}"
            self._console.print(words, highlight=False, soft_wrap=True)


def _words(share: int) -> Column:
    return Column(no_wrap=True, ratio=share)
