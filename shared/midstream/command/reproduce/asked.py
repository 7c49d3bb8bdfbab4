"""A game as a table asks for it. What ships is found by this alone, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from midstream.command.reproduce.document import Setting
from midstream.command.reproduce.shipped import shipped_names
from midstream.storage.seal import digest

if TYPE_CHECKING:
    from midstream.command.sweep.trial import Trial


@dataclass(frozen=True)
class Asked:
    """One game.

    Attributes:
        settings: its settings, by flag of `midstream play`, and `seed`.
    """

    settings: Mapping[str, Setting]

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.settings["seed"])

    @cached_property
    def trial(self) -> "Trial":
        """The trial that the settings make."""
        from midstream.command.sweep.grid import trials_of  # imports torch

        (trial,) = trials_of([self.settings])
        return trial

    @cached_property
    def name(self) -> str:
        """The name of the trial; it is not made if the game ships with midstream."""
        return shipped_names().get(digest(dict(self.settings))) or self.trial.name
