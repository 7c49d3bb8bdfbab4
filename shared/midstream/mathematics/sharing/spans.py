"""How a set of examples is divided among processes."""

from itertools import pairwise

Span = tuple[int, int]
"""The first example of a part, and the one behind its last."""


def spans(count: int, world: int, *, unit: int = 1) -> list[Span]:
    """Return the examples of each process: neighbours, and nearly equal numbers of them.

    Args:
        count: number of examples.
        world: number of processes.
        unit: a multiple of this many examples is never divided; 1 divides anywhere.

    >>> spans(10, 3)
    [(0, 4), (4, 7), (7, 10)]
    >>> spans(10, 3, unit=4)
    [(0, 4), (4, 8), (8, 10)]
    >>> spans(10, 3, unit=250)
    [(0, 10), (10, 10), (10, 10)]
    """
    units = -(-count // unit)
    each, left = divmod(units, world)
    edges = [0]
    for place in range(world):
        edges.append(edges[-1] + each + (place < left))
    ends = [min(edge * unit, count) for edge in edges]
    return list(pairwise(ends))
