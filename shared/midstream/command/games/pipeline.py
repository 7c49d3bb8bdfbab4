"""What a game in steps offers, whichever transport its batches take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class GameStep:
    """One step of a game: a minibatch on its way to the model, and what the step measured.

    The tensors are on the run's device, and must not be changed.

    Attributes:
        seq: number of the minibatch, counted from 0. After its step, the parameters have version `seq + 1`.
        clean: the inputs that the data provider sent, `(batch, *input)`, float32 pixels.
        labels: the labels that were trained on, `(batch,)`. Over HTTP, those that the provider sent.
        attacked: the inputs after the attacker, who may have chosen other examples than came. Over HTTP None:
            they never pass through this process.
        defended: the inputs after the defender. Over HTTP None.
        loss: mean training loss at the parameters before the step, in nats per example.
        metrics: the step's record, see `midstream.protocol.messages.history.Record`.
    """

    seq: int
    clean: Tensor
    labels: Tensor
    attacked: Tensor | None
    defended: Tensor | None
    loss: float
    metrics: Mapping[str, Any]


class Pipeline(Protocol):
    """One game, ready for its next step."""

    @property
    def total_steps(self) -> int:
        """Steps of the whole game."""

    @property
    def step(self) -> int:
        """Steps taken."""

    @property
    def result(self) -> dict[str, Any] | None:
        """The content of `result.json`; None until the game is over."""

    def steps(self) -> Iterator[GameStep]:
        """Take the remaining steps, each when it is asked for."""

    def model(self) -> nn.Module:
        """Return the model at the live parameters."""

    def measures(self) -> dict[str, float | None]:
        """Return the measures of the test set at the live parameters, such as `test_accuracy`."""
