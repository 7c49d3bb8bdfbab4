"""A run as the network sees it: one batch at a time, answers that can be repeated, and who waits for what."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TypeVar

from midstream.players.referee import PlayerError
from midstream.protocol.checks import check_number, largest_body
from midstream.protocol.problem import Problem
from midstream.protocol.wire import WireBatch
from midstream.run.training import DivergedError
from midstream.storage import faults
from midstream_server.runs.durable import DurableRun, Kept
from midstream_server.runs.published import Published
from midstream_server.runs.room import Room
from midstream_server.runs.training import Step
from midstream_server.runs.waking import Signal

State = Literal["waiting", "running", "paused", "finished", "stopped", "failed"]
T = TypeVar("T")

_STORE_AGAIN = 1.0  # seconds
_FAR_AHEAD = 0.1  # seconds


class HostedRun:
    """One run on a server. Its methods are called on the event loop; the run itself lives in one thread.

    Args:
        name: the run's name.
        durable: the run, its history and its journal.
        say: called with a sentence when the run gets somewhere.
        cache: folder of what defenders learned.
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
        self.state: State = durable.state or ("running" if self.run.step else "waiting")
        self.reason: str | None = durable.reason
        self.closing = False
        self.say = say
        self.changed = Signal()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"run-{name}")
        self._turn = asyncio.Lock()
        self.published = Published(name, self.run, self._in_worker)
        self._replay_to = durable.length()
        self._replaying = self._replay_to > self.version and not self.over
        self._cache = cache
        self._lesson = "is told what to learn"
        self._room = Room(self._say_of_run)
        self._arrivals: deque[float] = deque(maxlen=50)

    @property
    def version(self) -> int:
        """The version of the newest published parameters: the number of steps taken."""
        return self.published.version

    @property
    def over(self) -> bool:
        """Whether nothing more will happen here."""
        return self.closing or self.state in ("finished", "stopped", "failed")

    @property
    def largest_body(self) -> int:
        """The most bytes that a batch of this run can take."""
        return largest_body(min(self.specification.batch_size, self.run.train_size), self.run.input_shape)

    async def put_batch(self, seq: int, batch: WireBatch, body: bytes) -> dict[str, Any]:
        """Train on one batch, or repeat the answer it had; return the acknowledgement.

        Args:
            seq: its number, as of the request's path.
            batch: what the body holds.
            body: the bytes as they came.

        Raises:
            Problem: 409, 422, 500 or 503, saying why the batch was not taken.
        """
        check_number(batch, seq)
        faults.reached("received")
        content = await asyncio.to_thread(content_digest, batch)
        # Shielded: a client that goes away must not leave a step half accounted for.
        return await asyncio.shield(asyncio.ensure_future(self._take(batch, content, body)))

    async def _take(self, batch: WireBatch, content: bytes, body: bytes) -> dict[str, Any]:
        async with self._turn:
            seq = batch.seq
            self._refuse_while_learning()
            self._refuse_while_replaying()
            if seq < self.version:
                return self._repeat(seq, content)
            self._refuse_unless_open(seq)
            self.state = "running"
            try:
                step = await self._in_worker(lambda: self._train(batch, content, body))
            except PlayerError as error:
                raise Problem(500, "The defender failed", f"{error}; the batch was not trained on") from error
            except DivergedError as error:
                self._end("failed", str(error))
                raise Problem(409, "The run has diverged", str(error), next_seq=seq) from error
            except OSError as error:
                self._room.lacks(error)
                detail = f"{error}; it was not trained on, and will be taken when there is room"
                raise Problem(503, "The batch cannot be stored", detail, retry_after=1) from error
            self._arrivals.append(time.monotonic())
            self.changed.notify()
            self._follow_up()
            faults.reached("answering")
            return self._acknowledgement(seq, step.loss, replay=False)

    def _acknowledgement(self, seq: int, loss: float, *, replay: bool) -> dict[str, Any]:
        return {
            "seq": seq,
            "next_seq": self.version,
            "parameters_version": seq + 1,
            "loss": loss,
            "replay": replay,
            "kept_from": self.durable.kept_from,
        }

    def _repeat(self, seq: int, content: bytes) -> dict[str, Any]:
        known, loss = self.durable.answers.get(seq, (None, 0.0))
        if known is None:
            detail = f"batch {seq} of run {self.name!r} was taken; its answer was lost with a damaged journal"
            raise Problem(409, "That batch was taken", detail, next_seq=self.version, answer_lost=True)
        if known != content:
            raise Problem(
                409,
                "Another batch was taken under this number",
                f"batch {seq} of run {self.name!r} had other content; a sequence number is used once",
                next_seq=self.version,
            )
        return self._acknowledgement(seq, loss, replay=True)

    def _train(self, batch: WireBatch, content: bytes, body: bytes) -> Step:
        step = self.durable.take(batch, content, body)
        self.published.publish()
        return step

    def begin(self) -> None:
        """Have the defender learn what it must, then replay what the journal holds beyond the checkpoint.

        Called once, when the event loop runs.
        """
        if self.run.prepared or self.over:
            self._replay()
            return
        learned = asyncio.ensure_future(
            self._in_worker(
                lambda: self.run.prepare(cache=self._cache, tell=self._tell, say=self._say_of_run)
            )
        )
        learned.add_done_callback(self._learned)

    def _tell(self, step: int, steps: int, text: str) -> None:
        if self.closing:
            raise InterruptedError("the server is closing down")
        self._lesson = f"{text}: step {step} of {steps}"

    def _learned(self, learned: asyncio.Future[None]) -> None:
        error = learned.exception()
        if error is not None and not self.closing:
            self._end("failed", str(error))
        elif error is None:
            self._replay()

    def _replay(self) -> None:
        if not self._replaying:
            if self.version:
                self._follow_up()
            return
        left = self._replay_to - self.version
        self.say(f"run {self.name!r} goes on from step {self.version}: {left} batches of its journal first")
        replayed = asyncio.ensure_future(
            self._in_worker(lambda: self.durable.replay(self._say_of_run, self.published.publish))
        )
        replayed.add_done_callback(self._replayed)

    def _replayed(self, replayed: asyncio.Future[None]) -> None:
        error = replayed.exception()
        self._replaying = isinstance(error, OSError)
        if isinstance(error, OSError):
            self._have_trouble(error, self._replay)
        elif error is not None:
            self._end("failed", str(error))
        else:
            self.say(f"run {self.name!r} stands at step {self.version}")
            if self.state == "waiting" and self.version > 0:
                self.state = "running"
            self._follow_up()

    def _say_of_run(self, text: str) -> None:
        self.say(f"run {self.name!r}: {text}")

    async def wait_for_version(self, after: int, wait: float) -> int:
        """Return the newest version, once it is above `after`, the run is over, or `wait` seconds passed."""
        deadline = time.monotonic() + wait
        while self.version <= after and not self.over and (left := deadline - time.monotonic()) > 0:
            if self.version < after:  # the next step is not what is waited for
                await asyncio.sleep(min(left, _FAR_AHEAD))
            else:
                await self.changed.wait(left)
        return self.version

    async def pause(self) -> None:
        """Take no more batches until `resume`."""
        self._refuse_if_over("paused")
        await self._remember("paused", None)
        self.state = "paused"
        self.changed.notify()

    async def resume(self) -> None:
        """Take batches again."""
        self._refuse_if_over("resumed")
        if self.state == "paused":
            await self._remember(None, None)
            self.state = "running" if self.version else "waiting"
            self.changed.notify()

    async def stop(self) -> None:
        """End the run before its last step, with a checkpoint."""
        if self.state == "stopped":
            return
        self._refuse_if_over("stopped")
        reason = f"stopped by its operator at step {self.version}"
        await self._remember("stopped", reason)
        self._end("stopped", reason)
        await self.checkpoint()

    async def _remember(self, state: Kept | None, reason: str | None) -> None:
        await self._storing("The run's state", lambda: self.durable.remember(state, reason))

    async def checkpoint(self) -> str:
        """Write a checkpoint; return its path."""
        return str(await self._storing("A checkpoint", self.durable.checkpoint))

    async def _storing(self, what: str, work: Callable[[], T]) -> T:
        try:
            done = await self._in_worker(work)
        except OSError as error:
            self._room.lacks(error)
            raise Problem(503, f"{what} cannot be stored", str(error), retry_after=1) from error
        self._room.holds()
        return done

    async def close(self) -> None:
        """Finish the step in hand, write a checkpoint, and let the thread go."""
        async with self._turn:
            try:
                await self._in_worker(self.durable.checkpoint)
            except OSError as error:
                self.say(f"run {self.name!r}: no checkpoint, {error}; its journal holds all that came since")
        self._worker.shutdown(wait=True)
        over = self.recorded.result is not None or self.state in ("stopped", "failed")
        self.durable.close(over=over)

    def waiting_for(self) -> str | None:
        """Return what the run waits for, as a person would say it, or None while it works or is over."""
        if self.state == "paused":
            return "its operator to resume it"
        if self._room.lacking is not None and not self.over:
            return f"room to store what it has: {self._room.lacking}"
        if not self.run.prepared and not self.over:
            return f"its defender, which learns before the game: {self._lesson}"
        more = self.version < self.run.total_steps
        idle = not self._turn.locked() and not self._replaying
        if more and self.state in ("waiting", "running") and idle:
            return f"batch {self.version} from a data provider"
        return None

    def rate(self) -> float | None:
        """Return steps a second, over the last fifty."""
        if len(self._arrivals) < 2 or self._arrivals[-1] == self._arrivals[0]:
            return None
        return (len(self._arrivals) - 1) / (self._arrivals[-1] - self._arrivals[0])

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _follow_up(self) -> None:
        more = self.version < self.run.total_steps

        def settle() -> dict[str, Any] | None:
            if more and self.specification.defender != "none":
                self.run.validation_gradient()  # while the attacker works, or for it to read
            self.durable.settle()
            return self.recorded.records[-1] if self.recorded.records else None

        settled = asyncio.ensure_future(self._in_worker(settle))
        settled.add_done_callback(self._settled)

    def _settled(self, settled: asyncio.Future[dict[str, Any] | None]) -> None:
        error = settled.exception()
        if isinstance(error, OSError):
            self._have_trouble(error, self._follow_up)
            return
        if error is not None:
            self._end("failed", f"step {self.version} could not be recorded: {error}")
            return
        self._room.holds()
        record = settled.result()
        if record is not None and record["test_accuracy"] is not None:
            self.say(
                f"run {self.name!r}: step {record['step']} of {self.run.total_steps}, "
                f"loss {record['loss']:.3f}, test accuracy {record['test_accuracy']:.3f}"
            )
        if self.recorded.result is not None and self.state != "finished":
            self._end("finished", None)
        self.changed.notify()

    def _have_trouble(self, error: OSError, again: Callable[[], None]) -> None:
        self._room.lacks(error)
        if not self.closing:
            asyncio.get_running_loop().call_later(_STORE_AGAIN, again)

    def _end(self, state: State, reason: str | None) -> None:
        self.state, self.reason = state, reason
        self.say(f"run {self.name!r} {state}" + (f": {reason}" if reason else ""))
        self.changed.notify()

    def _refuse_while_learning(self) -> None:
        if not self.run.prepared and not self.over:
            what = f"run {self.name!r} waits for its defender, which learns before the game: {self._lesson}"
            raise Problem(503, "The run takes no batches now", what, retry_after=1)

    def _refuse_while_replaying(self) -> None:
        if self._replaying:
            raise Problem(
                503,
                "The run takes no batches now",
                f"run {self.name!r} replays its journal: step {self.version} of {self._replay_to}",
                retry_after=1,
            )

    def _refuse_unless_open(self, seq: int) -> None:
        self._refuse_if_over("given a batch")
        if seq > self.version:
            raise Problem(
                409,
                "Batches are missing",
                f"batch {seq} came, batch {self.version} is next in run {self.name!r}",
                next_seq=self.version,
            )
        if self.state == "paused" or self.closing:
            why = "paused by its operator" if self.state == "paused" else "closing down"
            raise Problem(503, "The run takes no batches now", f"run {self.name!r} is {why}", retry_after=1)
        if self.version >= self.run.total_steps:
            raise Problem(
                409,
                "The run is complete",
                f"run {self.name!r} has all its {self.version} steps",
                next_seq=self.version,
            )

    def _refuse_if_over(self, verb: str) -> None:
        if self.state in ("finished", "stopped", "failed"):
            reason = f": {self.reason}" if self.reason else ""
            raise Problem(
                409,
                f"The run is {self.state}",
                f"run {self.name!r} cannot be {verb}, it is {self.state}{reason}",
                next_seq=self.version,
            )


def content_digest(batch: WireBatch) -> bytes:
    """Return a digest of what a batch holds, however its bytes were laid out."""
    digest = blake2b(digest_size=16)
    for tensor in (batch.inputs, batch.labels):
        digest.update(f"{tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.digest()
