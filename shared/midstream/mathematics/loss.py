"""Losses: always a sum over the batch, never a mean.

The strategies differentiate `Σ_x L_θ(x)`. With a sum, the derivative with respect to an input depends on that
input only (paper B.4), and the constants of the second-order strategies are correct.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""A loss: `(outputs, targets) -> scalar`, summed over the batch."""


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return `Σ_x L_θ(x)`, the cross-entropy summed over a batch, in nats.

    Args:
        outputs: logits, `(batch, classes)`.
        labels: class indices, `(batch,)`.

    >>> import torch
    >>> round(cross_entropy(torch.zeros(3, 10), torch.tensor([1, 2, 3])).item(), 4)  # 3 log 10
    6.9078
    """
    return F.cross_entropy(outputs, labels, reduction="sum")
