"""A run that checks each batch before it trains on it, and writes checkpoints periodically."""

from collections.abc import Callable, Mapping
from pathlib import Path

from midstream.players.interface import Batch
from midstream.protocol.checks import BatchRules
from midstream.protocol.wire import WireBatch
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.recovery.checkpoint import OLDER
from midstream_server.runs.step import Step

REPLAY_SECONDS = 10.0
"""A checkpoint is due when the steps since the last one took this long."""


class CheckpointedRun:
    """A recorded run and its checkpoints; used by one thread at a time.

    A checkpoint is due after a number of steps, or earlier if taking these steps again would take long.

    Args:
        recorded: the run at step 0, or restored from a checkpoint.
        checkpoint_every: maximum number of steps between checkpoints; None for no maximum.
    """

    def __init__(self, recorded: RecordedRun, *, checkpoint_every: int | None) -> None:
        self.recorded = recorded
        self.kept_from = 0
        """The first batch that could still be needed again."""
        run = recorded.run
        self.rules = BatchRules(
            run.specification, run.train_size, run.input_shape, len(run.classes), run.task.kind
        )
        self._every = checkpoint_every
        self._checkpointed = run.step
        self._seconds = 0.0

    def check(self, batch: WireBatch) -> Batch:
        """Finish the previous step, then validate the next batch.

        Raises:
            midstream.protocol.problem.Problem: the batch is invalid for this run.
            OSError: the previous step could not be recorded.
        """
        self.settle()
        return self.rules.check(batch, seq=self.recorded.run.step)

    def train(
        self,
        batch: Batch,
        reported: Mapping[str, float],
        *,
        seconds: float = 0.0,
        stored: Callable[[], None] = lambda: None,
    ) -> Step:
        """Train on a batch that `check` returned.

        Args:
            batch: the minibatch.
            reported: values that the attacker reported for the metrics.
            seconds: how long it would take to make the batch again.
            stored: returns once the batch is on disk, and raises if it cannot be stored.

        Raises:
            midstream.players.referee.PlayerError: the defender broke its rules; the batch was not trained on.
            midstream.run.training.DivergedError: the loss is infinite or NaN; the batch was not trained on.
        """
        step = self.recorded.train(batch, reported, stored=stored)
        self._seconds += step.seconds + seconds
        return step

    def took(self, step: Step, reported: Mapping[str, float]) -> None:
        """Have `settle` record a step that was taken as a whole, the attack included."""
        self.recorded.took(step, reported)
        self._seconds += step.seconds

    def settle(self) -> None:
        """Do the work after a step that need not delay its acknowledgement; repeating it does no harm.

        Raises:
            OSError: a file could not be written; the next call tries again.
        """
        self.recorded.settle()
        if self.recorded.result is None and self._due():
            self.checkpoint()

    def _due(self) -> bool:
        steps = self.recorded.run.step - self._checkpointed
        if steps == 0:
            return False  # a second checkpoint of this step would have an attacker's memory of the next one
        return (self._every is not None and steps >= self._every) or self._seconds >= REPLAY_SECONDS

    def checkpoint(self) -> Path:
        """Write a checkpoint, and return its path.

        Raises:
            OSError: the checkpoint could not be written; nothing is lost.
        """
        path = self.recorded.checkpoint()
        self._checkpointed, self._seconds = self.recorded.run.step, 0.0
        return path

    def close(self, *, over: bool) -> None:
        """Close the files; if the run is over, delete those that only a resume would need."""
        if over:
            (self.recorded.folder.path / OLDER).unlink(missing_ok=True)
            self.recorded.folder.mark_over()
        self.recorded.folder.close()
