"""The last link of a pipeline in one process: the run itself."""

import time

from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.problem import Problem
from midstream.protocol.wire import WireBatch
from midstream_server.runs.hosting.answers import acknowledgement
from midstream_server.runs.hosting.refusing import ENDING, refusing
from midstream_server.runs.recovery.checkpointed import CheckpointedRun
from midstream_server.runs.step import Step


class RunLink:
    """Trains a run on batches from the same process, by the same steps as a server.

    Args:
        name: the run's name.
        taking: the run.

    Attributes:
        url: names the run in messages.
        step: the last step; None before the first.
        failed: why the run failed; None if it did not.
    """

    def __init__(self, name: str, taking: CheckpointedRun) -> None:
        self.url = f"run {name!r}"
        self.step: Step | None = None
        self.failed: str | None = None
        self._taking = taking
        self._since = time.monotonic()

    def put(self, batch: WireBatch) -> Acknowledgement:
        """Train on the next batch, record the step, and return the acknowledgement.

        Raises:
            Problem: the batch is invalid, the defender failed, or the run has diverged.
            OSError: the step could not be recorded.
        """
        taking, seq = self._taking, batch.seq
        checked = taking.check(batch)
        try:
            with refusing(seq):
                made = time.monotonic() - self._since
                self.step = taking.train(checked, batch.report, seconds=made)
        except Problem as refusal:
            if isinstance(refusal.__cause__, ENDING):
                self.failed = str(refusal.__cause__)
            raise
        taking.settle()
        self._since = time.monotonic()
        return acknowledgement(
            seq, self.step.loss, next_seq=self.step.step, replay=False, kept_from=taking.kept_from
        )
