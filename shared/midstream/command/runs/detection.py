"""How well a run's checker found the attacked examples, scored after the game.

The server wrote each example's suspicion, the attacker's process which examples it altered. Neither knew the
other's file during the game; both are in the run folder of `midstream play`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midstream.storage.attacked import attacked
from midstream.storage.lines import lines
from midstream.storage.run_folder import FINDINGS

FALSE_ALARMS = 0.05
"""The share of clean examples at which true positives are counted."""


@dataclass(frozen=True)
class Judged:
    """One batch as its checker judged it.

    Attributes:
        step: its step.
        suspicion: the suspicion of each example.
        attacked: which of them the attacker altered.
        alarm: whether the batch raised an alarm.
    """

    step: int
    suspicion: Sequence[float]
    attacked: Sequence[bool]
    alarm: bool


def detection(
    folder: Path, counts: Mapping[str, Any] | None, records: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return the key `checker` of `midstream play --json`; None if the run has no checker.

    - `auc`: the probability that an attacked example is more suspicious than a clean one, over all pairs of
      examples of the game; equal suspicions count half. None if no example, or every example, was attacked.
    - `true_positives_at_5`: the share of the attacked examples that are more suspicious than 95 % of the
      clean ones. None likewise.
    - `detected_after`: the number of batches from the first attacked one to the first alarm at an attacked
      batch, both included. None if there was no such alarm.
    - `flagged`, `dropped`: numbers of examples, each counted at every visit.

    Args:
        folder: the run folder.
        counts: what the run's `result.json` says of the checker.
        records: the run's metrics, one record per step.
    """
    if counts is None:
        return None
    alarms = {record["step"] for record in records if (record.get("checker") or {}).get("alarm")}
    batches = list(_judged(folder, alarms))
    suspicion = np.array([one for batch in batches for one in batch.suspicion])
    truth = np.array([one for batch in batches for one in batch.attacked], dtype=bool)
    in_part = truth.any() and not truth.all()
    attacked_steps = [batch.step for batch in batches if any(batch.attacked)]
    detected = [batch.step for batch in batches if any(batch.attacked) and batch.alarm]
    return {
        "name": counts["name"],
        "auc": auc(suspicion[truth], suspicion[~truth]) if in_part else None,
        "true_positives_at_5": true_positives(suspicion[truth], suspicion[~truth]) if in_part else None,
        "detected_after": 1 + detected[0] - attacked_steps[0] if detected else None,
        "flagged": counts["flagged"],
        "dropped": counts["dropped"],
    }


def auc(positive: Any, negative: Any) -> float:
    """Return the area under the ROC curve: `P(p > n) + P(p = n) / 2` over all pairs.

    >>> auc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
    0.875
    """
    negative = np.sort(negative)
    below = np.searchsorted(negative, positive, side="left") + np.searchsorted(
        negative, positive, side="right"
    )
    return float(below.mean() / (2 * len(negative)))


def true_positives(positive: Any, negative: Any) -> float:
    """Return the share of `positive` above the 95 % quantile of `negative`.

    >>> true_positives(np.array([3.0, 0.5]), np.array([1.0, 2.0]))
    0.5
    """
    return float((positive > np.quantile(negative, 1 - FALSE_ALARMS)).mean())


def _judged(folder: Path, alarms: set[int]) -> Iterator[Judged]:
    truth = attacked(folder)
    found = {line["step"]: line["examples"] for line in lines(folder / FINDINGS)}
    for step, examples in sorted(found.items()):
        touched = truth.get(step - 1, frozenset())
        yield Judged(step, examples, [place in touched for place in range(len(examples))], step in alarms)
