"""A link of the pipeline: what takes a run's minibatches, whether over a network or in the same process."""

from typing import Protocol

from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.wire import WireBatch


class Link(Protocol):
    """Takes the minibatches of one run, one at a time."""

    @property
    def url(self) -> str:
        """Where the batches go, in words for a person: a URL, or the name of the run in this process."""

    def put(self, batch: WireBatch) -> Acknowledgement:
        """Hand over one minibatch, and return its acknowledgement once the run was trained on it.

        Raises:
            midstream.protocol.problem.Problem: the batch was refused, and why.
        """
