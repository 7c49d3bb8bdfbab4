"""The games of some cells: those that ship with midstream, those in the results folder, those played now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from midstream.command.reproduce.cells import Cell
from midstream.command.reproduce.games import UNDER, Game, attack_at_test_time, game_of
from midstream.command.reproduce.shipped import shipped_games
from midstream.command.results.results import Results, gathered
from midstream.command.results.results_folder import outcome_of
from midstream.command.sweep.place import Place
from midstream.command.sweep.sweeping import play_trials
from midstream.command.sweep.trial import Trial
from midstream.run.datasets import Source


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
    wanted: dict[str, Trial] = {}
    for cell in cells:
        for trial in cell.trials:
            ships = trial.name in shipped and cell.measure in shipped[trial.name].values
            # A game that was played here is shown, so what the cell measures is measured of that one.
            if not ships or outcome_of(trial, place.out) is not None:
                wanted[trial.name] = trial
    trials = _in_turn(cells, wanted)
    if play and trials:
        results = play_trials(trials, place, workers=workers, hours=hours)
        _attack(cells, results, place)
    here = gathered([trial for cell in cells for trial in cell.trials], [place.out])
    return Gathered(shipped | {one.trial.name: game_of(one) for one in here.trials}, here.failed)


def _in_turn(cells: Sequence[Cell], wanted: Mapping[str, Trial]) -> list[Trial]:
    """Return trials in the order in which they are played.

    Every cell is played with the first seed before any is played with the second: a stop then leaves a whole
    table of fewer seeds. Columns come one after the other: games that share a pretrained attacker are then
    rarely played at once, when each would pretrain its own.
    """
    columns = {trial.name: _column_of(cell) for cell in reversed(cells) for trial in cell.trials}
    return sorted(wanted.values(), key=lambda trial: (trial.specification.seed, columns[trial.name]))


def _column_of(cell: Cell) -> int:
    """Return the index of a cell's column in its panel."""
    return list(cell.panel.columns).index(cell.column)


def _attack(cells: Sequence[Cell], results: Results, place: Place) -> None:
    """Measure what some cells show of finished models."""
    attacked = {trial.name for cell in cells if cell.measure.startswith(UNDER) for trial in cell.trials}
    source = Source(place.data_root, place.download)
    for played in results.trials:
        if played.trial.name in attacked:
            attack_at_test_time(played, source, device=place.device, threads=place.threads or 1)
