"""Orthogonal projection: remove the directions that a linear model finds predictive."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from midstream.mathematics.level_1 import level_0
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View

_RELATIVE = 1e-4  # smaller singular values are rounding


def span(weights: Tensor) -> Tensor:
    """Return an orthonormal basis of the rows of a matrix, `(rank, features)`.

    >>> span(torch.tensor([[0.0, 2.0], [0.0, -3.0]])).abs()
    tensor([[0., 1.]])
    """
    _, values, rows = torch.linalg.svd(weights, full_matrices=False)
    found: Tensor = rows[values > _RELATIVE * values.max().clamp(min=torch.finfo(values.dtype).tiny)]
    return found


def projected_out(inputs: Tensor, basis: Tensor) -> Tensor:
    """Return `x - QᵀQ x`: inputs without their parts along the rows of Q.

    Args:
        inputs: `(batch, *input)`.
        basis: Q, `(rank, features)`, orthonormal rows.
    """
    flat = inputs.flatten(1)
    return (flat - flat @ basis.T @ basis).reshape(inputs.shape)


@dataclass(kw_only=True)
class OrthogonalProjection:
    """Remove what a linear model reads (orthogonal projection, Sandoval-Segura et al. 2023; not in Table 1).

    A logistic regression learns the stream as it arrives. Each image loses its parts along the model's weight
    vectors, `x - QᵀQ x` with Q an orthonormal basis of their span. What a linear model reads of a
    perturbation lies in that span. The projected batch, clamped to the pixel range, replaces the corrected
    one, and the budget does not limit it.

    Paper: "What Can We Learn from Unlearnable Datasets?". The authors' code
    (psandovalsegura/learn-from-unlearnable) trains a linear model without a bias on the whole poisoned data
    set, and then projects the data. Here the model has a bias and takes some steps on each minibatch before
    that minibatch is projected, so the first minibatches are projected along a model that has seen little.
    The basis comes from an SVD instead of a QR decomposition, so that dependent vectors add no direction.

    Args:
        steps: steps of the linear model on each minibatch.
        learning_rate: of the linear model, on the mean loss.
    """

    needs_classes: ClassVar[str] = "it learns a logistic regression"

    steps: int = 10
    learning_rate: float = 0.1
    _weights: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate is above 0 and finite, not {self.learning_rate}")

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the batch without the directions of the linear model, which learns from it first."""
        flat = batch.inputs.flatten(1)
        if self._weights is None:
            self._weights = flat.new_zeros(view.classes, 1 + flat.shape[1])
        weights = self._weights = self._learned(self._weights.to(flat), flat, batch.labels)
        kept = projected_out(batch.inputs, span(weights[:, 1:]))
        return replace(batch, inputs=kept.clamp(view.budget.low, view.budget.high))

    def _learned(self, weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the linear model after its steps; its first column is the bias."""
        known = labels.is_floating_point()
        shares = labels if known else F.one_hot(labels, len(weights)).to(inputs)
        for _ in range(self.steps):
            outputs = inputs @ weights[:, 1:].T + weights[:, 0]
            error = (outputs.softmax(1) - shares) / len(inputs)
            gradient = torch.cat([error.sum(0)[:, None], error.T @ inputs], dim=1)
            weights = weights - self.learning_rate * gradient
        return weights

    def state_dict(self) -> dict[str, Tensor]:
        """Return the linear model."""
        return {} if self._weights is None else {"weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the linear model."""
        self._weights = state.get("weights")
