"""The games behind cells: those that ship with midstream, those in the results folder, those played now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from midstream.command.reproduce.cells import Cell
from midstream.command.reproduce.games import Game
from midstream.command.reproduce.shipped import shipped_games
from midstream.command.sweep.place import Place


@dataclass(frozen=True)
class Gathered:
    """Finished games, and those that failed.

    Attributes:
        games: the finished games, by the name of their trial.
        failed: the reason of each trial that failed, by the trial in words.
    """

    games: Mapping[str, Game]
    failed: Mapping[str, str]


def games_of(
    cells: Sequence[Cell], place: Place, *, play: bool, fresh: bool, workers: int, hours: float | None
) -> Gathered:
    """Return the games of cells. A game in the results folder takes precedence over one that ships.

    Args:
        cells: the cells.
        place: the results folder, and how games are played.
        play: whether to play what is missing.
        fresh: whether to leave out the games that ship with midstream.
        workers: number of games that are played at once.
        hours: stop after this time; None to play everything.
    """
    shipped = {} if fresh else shipped_games()
    if all(_ships(cell, shipped) for cell in cells) and not any(
        (place.out / asked.name).exists() for cell in cells for asked in cell.asked
    ):
        return Gathered(shipped, {})
    from midstream.command.reproduce.played import played_games  # imports torch

    games, failed = played_games(cells, place, shipped, play=play, workers=workers, hours=hours)
    return Gathered({**shipped, **games}, failed)


def _ships(cell: Cell, shipped: Mapping[str, Game]) -> bool:
    """Return whether all games of a cell ship, with what it measures."""
    return all(one.name in shipped and cell.measure in shipped[one.name].values for one in cell.asked)
