"""The operator's controls of a run. Each is stored before it takes effect."""

from collections.abc import Callable
from typing import TypeVar

from midstream.protocol.problem import Problem
from midstream_server.runs.hosting.worker import Worker
from midstream_server.runs.recovery.durable import DurableRun, Kept
from midstream_server.runs.recovery.room import Room
from midstream_server.runs.state import RunState

T = TypeVar("T")


class Controls:
    """Changes a run's state for its operator, and stores the change for the next server.

    Every method raises `Problem`: 409 if the run's state does not allow the change, 503 if it cannot be
    stored.

    Args:
        durable: the run and its journal.
        state: the run's state.
        worker: the run's thread.
        room: notified when a file could not be written, and when one could.
    """

    def __init__(self, durable: DurableRun, state: RunState, worker: Worker, room: Room) -> None:
        self._durable = durable
        self._run = durable.recorded.run
        self._state = state
        self._worker = worker
        self._room = room

    async def pause(self) -> None:
        """Take no more batches until `resume`."""
        self._state.refuse_if_ended("paused", step=self._run.step)
        await self._remember("paused", None)
        self._state.pause()

    async def resume(self) -> None:
        """Take batches again. A run that is not paused stays as it is."""
        self._state.refuse_if_ended("resumed", step=self._run.step)
        if self._state.now == "paused":
            await self._remember(None, None)
            self._state.resume(step=self._run.step)

    async def stop(self) -> None:
        """End the run before its last step, with a checkpoint. A stopped run stays as it is."""
        if self._state.now == "stopped":
            return
        self._state.refuse_if_ended("stopped", step=self._run.step)
        reason = f"stopped by its operator at step {self._run.step}"
        await self._remember("stopped", reason)
        self._state.end("stopped", reason)
        await self.checkpoint()

    async def checkpoint(self) -> str:
        """Write a checkpoint; return its path."""
        return str(await self._store("A checkpoint", self._durable.checkpoint))

    async def _remember(self, state: Kept | None, reason: str | None) -> None:
        await self._store("The run's state", lambda: self._durable.remember(state, reason))

    async def _store(self, what: str, work: Callable[[], T]) -> T:
        try:
            done = await self._worker.do(work)
        except OSError as error:
            self._room.lacks(error)
            raise Problem(503, f"{what} cannot be stored", str(error), retry_after=1) from error
        self._room.holds()
        return done
