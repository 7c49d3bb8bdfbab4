"""A tiny model around an operation: with trainable layers on both sides `B_x u` and `H u` go through it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.derivatives.case import CLASSES, Case

Operation = Callable[[Tensor], Tensor]

# What the operation is given, for each example: by the shape of an input and the layer before the operation.
_BEFORE: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "vector": ((6,), lambda: nn.Linear(6, 8)),  # 8
    "matrix": ((6,), lambda: nn.Sequential(nn.Linear(6, 16), nn.Unflatten(1, (4, 4)))),  # 4 × 4
    "sequence": ((5, 4), lambda: nn.Linear(4, 8)),  # 5 × 8
    "signal": ((2, 12), lambda: nn.Conv1d(2, 4, 3, padding=1)),  # 4 × 12
    "image": ((2, 8, 8), lambda: nn.Conv2d(2, 4, 3, padding=1)),  # 4 × 8 × 8
    "volume": ((1, 6, 6, 6), lambda: nn.Conv3d(1, 4, 3, padding=1)),  # 4 × 6 × 6 × 6
}


class Around(nn.Module):
    """An operation between two trainable layers."""

    def __init__(self, before: nn.Module, operation: Operation, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.before, self.operation = before, operation
        with torch.no_grad():
            features = self.operation(self.before(torch.rand(2, *shape))).flatten(1).shape[1]
        self.behind = nn.Linear(features, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.behind(self.operation(self.before(x)).flatten(1))
        return found


def layer(
    given: str,
    name: str,
    make: Callable[[], Operation],
    *,
    reference: Callable[[], Operation] | None = None,
    **options: Any,
) -> Case:
    """Return the case of a layer, made anew for each problem."""
    shape, before = _BEFORE[given]
    case = Case(name, lambda: Around(before(), make(), shape), shape)
    if reference:
        case = replace(case, reference=lambda: Around(before(), reference(), shape))
    return replace(case, **options)


def layers(given: str, table: Mapping[str, Callable[[], Operation]], **options: Any) -> list[Case]:
    """Return the cases of several layers that are given the same."""
    return [layer(given, name, make, **options) for name, make in table.items()]


def functions(given: str, table: Mapping[str, Operation], **options: Any) -> list[Case]:
    """Return the cases of several functions that are given the same."""
    return [layer(given, name, partial(_same, function), **options) for name, function in table.items()]


def positive(z: Tensor) -> Tensor:
    """Return values well above zero."""
    return z.square() + 0.5


def unit(z: Tensor) -> Tensor:
    """Return values inside (0, 1)."""
    return z.sigmoid()


def invertible(z: Tensor) -> Tensor:
    """Return matrices with eigenvalues apart from each other and from zero."""
    return z + torch.diag(torch.arange(1, z.shape[-1] + 1, dtype=z.dtype))


def symmetric(z: Tensor) -> Tensor:
    """Return symmetric positive definite matrices with distinct eigenvalues."""
    return z @ z.mT + torch.diag(torch.arange(1, z.shape[-1] + 1, dtype=z.dtype))


def _same(function: Operation) -> Operation:
    return function
