"""A run as the network sees it: batches in, acknowledgements out, and what it waits for."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from midstream.protocol.checks import check_number
from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.problem import Problem
from midstream.protocol.wire import WireBatch
from midstream.storage import faults
from midstream_server.runs.hosting.answers import Answers, content_digest
from midstream_server.runs.hosting.controls import Controls
from midstream_server.runs.hosting.opening import Opening
from midstream_server.runs.hosting.published import Published
from midstream_server.runs.hosting.refusing import ENDING, refusing
from midstream_server.runs.hosting.settling import Settling
from midstream_server.runs.hosting.waking import Signal
from midstream_server.runs.hosting.worker import Worker, off_the_loop
from midstream_server.runs.recovery.durable import DurableRun
from midstream_server.runs.recovery.room import Room
from midstream_server.runs.state import RunState, State
from midstream_server.runs.step import Step

_POLL_EVERY = 0.1  # seconds, for a client that waits for more than the next step


class HostedRun:
    """One run on a server. Its methods are called on the event loop; the run itself lives in one thread.

    Args:
        name: the run's name.
        durable: the run, its history and its journal.
        say: called with a sentence about the run's progress.
        cache: folder of what defenders learned; None for `~/.cache/midstream/learned`.
    """

    def __init__(
        self,
        name: str,
        durable: DurableRun,
        say: Callable[[str], None] = lambda _: None,
        *,
        cache: Path | None = None,
    ) -> None:
        self.name = name
        self.durable = durable
        self.recorded = durable.recorded
        self.run = self.recorded.run
        self.specification = self.run.specification
        self.changed = Signal()
        self.attacker: str | None = None
        """The attacker's name, as a batch announced it; shown, and never used."""
        self._say = say
        self._state = RunState(
            name,
            step=self.run.step,
            kept=durable.state,
            reason=durable.reason,
            say=say,
            changed=self.changed.notify,
        )
        self._worker = Worker(f"run-{name}")
        self._turn = asyncio.Lock()
        self._answers = Answers(name, durable)
        self.published = Published(name, self.run, self._worker.do)
        self._room = Room(self._say_of_run)
        self.controls = Controls(durable, self._state, self._worker, self._room)
        self._settling = Settling(durable, self._state, self._worker, self._room, self._say_of_run)
        self._opening = Opening(
            name,
            durable,
            self._state,
            self._worker,
            self._room,
            publish=self.published.publish,
            say=say,
            cache=cache,
        )
        self._arrivals: deque[float] = deque(maxlen=50)

    def _say_of_run(self, text: str) -> None:
        self._say(f"run {self.name!r}: {text}")

    @property
    def version(self) -> int:
        """The version of the newest published parameters: the number of steps taken."""
        return self.published.version

    @property
    def state(self) -> State:
        """The run's state."""
        return self._state.now

    @property
    def reason(self) -> str | None:
        """Why the run is in its state; None if there is nothing to say."""
        return self._state.reason

    @property
    def closing(self) -> bool:
        """Whether the server is closing down; set by the server."""
        return self._state.closing

    @closing.setter
    def closing(self, closing: bool) -> None:
        self._state.closing = closing

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to the run in this process."""
        return self._state.over

    @property
    def largest_body(self) -> int:
        """The largest size of a batch of this run, in bytes."""
        return self.durable.rules.largest_body

    def announce(self, attacker: str | None) -> None:
        """Note the attacker's name, if a batch announced one."""
        if attacker not in (None, self.attacker):
            self.attacker = attacker
            self.changed.notify()

    def begin(self) -> None:
        """Open the run for batches; see `Opening`. Called once, when the event loop runs."""
        asyncio.ensure_future(self._opening.open()).add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Future[bool]) -> None:
        if opening.cancelled():
            return
        error = opening.exception()
        if error is not None:
            self._state.end("failed", str(error))
        elif opening.result() and self.version:
            self._state.start()
            self._follow_up()

    async def put_batch(self, seq: int, batch: WireBatch, body: bytes) -> Acknowledgement:
        """Train on one batch, or repeat the answer to one that was sent before; return the acknowledgement.

        Args:
            seq: the batch's number in the request's path.
            batch: the decoded body.
            body: the body as it arrived.

        Raises:
            Problem: 409, 422, 500 or 503, saying why the batch was not taken.
        """
        check_number(batch, seq)
        faults.reached("received")
        content = await off_the_loop(lambda: content_digest(batch), size=len(body))
        # Shielded: if the client disconnects, the step must still be completed and recorded.
        return await asyncio.shield(asyncio.ensure_future(self._take(batch, content, body)))

    async def _take(self, batch: WireBatch, content: bytes, body: bytes) -> Acknowledgement:
        async with self._turn:
            seq = batch.seq
            self._opening.refuse_batch()
            if seq < self.version:
                return self._answers.repeated(seq, content, next_seq=self.version)
            self._state.refuse_batch(seq, step=self.version, total_steps=self.run.total_steps)
            self._state.start()
            try:
                with refusing(seq):
                    step = await self._worker.do(lambda: self._train(batch, content, body))
            except Problem as refusal:
                if isinstance(refusal.__cause__, ENDING):
                    self._state.end("failed", refusal.detail)
                raise
            except OSError as error:
                self._room.lacks(error)
                detail = f"{error}; it was not trained on, and will be taken when there is room"
                raise Problem(503, "The batch cannot be stored", detail, retry_after=1) from error
            self._arrivals.append(time.monotonic())
            self.changed.notify()
            self._follow_up()
            faults.reached("answering")
            return self._answers.new(seq, step.loss, next_seq=self.version)

    def _train(self, batch: WireBatch, content: bytes, body: bytes) -> Step:
        step = self.durable.take(batch, content, body)
        self.published.publish()
        return step

    def _follow_up(self) -> None:
        asyncio.ensure_future(self._settling.settle()).add_done_callback(self._settled)

    def _settled(self, settling: asyncio.Future[None]) -> None:
        if settling.cancelled():
            return
        error = settling.exception()
        if error is not None:
            self._state.end("failed", f"step {self.version} could not be recorded: {error}")
            return
        if self.recorded.result is not None and self.state != "finished":
            self._state.end("finished", None)
        self.changed.notify()

    async def wait_for_version(self, after: int, wait: float) -> int:
        """Return the newest version once it exceeds `after`, the run is over, or `wait` seconds passed."""
        deadline = time.monotonic() + wait
        while self.version <= after and not self.over and (left := deadline - time.monotonic()) > 0:
            if self.version < after:  # the next step will not be enough
                await asyncio.sleep(min(left, _POLL_EVERY))
            else:
                await self.changed.wait(left)
        return self.version

    def waiting_for(self) -> str | None:
        """Return what the run waits for, in words for a person; None while it works or once it is over."""
        if self.state == "paused":
            return "its operator to resume it"
        if self._room.lacking is not None and not self.over:
            return f"room to store what it has: {self._room.lacking}"
        if (learning := self._opening.waiting_for()) is not None:
            return learning
        more = self.version < self.run.total_steps
        idle = not self._turn.locked() and not self._opening.replaying
        if more and self.state in ("waiting", "running") and idle:
            return f"batch {self.version} from a data provider"
        return None

    def rate(self) -> float | None:
        """Return the steps per second, averaged over the last fifty; None before the second step."""
        if len(self._arrivals) < 2 or self._arrivals[-1] == self._arrivals[0]:
            return None
        return (len(self._arrivals) - 1) / (self._arrivals[-1] - self._arrivals[0])

    async def close(self) -> None:
        """Finish the step in hand, write a checkpoint, and end the thread."""
        async with self._turn:
            try:
                await self._worker.do(self.durable.checkpoint)
            except OSError as error:
                self._say_of_run(f"no checkpoint, {error}; the journal holds every batch since the last one")
        self._worker.close()
        over = self.recorded.result is not None or self.state in ("stopped", "failed")
        self.durable.close(over=over)
