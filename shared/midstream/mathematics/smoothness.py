"""Estimates M, the constant of the paper's step-size rule, from the model."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_statistics import statistics_of
from midstream.mathematics.derivatives.functional import DerivativeError
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.mathematics.utility import utility


@dataclass(frozen=True)
class Smoothness:
    """Lower bounds on M, from training on a white image.

    Attributes:
        by_class: `√N |U_t(1, …, 1)|` for each label that was tried for the image.
    """

    by_class: tuple[float, ...]

    @property
    def value(self) -> float:
        """The estimate of M: the smallest bound, since the rule is exponential in M."""
        return min(self.by_class)


def estimate_smoothness(
    model: nn.Module,
    validation_inputs: Tensor,
    validation_labels: Tensor,
    *,
    learning_rate: float,
    high: float = 1.0,
    loss: Loss = cross_entropy,
) -> Smoothness:
    """Estimate M by the bound `M ≥ √N |U_t(1, …, 1)|` for N pixels (paper B.3.2).

    `U_t(1, …, 1)` is the change of the validation loss, a sum, when the model takes one training step on a
    single white image. The paper does not say which label the image has. The bounds for different labels
    differ by a factor of ten or more, so each of the first ten classes is tried. M grows with the validation
    set and with η. On the paper's 5,000 examples of MNIST, the smallest bound is 0.22 to 0.41, depending on
    the seed; the paper's estimate is 0.203.

    Args:
        model: the model at θ_t; it is not changed.
        validation_inputs: `(examples, *input)`.
        validation_labels: `(examples,)`; the first ten classes among them are tried. Of targets that are no
            classes, `(examples, outputs)`, ten are, from the smallest to the largest.
        learning_rate: η, for the sum of the batch's losses.
        high: the value of a white pixel.
        loss: a loss that sums over its batch.

    Raises:
        DerivativeError: the model's batch norm trains; a single image is no minibatch.

    >>> model = nn.Linear(4, 3)
    >>> x, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> len(estimate_smoothness(model, x, y, learning_rate=0.01).by_class)
    3
    """
    if statistics_of(model) is not None:
        raise DerivativeError(
            "M is estimated by a training step on a single image; batch norm that trains needs a minibatch"
        )
    white = torch.full_like(validation_inputs[:1], high, dtype=torch.float32)
    if validation_inputs.is_floating_point():
        white = white.to(validation_inputs)
    changes = [
        utility(
            model,
            white,
            label[None],
            validation_inputs,
            validation_labels,
            learning_rate=learning_rate,
            loss=loss,
        )
        for label in _tried(validation_labels)
    ]
    return Smoothness(tuple(math.sqrt(white.numel()) * abs(float(change)) for change in changes))


def _tried(targets: Tensor) -> Tensor:
    """Return at most ten distinct targets."""
    found: Tensor = torch.unique(targets, dim=0)
    if not targets.is_floating_point():
        return found[:10]
    return found[torch.linspace(0, len(found) - 1, min(10, len(found))).round().long()]
