"""A run as the network sees it: one batch at a time, answers that can be repeated, and who waits for what."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any, Literal, TypeVar

from midstream.checks import check_batch, check_number, largest_body
from midstream.players import Batch, PlayerError
from midstream.problem import Problem
from midstream.training import DivergedError
from midstream.wire import WireBatch
from midstream_server.published import Published
from midstream_server.record import RecordedRun
from midstream_server.training import Step
from midstream_server.waking import Signal

State = Literal["waiting", "running", "paused", "finished", "stopped", "failed"]
T = TypeVar("T")


class HostedRun:
    """One run on a server. Its methods are called on the event loop; the run itself lives in one thread.

    Args:
        name: the run's name.
        recorded: the run and its history, at step 0.
        say: called with a sentence when the run gets somewhere.
    """

    def __init__(self, name: str, recorded: RecordedRun, say: Callable[[str], None] = lambda _: None) -> None:
        self.name = name
        self.recorded = recorded
        self.run = recorded.run
        self.specification = self.run.specification
        self.state: State = "waiting"
        self.reason: str | None = None
        self.closing = False
        self.say = say
        self.changed = Signal()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"run-{name}")
        self._turn = asyncio.Lock()
        self.published = Published(name, self.run, self._in_worker)
        self._answers: list[tuple[bytes, dict[str, Any]]] = []
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
        return largest_body(self.specification.batch_size, self.run.input_shape)

    async def put_batch(self, seq: int, batch: WireBatch) -> dict[str, Any]:
        """Train on one batch, or repeat the answer it had; return the acknowledgement.

        Raises:
            Problem: 409, 422, 500 or 503, saying why the batch was not taken.
        """
        check_number(batch, seq)
        digest = await asyncio.to_thread(content_digest, batch)
        # Shielded: a client that goes away must not leave a step half accounted for.
        return await asyncio.shield(asyncio.ensure_future(self._take(seq, batch, digest)))

    async def _take(self, seq: int, batch: WireBatch, digest: bytes) -> dict[str, Any]:
        async with self._turn:
            if seq < len(self._answers):
                return self._repeat(seq, digest)
            self._refuse_unless_open(seq)
            checked = check_batch(
                batch,
                seq=seq,
                length=self.specification.batch_length(seq, self.run.train_size),
                input_shape=self.run.input_shape,
                classes=len(self.run.classes),
            )
            self.state = "running"
            try:
                step = await self._in_worker(lambda: self._train(checked, batch.report))
            except PlayerError as error:
                raise Problem(500, "The defender failed", f"{error}; the batch was not trained on") from error
            except DivergedError as error:
                self._end("failed", str(error))
                raise Problem(409, "The run has diverged", str(error), next_seq=seq) from error
            answer = {
                "seq": seq,
                "next_seq": seq + 1,
                "parameters_version": step.step,
                "loss": step.loss,
                "replay": False,
            }
            self._answers.append((digest, answer))
            self._arrivals.append(time.monotonic())
            self.changed.notify()
            self._follow_up()
            return answer

    def _repeat(self, seq: int, digest: bytes) -> dict[str, Any]:
        known, answer = self._answers[seq]
        if known != digest:
            raise Problem(
                409,
                "Another batch was taken under this number",
                f"batch {seq} of run {self.name!r} had other content; a sequence number is used once",
                next_seq=self.version,
            )
        return answer | {"next_seq": self.version, "replay": True}

    def _train(self, batch: Batch, reported: Mapping[str, float]) -> Step:
        step = self.recorded.train(batch, reported)
        self.published.publish()
        return step

    async def wait_for_version(self, after: int, wait: float) -> int:
        """Return the newest version, once it is above `after`, the run is over, or `wait` seconds passed."""
        deadline = time.monotonic() + wait
        while self.version <= after and not self.over and (left := deadline - time.monotonic()) > 0:
            await self.changed.wait(left)
        return self.version

    def pause(self) -> None:
        """Take no more batches until `resume`."""
        self._refuse_if_over("paused")
        self.state = "paused"
        self.changed.notify()

    def resume(self) -> None:
        """Take batches again."""
        self._refuse_if_over("resumed")
        if self.state == "paused":
            self.state = "running" if self._answers else "waiting"
            self.changed.notify()

    async def stop(self) -> None:
        """End the run before its last step, with a checkpoint."""
        if self.state == "stopped":
            return
        self._refuse_if_over("stopped")
        self._end("stopped", f"stopped by its operator at step {self.version}")
        await self.checkpoint()

    async def checkpoint(self) -> str:
        """Write a checkpoint; return its path."""
        return await self._in_worker(self.recorded.checkpoint)

    async def close(self) -> None:
        """Finish the step in hand, write a checkpoint, and let the thread go."""
        async with self._turn:
            await self.checkpoint()
        self._worker.shutdown(wait=True)
        self.recorded.folder.close()

    def waiting_for(self) -> str | None:
        """Return what the run waits for, as a person would say it, or None while it works or is over."""
        if self.state == "paused":
            return "its operator to resume it"
        more = self.version < self.run.total_steps
        if more and self.state in ("waiting", "running") and not self._turn.locked():
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

        def settle() -> dict[str, Any]:
            if more and self.specification.defender != "none":
                self.run.validation_gradient()  # while the attacker works, or for it to read
            return self.recorded.settle()

        settled = asyncio.ensure_future(self._in_worker(settle))
        settled.add_done_callback(self._settled)

    def _settled(self, settled: asyncio.Future[dict[str, Any]]) -> None:
        if error := settled.exception():
            self._end("failed", f"step {self.version} could not be recorded: {error}")
            return
        record = settled.result()
        if record["test_accuracy"] is not None:
            self.say(
                f"run {self.name!r}: step {record['step']} of {self.run.total_steps}, "
                f"loss {record['loss']:.3f}, test accuracy {record['test_accuracy']:.3f}"
            )
        if self.recorded.result is not None:
            self._end("finished", None)
        self.changed.notify()

    def _end(self, state: State, reason: str | None) -> None:
        self.state, self.reason = state, reason
        self.say(f"run {self.name!r} {state}" + (f": {reason}" if reason else ""))
        self.changed.notify()

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
