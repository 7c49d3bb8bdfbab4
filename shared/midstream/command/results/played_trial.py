"""A finished trial of a sweep, and its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from midstream.command.api.result import GameResult
from midstream.command.sweep.trial import Setting, Trial
from midstream.storage.run_files import read_records

ACCURACY = "test_accuracy"


@dataclass(frozen=True)
class PlayedTrial:
    """A finished trial.

    Attributes:
        trial: its settings.
        folder: its run folder.
        result: its result.
    """

    trial: Trial
    folder: Path
    result: GameResult

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """What `midstream play --json` prints."""
        return self.result.as_dict()

    @cached_property
    def numbers(self) -> dict[str, float]:
        """The numbers of the outcome by name, and those of its checker as `checker.NAME`."""
        checker = self.outcome.get("checker") or {}
        named = {**self.outcome, **{f"checker.{name}": found for name, found in checker.items()}}
        return {name: float(found) for name, found in named.items() if _is_number(found)}

    @property
    def settings(self) -> Mapping[str, Setting]:
        """All settings by name."""
        return self.trial.settings

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The run's metrics, one record per step."""
        return read_records(self.folder / "metrics.jsonl")

    def curve(self, value: str = ACCURACY) -> list[tuple[int, float]]:
        """Return a value over the steps after which it was measured."""
        return [
            (record["step"], float(record[value])) for record in self.records if record.get(value) is not None
        ]


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)
