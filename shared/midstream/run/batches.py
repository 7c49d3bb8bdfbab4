"""A run's data split, and its minibatches as a pure function of (seed, seq)."""

from collections.abc import Collection
from dataclasses import replace

import torch

from midstream.mathematics.seeds import permutation
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch
from midstream.run import datasets
from midstream.run.datasets import Examples, Source, Split
from midstream.run.datasets.dataset_checks import refuse_other_data


def load_split(
    specification: Specification,
    source: Source,
    *,
    allowed: Collection[str] | None = None,
    dataset_sha256: str | None = None,
) -> Split:
    """Load a run's data split. It is the same on every machine that holds the data set.

    Args:
        specification: the run; data set, image size, split sizes and seed are used.
        source: where the data are; the run's image size overrides the source's.
        allowed: plug-ins that the specification may name, if it arrived over a network; None allows all.
        dataset_sha256: required digest of the data set; None skips the comparison.

    Raises:
        midstream.run.datasets.MissingDataError: the data are not on this machine.
        midstream.run.datasets.dataset_checks.DatasetError: the data cannot be trained on, or differ from the
            run's.
        midstream.plugins.PluginError: there is no such data set, or it is not allowed.
        ValueError: the data set has fewer training examples than requested.
    """
    source = replace(source, image_size=specification.image_size)
    split = datasets.split(
        datasets.load(specification.dataset, source, allowed=allowed, pixel_range=specification.pixel_range),
        validation_size=specification.validation_size,
        train_size=specification.train_size,
        seed=specification.seed,
    )
    refuse_other_data(specification.dataset, split.dataset_sha256, dataset_sha256)
    return split


class BatchSource:
    """The minibatches of one run. A batch depends only on its number, not on earlier requests.

    Each epoch visits every training example once, in its own random order. The last batch of an epoch may
    be smaller.

    Args:
        specification: the run; seed and batch size are used.
        train: the training examples.
    """

    def __init__(self, specification: Specification, train: Examples) -> None:
        self.specification = specification
        self.train = train
        self._order: tuple[int, torch.Tensor] | None = None
        self._prepared: WireBatch | None = None

    def prepare(self, seq: int) -> None:
        """Make minibatch `seq` ahead of time, if the run has it; `batch` then returns it at once."""
        known = self._prepared is not None and self._prepared.seq == seq
        if not known and seq < self.specification.total_steps(len(self.train)):
            self._prepared = self._made(seq)

    def batch(self, seq: int) -> WireBatch:
        """Return minibatch `seq`. The inputs keep their stored type, uint8 or float32."""
        prepared, self._prepared = self._prepared, None
        return prepared if prepared is not None and prepared.seq == seq else self._made(seq)

    def _made(self, seq: int) -> WireBatch:
        examples = self.train[self.places(seq)]
        return WireBatch(seq, None, examples.inputs, examples.labels)

    def places(self, seq: int) -> torch.Tensor:
        """Return the places of the examples of minibatch `seq` in the training set, int64, on the CPU."""
        epoch, place = divmod(seq, self.specification.steps_per_epoch(len(self.train)))
        if self._order is None or self._order[0] != epoch:
            order = permutation(len(self.train), self.specification.seed, epoch, "order")
            self._order = (epoch, torch.from_numpy(order))
        start = place * self.specification.batch_size
        return self._order[1][start : start + self.specification.batch_size]
