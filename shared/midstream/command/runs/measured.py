"""The measures in a run's records: accuracies, or those of another task."""

from collections.abc import Iterable, Mapping
from typing import Any

from midstream.tasks.words import HEADLINE, WORDS

ACCURACY = "test_accuracy"

Record = Mapping[str, Any]


def flat(record: Record) -> dict[str, Any]:
    """Return a record with the measures of its task among its members.

    >>> flat({"step": 1, "measures": {"test_r2": 0.5}})
    {'step': 1, 'test_r2': 0.5}
    """
    found = {name: value for name, value in record.items() if name != "measures"}
    return found | (record.get("measures") or {})


def judged(records: Iterable[Record]) -> str:
    """Return the name of the measure that runs are judged by: `test_accuracy`, `test_r2`, …

    Args:
        records: of one run or of several with the same task, flat or not.
    """
    names = {f"test_{name}" for name in HEADLINE.values()} - {ACCURACY}
    for record in records:
        for name in names & flat(record).keys():
            return name
    return ACCURACY


def words(name: str) -> str:
    """Return the name of a measure in words.

    >>> words("test_r2"), words("validation_loss")
    ('test R²', 'validation loss')
    """
    part, _, measure = name.partition("_")
    return f"{part} {WORDS.get(measure, measure.replace('_', ' '))}"
