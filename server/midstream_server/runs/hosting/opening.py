"""What a run does before it takes batches: its defender learns, then its journal is replayed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from midstream.players.reporting import Say
from midstream.protocol.problem import Problem
from midstream.run.pretrained.prepared import must_learn
from midstream_server.runs.hosting.settling import RETRY_AFTER
from midstream_server.runs.hosting.worker import Worker
from midstream_server.runs.recovery.durable import DurableRun
from midstream_server.runs.recovery.room import Room
from midstream_server.runs.state import RunState


class Opening:
    """The time between a run's creation and its first new batch.

    Args:
        name: the run's name.
        durable: the run and its journal.
        state: the run's state; the opening is abandoned once it is `closing`.
        worker: the run's thread.
        room: notified when a file cannot be written.
        publish: called in the run's thread after each replayed batch.
        say: called with a sentence about the replay.
        cache: folder of what defenders learned; None for `~/.cache/midstream/learned`.
    """

    def __init__(
        self,
        name: str,
        durable: DurableRun,
        state: RunState,
        worker: Worker,
        room: Room,
        *,
        publish: Callable[[], None],
        say: Say,
        cache: Path | None,
    ) -> None:
        self._name = name
        self._durable = durable
        self._run = durable.recorded.run
        self._state = state
        self._worker = worker
        self._room = room
        self._publish = publish
        self._say = say
        self._cache = cache
        self._lesson = "it has not started yet"
        self._replay_to = durable.length()
        self.replaying = self._replay_to > self._run.step and not state.over
        """Whether batches of the journal are still to be trained on."""

    async def open(self) -> bool:
        """Have the defender learn, then replay the journal's batches after the checkpoint.

        Returns:
            Whether the run takes batches now; False if the server closes down first.

        Raises:
            midstream.run.pretrained.prepared.LearningError: the defender could not learn.
            midstream.run.training.DivergedError: a replayed batch leads to an infinite loss or NaN.
        """
        if not self._run.prepared and not self._state.over:
            try:
                await self._worker.do(self._learn)
            except Exception:
                if self._state.closing:
                    return False
                raise
        return not self.replaying or await self._replay()

    def _learn(self) -> None:
        self._run.prepare(cache=self._cache, tell=self._tell, say=self._say_of_run)

    def _tell(self, step: int, steps: int, text: str) -> None:
        if self._state.closing:
            raise InterruptedError("the server is closing down")
        self._lesson = f"{text}: step {step} of {steps}"

    async def _replay(self) -> bool:
        while True:
            step = self._run.step
            left = self._replay_to - step
            self._say(f"run {self._name!r} goes on from step {step}: {left} batches of its journal first")
            try:
                await self._worker.do(lambda: self._durable.replay(self._say_of_run, self._publish))
            except OSError as error:
                self._room.lacks(error)
                await asyncio.sleep(RETRY_AFTER)
                if self._state.closing:
                    return False
            except Exception:
                self.replaying = False
                raise
            else:
                self.replaying = False
                self._say(f"run {self._name!r} stands at step {self._run.step}")
                return True

    def _say_of_run(self, text: str) -> None:
        self._say(f"run {self._name!r}: {text}")

    def waiting_for(self) -> str | None:
        """Return what the run waits for while its defender learns; None at any other time."""
        if self._run.prepared or self._state.over:
            return None
        who = "defender" if must_learn(self._run.defender) else "checker"
        return f"its {who}, which learns before the game: {self._lesson}"

    def refuse_batch(self) -> None:
        """Refuse a batch while the defender learns or the journal is replayed.

        Raises:
            Problem: 503, the run is not open yet.
        """
        why = None
        if (learning := self.waiting_for()) is not None:
            why = f"waits for {learning}"
        elif self.replaying:
            why = f"replays its journal: step {self._run.step} of {self._replay_to}"
        if why is not None:
            raise Problem(503, "The run takes no batches now", f"run {self._name!r} {why}", retry_after=1)
