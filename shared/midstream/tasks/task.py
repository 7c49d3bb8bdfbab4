"""The kinds of tasks, and a task with its loss."""

from dataclasses import dataclass
from typing import Literal

from midstream.mathematics.loss import Loss, cross_entropy

Kind = Literal["classification", "regression", "multi-label"]
"""What a model's outputs are: logits of exclusive classes, numbers, or logits of independent labels."""

USUAL_LOSS: dict[Kind, str] = {
    "classification": "cross-entropy",
    "regression": "mse",
    "multi-label": "bce",
}
"""The loss of each kind of task, unless the run names another one."""


@dataclass(frozen=True)
class Task:
    """A task and its loss.

    Attributes:
        kind: what the outputs and the targets are.
        loss_name: the loss by name, with its options.
        loss: the loss, summed over a batch.

    >>> Task().loss is cross_entropy
    True
    """

    kind: Kind = "classification"
    loss_name: str = "cross-entropy"
    loss: Loss = cross_entropy

    @property
    def classifies(self) -> bool:
        """Whether targets are indices of exclusive classes."""
        return self.kind == "classification"
