"""A cell's games beside the paper's figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from midstream.command.reproduce.asked import Asked
from midstream.command.reproduce.cells import Cell
from midstream.command.reproduce.games import Game
from midstream.command.results.spread import Spread, spread

DEVIATIONS = 2
"""How many standard deviations ours may lie from the paper's."""


@dataclass(frozen=True)
class Compared:
    """What was found for a cell.

    Attributes:
        cell: the cell.
        games: its finished games.
    """

    cell: Cell
    games: tuple[Game, ...]

    @property
    def spread(self) -> Spread | None:
        """Mean and deviation of what was measured, in per cent; None if there is no game."""
        measured = [game.values[self.cell.measure] for game in self.games if self.cell.measure in game.values]
        return spread([100 * value for value in measured]) if measured else None

    @property
    def missing(self) -> tuple[Asked, ...]:
        """The games that are not finished."""
        finished = {game.name for game in self.games if self.cell.measure in game.values}
        return tuple(one for one in self.cell.asked if one.name not in finished)

    @property
    def within(self) -> bool | None:
        """Whether ours lies within two standard deviations of the paper's figure; None if that is unknown.

        The deviation is the paper's; if the paper gives none, it is ours.
        """
        stated, found = self.cell.stated, self.spread
        if stated is None or found is None:
            return None
        deviation = found.deviation if stated.deviation is None else stated.deviation
        return None if deviation is None else abs(found.mean - stated.mean) <= DEVIATIONS * deviation

    def document(self) -> dict[str, object]:
        """Return the cell as a JSON object; figures in per cent."""
        stated, found = self.cell.stated, self.spread
        return {
            "panel": self.cell.panel.name,
            "row": self.cell.row,
            "column": self.cell.column,
            "measure": self.cell.measure,
            "paper": None if stated is None else {"mean": stated.mean, "deviation": stated.deviation},
            "here": None
            if found is None
            else {"mean": found.mean, "deviation": found.deviation, "n": found.n},
            "within": self.within,
            "shipped": sum(game.shipped for game in self.games),
            "trials": [one.name for one in self.cell.asked],
            "missing": [one.name for one in self.missing],
        }


def compared(cells: Sequence[Cell], games: Mapping[str, Game]) -> list[Compared]:
    """Return each cell with its games.

    Args:
        cells: the cells.
        games: finished games by the name of their trial.
    """
    return [
        Compared(cell, tuple(games[one.name] for one in cell.asked if one.name in games)) for cell in cells
    ]
