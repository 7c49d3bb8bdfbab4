"""A long history, thinned to what its curves can show."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

FEWEST = 10
"""The fewest points that a history is thinned to."""

_CURVES = ("loss", "correction")  # what every record has, and a person draws


def thinned(records: Sequence[Mapping[str, Any]], points: int) -> list[Mapping[str, Any]]:
    """Return the records that curves of about `points` points need, in order.

    Every record with an evaluation is kept, and so are the first and the last. The others are cut into
    equal stretches of steps, and of each stretch are kept the records with the least and the largest loss,
    and with the least and the largest correction: no peak is lost, however short.

    Args:
        records: a record a step.
        points: the most records to keep beside the evaluated ones, at least `FEWEST`.

    >>> records = [{"loss": loss, "correction": 0.0, "test_accuracy": None} for loss in range(1000)]
    >>> records[500]["loss"] = 9999
    >>> kept = [record["loss"] for record in thinned(records, 10)]
    >>> kept, len(kept) <= 10
    ([0, 499, 9999, 501, 999], True)
    """
    if len(records) <= points:
        return list(records)
    kept = {0, len(records) - 1}
    kept |= {place for place, record in enumerate(records) if record["test_accuracy"] is not None}
    stretches = (points - 2) // (2 * len(_CURVES))
    bounds = [number * len(records) // stretches for number in range(stretches + 1)]
    for first, end in pairwise(bounds):
        for name in _CURVES:
            values = [record[name] for record in records[first:end]]
            kept |= {first + values.index(min(values)), first + values.index(max(values))}
    return [records[place] for place in sorted(kept)]
