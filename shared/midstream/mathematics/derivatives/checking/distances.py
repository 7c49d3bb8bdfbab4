"""Distances between derivatives."""

from torch import Tensor

from midstream.mathematics.derivatives.orders import Vector


def inner(one: Vector, other: Vector) -> float:
    """Return `⟨a, b⟩`."""
    return float(sum((value * other[name]).sum().item() for name, value in one.items()))


def norm(value: Tensor | Vector) -> float:
    """Return the Euclidean length, in double precision."""
    parts = [value] if isinstance(value, Tensor) else value.values()
    return float(sum(part.double().square().sum().item() for part in parts) ** 0.5)


def far(one: Tensor | Vector, other: Tensor | Vector, least: float = 0.0) -> float:
    """Return `‖a - b‖ / max(‖a‖, ‖b‖, least)`, or `‖a - b‖` if the divisor is 0."""
    first = {"": one} if isinstance(one, Tensor) else one
    second = {"": other} if isinstance(other, Tensor) else other
    size = max(norm(first), norm(second), least)
    difference = norm({name: value.double() - second[name].double() for name, value in first.items()})
    return difference / size if size else difference
