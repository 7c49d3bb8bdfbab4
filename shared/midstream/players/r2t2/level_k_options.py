"""The options that the level-k attacker and the level-k defender share."""

from dataclasses import dataclass

from midstream.mathematics.derivatives.batch_statistics import Statistics
from midstream.mathematics.level_k import INFINITE, SHARE, at_least_2, check_steps
from midstream.players.r2t2.exact_utility import UtilityOption
from midstream.players.r2t2.step_rule import StepRule


@dataclass(kw_only=True)
class LevelKOptions(StepRule, UtilityOption):
    """The options of PGD at level k, and their checks.

    Args:
        k: the level, at least 2.
        step_size: Δ_k; infinite in the paper's practice.
        share: how far each infinite step after the first moves, as a share of ε; inf is the paper's practice.
    """

    k: int
    step_size: float = INFINITE
    share: float = SHARE

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_2(self.k)
        check_steps(self.steps or 1, self.step_size, self.share, infinite=True)

    def against_batch_norm(self, statistics: Statistics) -> str | None:
        """Return why this level is wrong for batch norm that trains; None if it is right."""
        why = UtilityOption.against_batch_norm(self, statistics)
        return StepRule.against_batch_norm(self, statistics) if why is None else why
