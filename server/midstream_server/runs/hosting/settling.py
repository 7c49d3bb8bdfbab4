"""What follows a step and need not delay its acknowledgement: the record, the evaluation, the checkpoint."""

import asyncio
from collections.abc import Callable

from midstream.tasks.words import headline
from midstream_server.runs.hosting.worker import Worker
from midstream_server.runs.recovery.durable import DurableRun
from midstream_server.runs.recovery.room import Room
from midstream_server.runs.state import RunState

RETRY_AFTER = 1.0
"""Seconds between two attempts to write a file that could not be written."""


class Settling:
    """Records a run's steps in the run's thread, and tries again while the disk is full.

    Args:
        durable: the run, its history and its journal.
        state: the run's state; there are no more attempts once it is `closing`.
        worker: the run's thread.
        room: notified when a file could not be written, and when one could.
        say: called with a sentence for each evaluation.
    """

    def __init__(
        self, durable: DurableRun, state: RunState, worker: Worker, room: Room, say: Callable[[str], None]
    ) -> None:
        self._durable = durable
        self._state = state
        self._worker = worker
        self._room = room
        self._say = say

    async def settle(self) -> None:
        """Return once everything up to the newest step is recorded, or once the server closes down."""
        while True:
            try:
                record = await self._worker.do(self._settle)
            except OSError as error:
                self._room.lacks(error)
            else:
                self._room.holds()
                self._say_how_good(record)
                return
            await asyncio.sleep(RETRY_AFTER)
            if self._state.closing:
                return

    def _settle(self) -> dict[str, object] | None:
        recorded = self._durable.recorded
        run = recorded.run
        if run.step < run.total_steps and run.specification.defender != "none":
            run.validation_gradient()  # computed now, while the next batch is being attacked
        self._durable.settle()
        return recorded.records[-1] if recorded.records else None

    def _say_how_good(self, record: dict[str, object] | None) -> None:
        recorded = self._durable.recorded
        found = None if recorded.evaluation is None else headline(recorded.evaluation.of_test())
        if record is not None and record["test_loss"] is not None and found is not None:
            self._say(
                f"step {record['step']} of {recorded.run.total_steps}, "
                f"loss {record['loss']:.3f}, {found[0]} {found[1]:.3f}"
            )
