"""An attacker's view of a run on a server, read over HTTP."""

from torch import Tensor

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.protocol.messages.model import ModelDescription
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.web.client import Client


class ServedGame:
    """Reads a run over HTTP on behalf of an attacker."""

    def __init__(self, client: Client, run: str) -> None:
        self._client = client
        self._run = run

    def identity(self) -> str:
        """Return the run's identity, which differs between runs of the same name."""
        return self._client.run(self._run).id

    def step(self) -> int:
        """Return the number of the next batch of the run."""
        return self._client.run(self._run).step

    def took(self, seq: int, body: bytes) -> bool | None:
        """Return whether the run took this content for an earlier batch; None if the server does not know.

        Raises:
            Problem: the server cannot answer now.
        """
        try:
            self._client.put_batch(self._run, seq, [body])  # the server repeats its answer to a batch it took
        except Problem as problem:
            if problem.status == 409:
                return None if problem.more.get("answer_lost") else False
            raise
        return True

    def specification(self) -> Specification:
        """Return the run's specification.

        Raises:
            Problem: it has settings that this version of midstream does not know.
        """
        return self._client.run(self._run).specification.known()

    def train_size(self) -> int:
        """Return the number of training examples."""
        return self._client.run(self._run).train_size

    def dataset_sha256(self) -> str | None:
        """Return the digest of the run's data set; None if the server does not publish it."""
        return self._client.run(self._run).dataset_sha256

    def model(self) -> ModelDescription:
        """Return the architecture and the loss."""
        return self._client.model(self._run)

    def validation(self) -> dict[str, Tensor]:
        """Return the public Dval."""
        return self._client.validation(self._run)

    def parameters(self, version: int) -> dict[str, Tensor]:
        """Return θ at a version."""
        return self._client.parameters(self._run, version)

    def validation_gradient(self, version: int) -> Gradient:
        """Return v at a version."""
        return self._client.validation_gradient(self._run, version)

    def training_step(self, version: int) -> TrainingStep:
        """Return the optimizer before the step from a version."""
        return self._client.optimizer(self._run, version)
