"""The units of an input's columns, in which a budget measures a perturbation."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor


class ColumnScale:
    """Converts perturbations to units of their columns and back; a column is the last dimension of an input.

    Args:
        scale: the unit of each column, at least 0; a column of unit 0 may not move.

    >>> unit = ColumnScale((2.0, 0.0))
    >>> unit.units(torch.tensor([[4.0, 1.0]])), unit.back(torch.tensor([[2.0, 1.0]]))
    (tensor([[2., 0.]]), tensor([[4., 0.]]))
    """

    def __init__(self, scale: Sequence[float]) -> None:
        self._scale = tuple(scale)

    def units(self, perturbation: Tensor) -> Tensor:
        """Return a perturbation in units of its columns, 0 in those that may not move."""
        scale = self._like(perturbation)
        return (perturbation / scale.masked_fill(scale == 0, 1.0)).masked_fill(scale == 0, 0.0)

    def back(self, units: Tensor) -> Tensor:
        """Return `scale · units`: the perturbation of what `units` returned."""
        scale = self._like(units)
        return (scale * units).masked_fill(scale == 0, 0.0)

    def moved_fixed(self, perturbation: Tensor) -> Tensor:
        """Return whether each example moves in a column that may not move, `(batch,)`, bool."""
        fixed = self._like(perturbation) == 0
        return ((perturbation != 0) & fixed).flatten(1).any(dim=1)

    def _like(self, values: Tensor) -> Tensor:
        if values.shape[-1] != len(self._scale):
            raise ValueError(
                f"the budget's scale has {len(self._scale)} numbers, inputs of shape "
                f"{tuple(values.shape)} have {values.shape[-1]} columns; give one number for each"
            )
        return _on(self._scale, values.dtype, values.device)


@cache
def _on(scale: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the scale on a device. It is copied there once and for good: captured programs read it there."""
    return torch.tensor(scale, dtype=dtype, device=device)
