"""One game of a table: what was measured, where, and with which versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from midstream.command.sweep.trial_name import trial_name

UNDER = "under_"
"""Prefix of the measures that are taken at test time: the accuracy under an attack of that name."""


@dataclass(frozen=True)
class Game:
    """One finished game.

    Attributes:
        document: everything that it depends on, as `trial.json` holds it.
        values: what was measured at its end, by name; rates are shares in [0, 1].
        curve: the test accuracy, by step.
        parameters_sha256: the digest of its final parameters.
        environment: versions, device and threads.
        shipped: whether it is one of the results that ship with midstream.
    """

    document: Mapping[str, Any]
    values: Mapping[str, float]
    curve: Sequence[tuple[int, float]]
    parameters_sha256: str
    environment: Mapping[str, Any]
    shipped: bool = False

    @cached_property
    def name(self) -> str:
        """The name of its trial."""
        return trial_name(self.document)

    @property
    def dataset(self) -> str:
        """Its data set."""
        return str(self.document["specification"]["dataset"])

    @property
    def seconds_per_step(self) -> float:
        """Seconds of the whole game, divided by its steps."""
        return self.values["seconds"] / self.values["steps"]
