"""The order in which a sweep's trials are begun."""

from midstream.command.sweep.grid import trials_of
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.turns import Turns


def words(trial: Trial) -> tuple[str, str, int]:
    return trial.attacker, trial.specification.defender, trial.specification.seed


def test_two_workers_end_together_although_the_longest_games_are_named_last() -> None:
    seconds = {
        ("none", "none"): 1,
        ("none", "level-1"): 4,
        ("level-1", "none"): 7,
        ("level-1", "level-1"): 12,
    }
    trials = trials_of([{"attacker": ["none", "level-1"], "defender": ["none", "level-1"], "seeds": 3}])
    turns, free, begun = Turns(trials), [0.0, 0.0], []
    in_hand: list[tuple[float, Trial] | None] = [None, None]
    while turns:
        worker = free.index(min(free))
        if (before := in_hand[worker]) is not None:
            turns.ended(before[1], before[0])
        trial = turns.take()
        took = float(seconds[trial.attacker, trial.specification.defender])
        in_hand[worker] = took, trial
        free[worker] += took
        begun.append(words(trial))
    assert sorted(begun) == sorted(map(words, trials))
    assert [seed for *_, seed in begun] == [0] * 4 + [1] * 4 + [2] * 4
    assert max(free) - min(free) <= 1.0  # in the order of the grid, one worker would idle for 8 seconds
