"""Comparison of derivatives with finite differences."""

from collections.abc import Sequence

import torch
from torch import Tensor

from midstream.mathematics.derivatives.checking.distances import inner
from midstream.mathematics.derivatives.checking.generic_point import First, GenericPoint, Second
from midstream.mathematics.derivatives.orders import Vector

DIFFERENCES = 1e-4
"""Relative tolerance of a derivative to finite differences."""

_STEP = 1e-7
_DIRECTIONS = range(3)
_ROUNDING = 1e-6
"""Rounding error of a finite difference over `_STEP`, relative to the value."""


def gradient_off(point: GenericPoint, found: First) -> float | None:
    """Return how far a gradient is from differences of the loss; None if all of these cross a kink."""
    there = point.loss_there
    values = [
        (there(step=_STEP, direction=n).item(), there(step=-_STEP, direction=n).item()) for n in _DIRECTIONS
    ]
    return _off(point, values, found.loss.item(), found.by_parameters, found.by_inputs)


def second_off(point: GenericPoint, at: First, found: Second) -> float | None:
    """Return how far a second derivative is from differences of the gradient; None as in `gradient_off`.

    Args:
        point: the model at its parameters and inputs.
        at: the gradient there.
        found: the second derivative there.
    """
    along, first = point.along, point.first
    values = [
        (
            inner(first(step=_STEP, direction=n).by_parameters, along),
            inner(first(step=-_STEP, direction=n).by_parameters, along),
        )
        for n in _DIRECTIONS
    ]
    return _off(point, values, inner(at.by_parameters, along), found.by_parameters, found.by_inputs)


def _off(
    point: GenericPoint,
    values: Sequence[tuple[float, float]],
    here: float,
    by_parameters: Vector,
    by_inputs: Tensor,
) -> float | None:
    worst: float | None = None
    for number, (ahead, behind) in enumerate(values):
        theta, x = point.direction(number)
        moved = [(by_parameters[name] * way).flatten() for name, way in theta.items()]
        parts = torch.cat([*moved, (by_inputs * x).flatten()])
        onward, backward = (ahead - here) / _STEP, (here - behind) / _STEP
        slope, rounding = (onward + backward) / 2, _ROUNDING * abs(here)
        size = max(parts.norm().item(), abs(slope), rounding, 1e-300)
        if abs(onward - backward) <= DIFFERENCES * size + 2 * rounding:
            off = max(abs(slope - parts.sum().item()) - rounding, 0.0) / size
            worst = off if worst is None else max(worst, off)
    return worst
