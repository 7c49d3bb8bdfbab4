"""What each level gains over the level below all others, and what it costs (figures 7b, A.9b, A.10b)."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from midstream.command.reproduce.comparison import Compared

Side = Literal["attacker", "defender"]


@dataclass(frozen=True)
class Gain:
    """What one level gains.

    Attributes:
        side: who plays it.
        level: its name.
        gain: test accuracy over level 0, in points, as the mean over all opponents: what the attacker takes,
            or what the defender wins.
        seconds: additional time for each minibatch, in seconds.
    """

    side: Side
    level: str
    gain: float
    seconds: float


def gains(found: Sequence[Compared]) -> list[Gain]:
    """Return the gains of all levels above the first, as far as games against the same opponents exist.

    The time is the difference between the seconds of two games, divided by their steps. Games that share
    processors take longer.

    Args:
        found: the cells of a grid of levels: attackers in rows, defenders in columns.
    """
    by_place = {(one.cell.row, one.cell.column): one for one in found if one.spread is not None}
    rows = list(dict.fromkeys(one.cell.row for one in found))
    columns = list(dict.fromkeys(one.cell.column for one in found))
    gained = []
    for row in rows[1:]:
        pairs = [(by_place.get((rows[0], c)), by_place.get((row, c))) for c in columns]
        gained += _gain("attacker", row, pairs, sign=-1)
    for column in columns[1:]:
        pairs = [(by_place.get((r, columns[0])), by_place.get((r, column))) for r in rows]
        gained += _gain("defender", column, pairs, sign=1)
    return gained


def _gain(
    side: Side, level: str, pairs: Sequence[tuple[Compared | None, Compared | None]], *, sign: int
) -> list[Gain]:
    whole = [(without, with_it) for without, with_it in pairs if without is not None and with_it is not None]
    if not whole:
        return []
    gain = fmean(sign * (_mean(with_it) - _mean(without)) for without, with_it in whole)
    return [
        Gain(side, level, gain, fmean(_seconds(with_it) - _seconds(without) for without, with_it in whole))
    ]


def _mean(one: Compared) -> float:
    assert one.spread is not None
    return one.spread.mean


def _seconds(one: Compared) -> float:
    return fmean(game.seconds_per_step for game in one.games)
