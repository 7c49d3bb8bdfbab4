"""A run that survives a crash: every accepted batch is journalled, and replayed after a restart."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal

from midstream.players.interface import Batch
from midstream.players.referee import PlayerError
from midstream.players.reporting import Say
from midstream.protocol.wire import WireBatch, decode_batch
from midstream.storage import faults
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.recovery.checkpointed import CheckpointedRun
from midstream_server.runs.recovery.journal import Entry, Journal
from midstream_server.runs.recovery.provenance import Standing
from midstream_server.runs.step import Step

_JOURNAL_BYTES = 64 * 2**20

Kept = Literal["paused", "stopped"]


class DurableRun(CheckpointedRun):
    """A recorded run, its journal and its checkpoints; used by one thread at a time.

    Each batch is on disk before a step is taken on it and before a defender sees it. While the disk works,
    only the gradient of a run without a defender is computed, which changes nothing.

    Checkpoints are written periodically; the journal is then trimmed to the previous checkpoint. Replaying
    the journal from either checkpoint leads to the same parameters. A checkpoint is due after a number of
    steps, or earlier if the journal has grown large or its replay would take long.

    Args:
        recorded: the run at step 0, or restored from a checkpoint.
        journal: the accepted batches; those after the checkpoint are to be replayed.
        checkpoint_every: maximum number of steps between checkpoints.
    """

    def __init__(self, recorded: RecordedRun, journal: Journal, *, checkpoint_every: int) -> None:
        super().__init__(recorded, checkpoint_every=checkpoint_every)
        self.journal = journal
        step = recorded.run.step
        self.answers = {seq: known for seq, known in journal.answers().items() if seq < step}
        """Content digest and loss of each batch that was trained on, by batch number."""
        self.state: Kept | None = (
            "paused" if journal.state == "paused" else "stopped" if journal.state else None
        )
        """The state that the operator set; None if the operator did not intervene."""
        self.reason = journal.reason
        self._unsaved = 0
        self._most_unsaved = _JOURNAL_BYTES
        self._emptied = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")

    def take(self, batch: WireBatch, content: bytes, body: bytes) -> Step:
        """Validate the next batch, store it in the journal, and train on it.

        Args:
            batch: the batch as received.
            content: digest of its tensors.
            body: its bytes.

        Raises:
            midstream.protocol.problem.Problem: the batch is invalid for this run.
            OSError: the batch could not be stored; it was not trained on.
            midstream.players.referee.PlayerError: the defender broke its rules; the batch was not trained on.
            midstream.run.training.DivergedError: the loss is infinite or NaN; the batch was not trained on.
        """
        checked = self.check(batch)
        entry = Entry(batch.seq, content, body)
        writing = self._writer.submit(self.journal.append, entry)

        def stored() -> None:
            writing.result()
            self._unsaved += len(body)
            faults.reached("journalled")

        try:
            return self._train(entry, checked, batch.report, stored=stored)
        finally:
            wait([writing])

    def replay(self, say: Say = lambda _: None, after_step: Callable[[], None] = lambda: None) -> None:
        """Train on the journalled batches that follow the checkpoint.

        Args:
            say: called with a sentence if the journal is damaged.
            after_step: called after each step.

        Raises:
            OSError: a file could not be written; the next call continues.
            midstream.run.training.DivergedError: the run diverged, as it did the first time.
        """
        self.settle()
        for seq in range(self.recorded.run.step, self.journal.length()):
            entry = self.journal.entry(seq)
            if entry is None:
                say(
                    f"the journal is damaged from batch {seq} on; the server will ask for those batches again"
                )
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
        """Store the state that the operator set.

        Raises:
            OSError: it could not be stored.
        """
        self.journal.remember(state, reason)
        # A second copy, in case the journal is lost.
        self.recorded.folder.mark_open(Standing(self.journal.provenance, state, reason).written())

    def length(self) -> int:
        """Return the number of accepted batches, including those still to be replayed."""
        return self.journal.length()

    def settle(self) -> None:
        """Do the work after a step that need not delay its acknowledgement; repeating it does no harm.

        Raises:
            OSError: a file could not be written; the next call tries again.
        """
        super().settle()
        self.journal.fold()
        if self.recorded.result is not None:
            self._empty_journal()

    def _due(self) -> bool:
        return super()._due() or self._unsaved >= self._most_unsaved

    def checkpoint(self) -> Path:
        """Write a checkpoint, trim the journal to the previous one, and return the new one's path.

        Raises:
            OSError: the checkpoint could not be written; nothing is lost.
        """
        older = self._checkpointed
        path = super().checkpoint()
        self._most_unsaved = max(_JOURNAL_BYTES, 2 * path.stat().st_size)
        self.journal.trim(older)
        self.kept_from, self._unsaved = older, 0
        faults.reached("trimmed")
        return path

    def close(self, *, over: bool) -> None:
        """Close the files; if the run is over, delete those that only a resume would need."""
        self._writer.shutdown()
        if over:
            self.journal.delete()
        else:
            self.journal.close()
        super().close(over=over)

    def _train(
        self,
        entry: Entry,
        batch: Batch,
        reported: Mapping[str, float],
        *,
        stored: Callable[[], None] = lambda: None,
    ) -> Step:
        try:
            step = self.train(batch, reported, stored=stored)
        except PlayerError:
            self.journal.drop(entry.seq)
            raise
        faults.reached("trained")
        self.journal.answered(entry, step.loss)
        self.answers[entry.seq] = (entry.content, step.loss)
        return step

    def _empty_journal(self) -> None:
        if not self._emptied:
            self.journal.trim(self.recorded.run.step)
            self.journal.shrink()
            self._emptied = True
