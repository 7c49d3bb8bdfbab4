"""Runs that differ only in their seeds, as groups with means and deviations."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from midstream.command.results.spread import Spread, spread
from midstream.command.runs.played import PlayedRun
from midstream.run.process.affecting_bits import AFFECTING_BITS

ATTACK = (
    "attacker",
    "attack-epsilon",
    "attack-norm",
    "gradient",
    "surrogate",
    "surrogate-epochs",
    "surrogate-train-size",
    "surrogate-seed",
)
"""The settings of the attacker, by the name of their option."""

_OF_A_SEED = ("name", "seed")


@dataclass(frozen=True)
class SeedGroup:
    """Finished runs that differ only in their seeds, or a single run.

    Attributes:
        runs: the runs by label.
        numbers: the summary of each run, by label; see `midstream.command.runs.summary.summary`.
    """

    runs: Mapping[str, PlayedRun]
    numbers: Mapping[str, dict[str, Any]]

    @property
    def first(self) -> str:
        """The label of the first run, which has all settings of the group but the seed."""
        return next(iter(self.runs))

    @property
    def label(self) -> str:
        """The run's label; for several runs the first one's, their number and their seeds."""
        if len(self.runs) == 1:
            return self.first
        return f"{self.first} and {len(self.runs) - 1} more, seeds {', '.join(map(str, self.seeds))}"

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return [run.specification["seed"] for run in self.runs.values()]

    def end(self, name: str) -> Spread | None:
        """Return the spread of a value at the last evaluations, or None if a run has none."""
        return _spread(
            [(numbers["learning_curve"] or [{}])[-1].get(name) for numbers in self.numbers.values()]
        )

    def end_of_checker(self, name: str) -> Spread | None:
        """Return the spread of a number of the runs' checkers, or None if a run has none."""
        return _spread([(numbers["checker"] or {}).get(name) for numbers in self.numbers.values()])

    def best(self) -> Spread | None:
        """Return the spread of the best test accuracies, or None if a run has none."""
        return _spread([(numbers["best"] or {}).get("test_accuracy") for numbers in self.numbers.values()])

    def document(self) -> dict[str, object]:
        """Return the group as one JSON value."""
        spreads = {
            "test_accuracy": self.end("test_accuracy"),
            "best_test_accuracy": self.best(),
            "validation_loss": self.end("validation_loss"),
            "checker_auc": self.end_of_checker("auc"),
        }
        return {"runs": list(self.runs), "seeds": self.seeds} | {
            name: None if found is None else found.__dict__ for name, found in spreads.items()
        }


def seed_groups(
    runs: Mapping[str, PlayedRun], numbers: Mapping[str, dict[str, object]], *, each: bool
) -> list[SeedGroup]:
    """Return runs as groups of those that differ only in their seeds, in the order of the runs.

    A run is alone if it is not finished, or if its attacker is unknown, as for a run of a server. Each seed
    counts once: runs that agree even in their seeds are in different groups.

    Args:
        runs: the runs by label.
        numbers: their summaries by label.
        each: whether each run is a group of its own.
    """
    members: dict[tuple[str, int], list[str]] = {}
    times = Counter[tuple[str, object]]()
    for label, run in runs.items():
        alone = each or run.result is None or run.scenario is None
        key = label if alone else _key(run)
        seed = key, run.specification.get("seed")
        members.setdefault((key, times[seed]), []).append(label)
        times[seed] += 1
    return [
        SeedGroup({label: runs[label] for label in labels}, {label: numbers[label] for label in labels})
        for labels in members.values()
    ]


def _key(run: PlayedRun) -> str:
    scenario, environment = run.scenario or {}, run.environment or {}
    specification = {name: value for name, value in run.specification.items() if name not in _OF_A_SEED}
    attack = [scenario.get(name) for name in ATTACK]
    return json.dumps(
        [specification, attack, [environment.get(name) for name in AFFECTING_BITS]], sort_keys=True
    )


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return spread(known) if len(known) == len(values) else None
