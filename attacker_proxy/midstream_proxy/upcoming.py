"""The batches to come of a run, for an attacker that possesses its data set."""

import torch

from midstream.mathematics.pixels import pixels
from midstream.players.interface import Batch
from midstream.run.batches import BatchSource


class UpcomingBatches:
    """What the data provider will send, which is a pure function of the run's seed and data set.

    Args:
        batches: the run's, made of the data set on this machine.
    """

    def __init__(self, batches: BatchSource) -> None:
        self._batches = batches
        self._dataset = batches.specification.dataset
        self._total = batches.specification.total_steps(len(batches.train))

    def after(self, batch: Batch, count: int) -> list[Batch]:
        """Return the next `count` batches, clean, on the device of this one; fewer where the run ends.

        Raises:
            ValueError: this batch is not the one of the data set here.
        """
        here = self._seen(batch.seq, batch)
        if not (torch.equal(here.inputs, batch.inputs) and torch.equal(here.labels, batch.labels)):
            raise ValueError(
                f"batch {batch.seq} is another one in the {self._dataset!r} of this machine, so the batches "
                f"after it are not known; provider and attacker must have the same data"
            )
        last = min(batch.seq + count, self._total - 1)
        return [self._seen(seq, batch) for seq in range(batch.seq + 1, last + 1)]

    def _seen(self, seq: int, like: Batch) -> Batch:
        found = self._batches.batch(seq)
        return Batch(seq, pixels(found.inputs).to(like.inputs), found.labels.to(like.labels))
