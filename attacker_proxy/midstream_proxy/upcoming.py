"""The batches to come of a run, for an attacker that possesses its data set."""

from collections.abc import Collection

import torch

from midstream.batches import BatchSource, load_split
from midstream.datasets import Source
from midstream.pixels import pixels
from midstream.players import Batch
from midstream.specification import Specification


class UpcomingBatches:
    """What the data provider will send, which is a pure function of the run's seed and data set.

    Args:
        specification: the run.
        source: where the data set is on this machine.
        allowed: what the specification may name; None allows all.

    Raises:
        midstream.datasets.MissingDataError: the data are not on this machine.
        midstream.plugins.PluginError: the run names a folder or code that was not allowed here.
    """

    def __init__(
        self, specification: Specification, source: Source, *, allowed: Collection[str] | None
    ) -> None:
        train = load_split(specification, source, allowed=allowed).train
        self._batches = BatchSource(specification, train)
        self._dataset = specification.dataset
        self._total = specification.total_steps(len(train))

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
