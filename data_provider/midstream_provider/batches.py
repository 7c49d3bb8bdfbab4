"""Minibatches as a pure function of (seed, seq)."""

import torch

from midstream.datasets import Examples
from midstream.seeds import permutation
from midstream.specification import Specification
from midstream.wire import WireBatch


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
