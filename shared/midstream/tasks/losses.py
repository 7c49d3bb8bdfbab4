"""Losses of other tasks than classification, each summed over the batch and over the outputs."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from midstream.mathematics.loss import Loss, cross_entropy


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return `Σ_x ‖f_θ(x) - y‖²`, the squared error.

    Args:
        outputs: predictions, `(batch, outputs)`.
        targets: numbers of the same shape.

    >>> mse(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [1.0]])).item()
    5.0
    """
    return F.mse_loss(outputs, targets, reduction="sum")


def huber(outputs: Tensor, targets: Tensor, *, delta: float = 1.0) -> Tensor:
    """Return `Σ_x Σ_j h(f_θ(x)_j - y_j)`, the Huber loss.

    `h(r) = r² / 2` for `|r| ≤ delta`, and `delta (|r| - delta / 2)` beyond: one outlier weighs less than in
    `mse`.

    Args:
        outputs: predictions, `(batch, outputs)`.
        targets: numbers of the same shape.
        delta: the error from which the loss is linear, in units of the targets.

    Raises:
        ValueError: delta is not finite and above 0.

    >>> huber(torch.tensor([[0.5], [3.0]]), torch.zeros(2, 1)).item()
    2.625
    """
    if not 0 < delta < math.inf:
        raise ValueError(f"delta must be finite and above 0, not {delta}")
    return F.huber_loss(outputs, targets, reduction="sum", delta=delta)


def bce(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return `-Σ_x Σ_j y_j log p_j + (1 - y_j) log (1 - p_j)` with `p = 1 / (1 + exp(-f_θ(x)))`, in nats.

    Args:
        outputs: a logit for each label, `(batch, labels)`.
        targets: 1 if the label applies and 0 if not, of the same shape.

    >>> round(bce(torch.zeros(3, 2), torch.ones(3, 2)).item(), 4)  # 6 log 2
    4.1589
    """
    return F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum")


def each(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each example, `(batch,)`.

    Args:
        loss: a loss that sums over its batch.
        outputs: the model's outputs, `(batch, outputs)`.
        targets: their targets.

    >>> each(mse, torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [1.0]]))
    tensor([1., 4.])
    """
    if loss is cross_entropy:
        return F.cross_entropy(outputs, targets, reduction="none")
    return torch.stack([loss(outputs[row : row + 1], targets[row : row + 1]) for row in range(len(outputs))])
