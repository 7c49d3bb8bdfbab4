"""Second derivatives in a model's own precision, where torch may use other kernels than in double."""

from collections.abc import Callable

from midstream.mathematics.derivatives.checking.distances import far as between
from midstream.mathematics.derivatives.checking.generic_point import GenericPoint, Second
from midstream.mathematics.derivatives.orders import Order

_KINK = 1e-4
"""Relative difference between the gradients in two precisions that shows a kink between them."""

_POINTS = 5


def off_in_own_precision(
    order: Order,
    point: GenericPoint,
    found: Second,
    own: GenericPoint,
    *,
    tolerance: float,
    far: Callable[[Second, Second], float],
) -> float | None:
    """Return how far an order is off in the model's own precision; None if it is within the tolerance.

    Among a million values before a ReLU, rounding moves some across the kink. The gradients then differ
    between the precisions, too, and other points near this one are tried. A kernel that is wrong is so at
    each of them.

    Args:
        order: the order.
        point: a point in double precision.
        found: the second derivatives there.
        own: the same point in the model's own precision.
        tolerance: the greatest distance that is due to rounding.
        far: the relative distance between two second derivatives.

    Raises:
        Exception: any exception that the model raises in its own precision.
    """
    nearest, start = float("nan"), point
    for number in range(_POINTS):
        if number:
            point = start.elsewhere(number)
            own, found = point.rounded(), point.second(order)
        apart = far(own.second(order), found)
        if apart <= tolerance:
            return None
        nearest = nearest if nearest <= apart else apart
        if not _kink_between(own, point):
            break
    return nearest


def _kink_between(own: GenericPoint, point: GenericPoint) -> bool:
    here, there = own.first(), point.first()
    differences = (
        between(here.by_parameters, there.by_parameters),
        between(here.by_inputs, there.by_inputs),
    )
    return not max(differences) < _KINK
