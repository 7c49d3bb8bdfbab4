"""Measures what each call of `Defender` does: how far it moves the examples, and how long it takes."""

import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from midstream.defences.own_loop.report import DefenderReport
from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.orders import Order

_RECENT = 1000
"""Calls whose times and distances are kept."""

_PENDING = 64
"""Calls whose numbers may still be on the device; reading them waits for it."""

Mark = float | torch.cuda.Event
"""A moment: the host's clock in seconds, or an event in the queue of a GPU."""


@dataclass
class _Call:
    """One call; its distances are tensors on the device until they are read."""

    began: float
    marks: list[Mark]
    order: Order | None = None
    examples: int = 0
    moved: Tensor | None = None


@dataclass(frozen=True)
class _Row:
    began: float
    check: float
    v: float
    correction: float
    moved: float

    @property
    def seconds(self) -> float:
        return self.check + self.v + self.correction


class Measures:
    """Collects the numbers of a `DefenderReport`, without waiting for the device at each call.

    Args:
        budget: the ball, whose norm measures distances.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._pending: list[_Call] = []
        self._rows: deque[_Row] = deque(maxlen=_RECENT)
        self._calls = self._examples = self._unmoved = self._refused = 0
        self._total = self._largest = self._checking = 0.0
        self._reason: str | None = None
        self._order: Order | None = None

    def began(self, inputs: object) -> _Call:
        """Return a new call, which takes part in the report once it is `done`."""
        return _Call(time.perf_counter(), [_now(inputs)])

    def lap(self, call: _Call, inputs: Tensor) -> None:
        """Say that one of a call's parts has ended: the check, v, the correction, in this order."""
        call.marks.append(_now(inputs))

    def done(self, call: _Call, order: Order, before: Tensor, after: Tensor) -> None:
        """Say that a call has ended.

        Args:
            call: the call, after its three parts.
            order: the order of its derivatives.
            before: the inputs as pixels.
            after: the corrected pixels.
        """
        sizes = self._budget.size((after - before).float())
        call.order, call.examples = order, len(sizes)
        call.moved = torch.stack([sizes.sum(), sizes.amax(), (sizes == 0).sum()])
        self._pending.append(call)
        if len(self._pending) >= _PENDING:
            self._read()

    def refused(self, reason: str) -> None:
        """Say that a call was refused."""
        self._refused += 1
        self._reason = reason

    def report(self) -> DefenderReport:
        """Return what was measured so far; on a GPU, this waits for it."""
        self._read()
        rows = list(self._rows)
        later = rows[1:]  # the first call checks the model's derivatives
        steps = [after.began - row.began for row, after in pairwise(later)]
        return DefenderReport(
            calls=self._calls,
            examples=self._examples,
            refused=self._refused,
            reason=self._reason,
            epsilon=self._budget.epsilon,
            norm=self._budget.norm,
            moved_mean=self._total / max(self._examples, 1),
            moved_max=self._largest,
            unmoved=self._unmoved,
            seconds_check=self._checking,
            seconds_v=median(row.v for row in later or rows) if rows else 0.0,
            seconds_correction=median(row.correction for row in later or rows) if rows else 0.0,
            share=min(median(row.seconds for row in later) / median(steps), 1.0) if steps else None,
            order=self._order,
            recent=tuple(row.moved for row in rows),
        )

    def _read(self) -> None:
        for call in self._pending:
            assert call.moved is not None
            total, largest, unmoved = call.moved.tolist()
            check, v, correction = map(_seconds, call.marks, call.marks[1:])
            self._rows.append(_Row(call.began, check, v, correction, total / call.examples))
            self._calls += 1
            self._examples += call.examples
            self._unmoved += int(unmoved)
            self._total += total
            self._largest = max(self._largest, largest)
            self._checking = max(self._checking, check)
            self._order = call.order
        self._pending.clear()


def _now(inputs: object) -> Mark:
    if not (isinstance(inputs, Tensor) and inputs.is_cuda):
        return time.perf_counter()
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(inputs.device))
    return event


def _seconds(start: Mark, end: Mark) -> float:
    if isinstance(start, float) or isinstance(end, float):
        assert isinstance(start, float)
        assert isinstance(end, float)
        return end - start
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
