"""An attacker's view of a training in this process: of the run, or of its surrogate."""

from torch import Tensor

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.protocol.messages.model import ModelDescription
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.run.training import Training


class LocalGame:
    """Reads a training in the same process on behalf of an attacker, and hides a black-box run's model.

    Args:
        training: the training; only its live version can be read.
    """

    def __init__(self, training: Training) -> None:
        self._training = training

    def specification(self) -> Specification:
        """Return the public part of the run's specification."""
        return self._training.specification.public()

    def dataset_sha256(self) -> str | None:
        """Return the digest of the run's data set; None if it was built by hand."""
        return self._training.dataset_sha256

    def model(self) -> ModelDescription:
        """Return the architecture and the loss."""
        return self._open().description()

    def validation(self) -> dict[str, Tensor]:
        """Return the public Dval."""
        return {"inputs": self._training.validation.inputs, "labels": self._training.validation.labels}

    def parameters(self, version: int) -> dict[str, Tensor]:
        """Return θ at the live version."""
        return self._open(version).parameters()

    def validation_gradient(self, version: int) -> Gradient:
        """Return v at the live version."""
        return self._open(version).validation_gradient()

    def training_step(self, version: int) -> TrainingStep:
        """Return the live optimizer's own step."""
        return self._open(version).optimization.next_step(version)

    def _open(self, version: int | None = None) -> Training:
        if self._training.specification.access == "black-box":
            raise Problem(
                403,
                "The run is black-box",
                "it shows its attacker no model, parameters, gradient or optimizer",
            )
        assert version in (None, self._training.step)
        return self._training
