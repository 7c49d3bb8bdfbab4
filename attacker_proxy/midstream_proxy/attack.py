"""What an attack is set up with: its settings, its budget, and what it can read of a run."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from midstream.mathematics.budget import Budget, Norm, pixel_bounds
from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.players.on_error import OnError
from midstream.protocol.dataset_defaults import defaults
from midstream.protocol.messages.model import ModelDescription
from midstream.protocol.specification import Specification
from midstream.run.datasets import Source
from midstream_proxy.surrogates.surrogate import SurrogateSettings


class Game(Protocol):
    """What an attacker can read of a run."""

    def specification(self) -> Specification:
        """Return the run's specification."""

    def dataset_sha256(self) -> str | None:
        """Return the digest of the run's data set; None if it is not known."""

    def model(self) -> ModelDescription:
        """Return the description of the model: its architecture, loss and learning rate."""

    def validation(self) -> dict[str, Tensor]:
        """Return the public validation set Dval: `inputs` and `labels`."""

    def parameters(self, version: int) -> dict[str, Tensor]:
        """Return θ at a version."""

    def validation_gradient(self, version: int) -> Gradient:
        """Return the validation gradient v at a version."""

    def training_step(self, version: int) -> TrainingStep:
        """Return the optimizer as it is before the step from a version."""


@dataclass(frozen=True)
class AttackSettings:
    """What the attacker decides before the game.

    Attributes:
        attacker: its name and options.
        epsilon: the budget's radius, in pixel units; None takes the data set's default.
        norm: the budget's norm; None takes the run's.
        gradient: who computes the validation gradient: `server` reads the one that the server publishes,
            `own` computes it here. Both give the same bits.
        device: where to compute.
        allowed: the dotted paths, files and folders that the run's model and data set may name.
        source: where the data set is, for an attacker that has the training data.
        surrogate: the model that it trains if the run is black-box.
        signing_key: the provider's key, if the attacker has it: attacked batches are then signed again.
        on_error: what happens to a batch at which the attacker fails: `stop` raises, `pass-clean` forwards
            the batch unchanged.
    """

    attacker: str
    epsilon: float | None = None
    norm: Norm | None = None
    gradient: Literal["server", "own"] = "server"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    allowed: Collection[str] | None = frozenset()
    source: Source = field(default_factory=Source)
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    signing_key: bytes | None = field(default=None, repr=False)
    on_error: OnError = "stop"


def budget_of(specification: Specification, settings: AttackSettings) -> Budget:
    """Return the attacker's budget: its norm ball, and the run's pixel range."""
    epsilon = defaults(specification.dataset)["epsilon"] if settings.epsilon is None else settings.epsilon
    return Budget(epsilon, settings.norm or specification.norm, *pixel_bounds(specification.pixel_range))
