"""The option to follow the exact utility, and its gradient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from midstream.mathematics.derivatives.batch_statistics import Statistics
from midstream.mathematics.objective import Objective
from midstream.mathematics.unrolled import unrolled_utility_gradient
from midstream.players.interface import Batch, View

Utility = Literal["linearised", "exact"]


@dataclass(kw_only=True)
class UtilityOption:
    """Which utility a player of a level follows.

    Args:
        utility: `linearised` is the paper's utility, to first order in the training step; `exact` goes
            through the step that the optimizer really takes, and costs a validation gradient per gradient.
    """

    utility: Utility = "linearised"

    def against_batch_norm(self, statistics: Statistics) -> str | None:
        """Return why the exact utility is wrong for batch norm that trains, unless v is taken as trained."""
        if self.utility == "linearised" or statistics.validation_batch is not None:
            return None
        return (
            "the exact utility would go through the running statistics after the step, whose derivative is "
            "not taken; set --batch-norm training-with-v, or utility=linearised"
        )


def exact_gradient(
    batch: Batch, view: View, raised: Objective, upcoming: Sequence[Batch] = ()
) -> Callable[[Tensor], Tensor]:
    """Return `x → ∇x U(x)` for one batch, through the next training step and those on `upcoming`.

    Args:
        batch: the batch, whose labels are used.
        view: what the player sees; its host must show it the optimizer.
        raised: the loss in the utility; if it has no examples, the gradient is zero.
        upcoming: the batches to train on after this one, before the loss is taken.
    """
    step, later = view.training_step(), [(b.inputs, b.labels) for b in upcoming]

    def gradient(at: Tensor) -> Tensor:
        if len(raised.labels) == 0:
            return torch.zeros_like(at)
        return unrolled_utility_gradient(
            view.model,
            at,
            batch.labels,
            raised.inputs,
            raised.labels,
            step=step,
            upcoming=later,
            sign=raised.sign,
            loss=view.loss,
        )

    return gradient
