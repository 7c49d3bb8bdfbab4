"""A run that survives its process: each batch it takes on is journalled, trained on once, and replayed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from midstream.players.interface import Batch
from midstream.players.referee import PlayerError
from midstream.protocol.checks import BatchRules
from midstream.protocol.wire import WireBatch, decode_batch
from midstream.run.reporting import Say
from midstream.storage import faults
from midstream_server.runs import checkpoint
from midstream_server.runs.journal import Entry, Journal
from midstream_server.runs.provenance import Standing
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.training import Step

_JOURNAL_BYTES = 64 * 2**20
_REPLAY_SECONDS = 10.0

Kept = Literal["paused", "stopped"]


class DurableRun:
    """A recorded run, its journal and its checkpoints; used by one thread at a time.

    A batch is on the disk before it is trained on. Now and then a checkpoint is written, and the journal cut
    off behind the one before it: from either, replaying the journal leads to the same parameters. That is
    after a number of steps, earlier where the journal has grown large or its replay would take long.

    Args:
        recorded: the run at step 0, or restored from a checkpoint.
        journal: the batches that it has taken on; those behind the checkpoint are to be replayed.
        checkpoint_every: steps after which a checkpoint is written at the latest.
    """

    def __init__(self, recorded: RecordedRun, journal: Journal, *, checkpoint_every: int) -> None:
        self.recorded = recorded
        self.journal = journal
        self.kept_from = 0
        """No batch before this one will ever be needed again."""
        run = recorded.run
        self.rules = BatchRules(run.specification, run.train_size, run.input_shape, len(run.classes))
        step = run.step
        self.answers = {seq: known for seq, known in journal.answers().items() if seq < step}
        """Content digest and loss of each batch that was trained on, by its number."""
        self.state: Kept | None = (
            "paused" if journal.state == "paused" else "stopped" if journal.state else None
        )
        """What its operator made of the run; None where nothing."""
        self.reason = journal.reason
        self._every = checkpoint_every
        self._checkpointed = step
        self._unsaved = 0
        self._seconds = 0.0
        self._most_unsaved = _JOURNAL_BYTES
        self._emptied = False

    def take(self, batch: WireBatch, content: bytes, body: bytes) -> Step:
        """Take on one batch, the next one: check it, store it, train on it.

        Args:
            batch: what arrived.
            content: digest of its tensors.
            body: its bytes.

        Raises:
            midstream.protocol.problem.Problem: it does not fit the run.
            OSError: it cannot be stored; it was not trained on.
            midstream.players.referee.PlayerError: the defender broke its rules; the batch was not trained on.
            midstream.run.training.DivergedError: the loss is infinite or NaN; the batch was not trained on.
        """
        self.settle()
        checked = self.rules.check(batch, seq=self.recorded.run.step)
        entry = Entry(batch.seq, content, body)
        self.journal.append(entry)
        self._unsaved += len(body)
        faults.reached("journalled")
        return self._train(entry, checked, batch.report)

    def replay(self, say: Say = lambda _: None, after_step: Callable[[], None] = lambda: None) -> None:
        """Train on the batches that were taken on after the checkpoint.

        Args:
            say: told where the journal is damaged.
            after_step: called after each.

        Raises:
            OSError: a file could not be written; the next call goes on.
            midstream.run.training.DivergedError: as it did the first time.
        """
        self.settle()
        for seq in range(self.recorded.run.step, self.journal.length()):
            entry = self.journal.entry(seq)
            if entry is None:
                say(f"the journal is damaged from batch {seq} on; they will be asked for again")
                self.journal.drop(seq)
                return
            try:
                batch = decode_batch(entry.body)
                self._train(entry, self.rules.check(batch, seq=seq), batch.report)
            except PlayerError as error:
                say(f"{error}; the batch was not trained on")
                return
            self.settle()
            after_step()

    def remember(self, state: Kept | None, reason: str | None) -> None:
        """Store what the operator made of the run.

        Raises:
            OSError: it could not be stored.
        """
        self.journal.remember(state, reason)
        # Once more, for whoever takes the run up without its journal.
        self.recorded.folder.mark_open(Standing(self.journal.provenance, state, reason).written())

    def length(self) -> int:
        """Return how many batches the run has taken on, those to be replayed included."""
        return self.journal.length()

    def settle(self) -> None:
        """Do what follows a step and need not delay its acknowledgement; harmless where it has been done.

        Raises:
            OSError: a file could not be written; the next call tries again.
        """
        self.recorded.settle()
        step = self.recorded.run.step
        if self.recorded.result is not None:
            self._empty_journal()
        elif (
            step - self._checkpointed >= self._every
            or self._unsaved >= self._most_unsaved
            or self._seconds >= _REPLAY_SECONDS
        ):
            self.checkpoint()

    def checkpoint(self) -> Path:
        """Write a checkpoint, and cut off the journal behind the one before it; return its path.

        Raises:
            OSError: it could not be written; nothing is lost by that.
        """
        path = self.recorded.checkpoint()
        self._most_unsaved = max(_JOURNAL_BYTES, 2 * path.stat().st_size)
        older, self._checkpointed = self._checkpointed, self.recorded.run.step
        self.journal.trim(older)
        self.kept_from, self._unsaved, self._seconds = older, 0, 0.0
        faults.reached("trimmed")
        return path

    def close(self, *, over: bool) -> None:
        """Close the files; delete those that only a run which is not over needs."""
        if over:
            self.journal.delete()
            (self.recorded.folder.path / checkpoint.OLDER).unlink(missing_ok=True)
            self.recorded.folder.mark_over()
        else:
            self.journal.close()
        self.recorded.folder.close()

    def _train(self, entry: Entry, batch: Batch, reported: Mapping[str, float]) -> Step:
        try:
            step = self.recorded.train(batch, reported)
        except PlayerError:
            self.journal.drop(entry.seq)
            raise
        faults.reached("trained")
        self._seconds += step.seconds
        self.journal.answered(entry, step.loss)
        self.answers[entry.seq] = (entry.content, step.loss)
        return step

    def _empty_journal(self) -> None:
        if not self._emptied:
            self.journal.trim(self.recorded.run.step)
            self.journal.shrink()
            self._emptied = True
