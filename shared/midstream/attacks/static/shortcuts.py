"""Patterns that are linked to a class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from midstream.mathematics.budget import Budget, per_example
from midstream.mathematics.seeds import generator


def to_the_edge(patterns: Tensor, budget: Budget) -> Tensor:
    """Return patterns scaled to norm ε; unlike `Budget.direction`, this keeps their shape in the L∞ ball.

    >>> to_the_edge(torch.tensor([[3.0, 4.0]]), Budget(0.5, "linf"))
    tensor([[0.3750, 0.5000]])
    """
    size = budget.size(patterns).clamp(min=torch.finfo(patterns.dtype).tiny)
    return budget.epsilon * patterns / per_example(size, patterns)


def drawn_for(keys: Sequence[bytes], shape: Sequence[int], seed: int, purpose: str) -> Tensor:
    """Return standard normal numbers, `(keys, *shape)`, float64, a function of key and seed."""
    return torch.stack(
        [
            torch.randn(*shape, generator=generator(seed, purpose, key.hex()), dtype=torch.float64)
            for key in keys
        ]
    )
