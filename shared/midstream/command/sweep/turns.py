"""The order in which the trials of a sweep are begun."""

from collections.abc import Sequence

from midstream.command.sweep.trial import Trial
from midstream.storage.seal import digest


class Turns:
    """Trials that are still to be begun.

    Trials of one seed are begun before those of the next, so that a sweep that is stopped leaves a whole
    table of fewer seeds. Of one seed, the longest trials are begun first, so that all workers end at nearly
    the same time. How long a trial takes is known from the same game with another seed; otherwise trials keep
    their order.

    Args:
        trials: the trials.

    >>> from midstream.command.sweep.grid import trials_of
    >>> turns = Turns(trials_of([{"attacker": ["none", "level-1"], "seeds": 2}]))
    >>> first, second = turns.take(), turns.take()
    >>> turns.ended(first, 1.0)
    >>> turns.ended(second, 5.0)
    >>> [(turn.attacker, turn.specification.seed) for turn in (first, second, turns.take(), turns.take())]
    [('none', 0), ('level-1', 0), ('level-1', 1), ('none', 1)]
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._left = sorted(trials, key=lambda trial: trial.specification.seed)
        self._seconds: dict[str, float] = {}

    def __len__(self) -> int:
        """Return the number of trials that are still to be begun."""
        return len(self._left)

    def take(self) -> Trial:
        """Return the next trial, which is then begun."""
        seed = self._left[0].specification.seed
        same = [trial for trial in self._left if trial.specification.seed == seed]
        longest = max(same, key=lambda trial: self._seconds.get(_apart_from_seed(trial), float("inf")))
        self._left.remove(longest)
        return longest

    def ended(self, trial: Trial, seconds: float) -> None:
        """Note how long a trial took."""
        self._seconds[_apart_from_seed(trial)] = seconds


def _apart_from_seed(trial: Trial) -> str:
    document = trial.document()
    return digest({**document, "specification": {**document["specification"], "seed": None}})
