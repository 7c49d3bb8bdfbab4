"""The upcoming batches of a run, for an attacker that has its data set."""

import torch

from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch
from midstream.run.batches import BatchSource


class UpcomingBatches:
    """The batches that the data provider will send, a pure function of the run's seed and data set.

    Args:
        batches: the run's batches, from the data set on this machine.
    """

    def __init__(self, batches: BatchSource) -> None:
        self._batches = batches
        self._dataset = batches.specification.dataset
        self._total = batches.specification.total_steps(len(batches.train))

    def after(self, batch: Batch, count: int) -> list[Batch]:
        """Return the next `count` clean batches, on the device of `batch`; fewer at the end of the run.

        Raises:
            ValueError: `batch` differs from the same batch of this machine's data set.
        """
        here = self._seen(batch.seq, batch)
        if not (torch.equal(here.inputs, batch.inputs) and torch.equal(here.labels, batch.labels)):
            raise ValueError(
                f"batch {batch.seq} is different in the {self._dataset!r} of this machine, so the next "
                f"batches are unknown; provider and attacker must have the same data"
            )
        last = min(batch.seq + count, self._total - 1)
        return [self._seen(seq, batch) for seq in range(batch.seq + 1, last + 1)]

    def _seen(self, seq: int, like: Batch) -> Batch:
        found = self._batches.batch(seq)
        return Batch(seq, pixels(found.inputs).to(like.inputs), found.labels.to(like.labels))
