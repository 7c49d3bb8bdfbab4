"""Downsampling of a long history to the number of points that a chart can show."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

R = TypeVar("R", bound=Mapping[str, Any])

FEWEST = 10
"""Smallest number of points that a history can be reduced to."""

_CURVES = ("loss", "correction")  # in every record, and drawn by the dashboard


def thinned(records: Sequence[R], points: int) -> list[R]:
    """Return a subset of the records, in order, whose curves keep every peak and trough.

    The first record, the last record and every evaluated record stay. The history is divided into equal
    intervals; each contributes the records of its smallest and largest loss and of its smallest and largest
    correction. No peak is lost, however short.

    Args:
        records: one record per step.
        points: maximum number of records besides the evaluated ones, at least `FEWEST`.

    >>> records = [{"loss": loss, "correction": 0.0, "test_loss": None} for loss in range(1000)]
    >>> records[500]["loss"] = 9999
    >>> kept = [record["loss"] for record in thinned(records, 10)]
    >>> kept, len(kept) <= 10
    ([0, 499, 9999, 501, 999], True)
    """
    if len(records) <= points:
        return list(records)
    kept = {0, len(records) - 1}
    kept |= {place for place, record in enumerate(records) if record["test_loss"] is not None}
    stretches = (points - 2) // (2 * len(_CURVES))
    bounds = [number * len(records) // stretches for number in range(stretches + 1)]
    for first, end in pairwise(bounds):
        for name in _CURVES:
            values = [record[name] for record in records[first:end]]
            kept |= {first + values.index(min(values)), first + values.index(max(values))}
    return [records[place] for place in sorted(kept)]
