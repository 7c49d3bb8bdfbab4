"""A run's data, and its minibatches as a pure function of (seed, seq)."""

from collections.abc import Collection
from dataclasses import replace

import torch

from midstream.mathematics.seeds import permutation
from midstream.protocol.specification import Specification
from midstream.protocol.wire import WireBatch
from midstream.run import datasets
from midstream.run.dataset_checks import refuse_other_data
from midstream.run.datasets import Examples, Source, Split


def load_split(
    specification: Specification,
    source: Source,
    *,
    allowed: Collection[str] | None = None,
    dataset_sha256: str | None = None,
) -> Split:
    """Return a run's data, the same on every machine that holds the data set.

    Args:
        specification: the run, of which data set, image size, split sizes and seed are used.
        source: where the data are; its image size gives way to the run's.
        allowed: what the specification may name, where it came over a network; None allows all.
        dataset_sha256: digest of the run's data set, which this one must have; None compares nothing.

    Raises:
        midstream.run.datasets.MissingDataError: the data are not on this machine.
        midstream.run.dataset_checks.DatasetError: the data cannot be trained on, or are not the run's.
        midstream.plugins.PluginError: there is no such data set, or it is not allowed.
        ValueError: the data set has fewer training examples than asked for.
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
    """The minibatches of one run: the same batch for the same seq, whatever was asked for before.

    Each epoch visits every training example once, in an order of its own; the last batch of an epoch may
    be smaller.

    Args:
        specification: the run, of which seed and batch size are used.
        train: the training examples.
    """

    def __init__(self, specification: Specification, train: Examples) -> None:
        self.specification = specification
        self.train = train
        self._order: tuple[int, torch.Tensor] | None = None

    def batch(self, seq: int) -> WireBatch:
        """Return minibatch `seq`, inputs as stored: uint8 or float32."""
        epoch, place = divmod(seq, self.specification.steps_per_epoch(len(self.train)))
        if self._order is None or self._order[0] != epoch:
            order = permutation(len(self.train), self.specification.seed, epoch, "order")
            self._order = (epoch, torch.from_numpy(order))
        start = place * self.specification.batch_size
        examples = self.train[self._order[1][start : start + self.specification.batch_size]]
        return WireBatch(seq, None, examples.inputs, examples.labels)
