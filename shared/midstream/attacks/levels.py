"""R2T2's attackers by level: nobody, level 1, and level k by nested PGD."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from midstream.attacks.along_gradient import GradientAttacker
from midstream.mathematics.level_1 import level_0
from midstream.mathematics.level_k import (
    INFINITE,
    SHARE,
    at_least_2,
    check_steps,
    level_k_attack,
    nested_ascent,
)
from midstream.players.exact_utility import UtilityOption, exact_gradient
from midstream.players.interface import Batch, View
from midstream.players.step_rule import StepRule


class NoAttack:
    """Let every batch pass (the null strategy, section 4; Table 1: level 0)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)


@dataclass(kw_only=True)
class UtilityAttacker(UtilityOption, GradientAttacker):
    """An attacker of a level, along the utility to first order or along the exact one.

    Args:
        lookahead: further training steps, on the clean batches to come, after which the validation loss is
            taken; it needs `utility=exact`, and the data set.
    """

    lookahead: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lookahead < 0:
            raise ValueError(f"lookahead must be at least 0, not {self.lookahead}")
        if self.lookahead and self.utility != "exact":
            raise ValueError(f"lookahead={self.lookahead} is of the exact utility; add utility=exact")

    def exact_gradient(self, batch: Batch, view: View) -> Callable[[Tensor], Tensor]:
        """Return the gradient of the exact utility at an input."""
        upcoming = view.upcoming(self.lookahead) if self.lookahead else []
        return exact_gradient(batch, view, self.objective(batch, view), upcoming)


@dataclass(kw_only=True)
class Level1(UtilityAttacker):
    """`δ* = -e(B_x v)`: the step raises the validation loss, to first order (Theorem 1; Table 1: level 1)."""

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the level-1 attack at the live parameters."""
        if self.utility == "linearised":
            return super().fresh(batch, view)
        uphill = self.exact_gradient(batch, view)
        return nested_ascent(uphill, batch.inputs, budget=view.budget, opponent=view.budget, steps=1)


@dataclass(kw_only=True)
class LevelK(StepRule, UtilityAttacker):
    """Nested PGD against the defender of level k - 1 that it expects (Remark 1; Table 1: level k).

    Args:
        k: the level, at least 2.
        step_size: Δ_k; infinite in the paper's practice.
        opponent_step_size: Δ_{k-1} of the defender it expects.
        share: how far an infinite step after the first moves, as a share of ε; inf is the paper's practice.
        opponent_epsilon: the budget it expects the defender to have; -1 for its own.
    """

    k: int
    step_size: float = INFINITE
    opponent_step_size: float = INFINITE
    share: float = SHARE
    opponent_epsilon: float = -1.0
    _estimates: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        StepRule.__post_init__(self)
        UtilityAttacker.__post_init__(self)
        at_least_2(self.k)
        check_steps(self.steps or 1, self.step_size, self.opponent_step_size, self.share, infinite=True)
        if self.opponent_epsilon != -1 and not 0 <= self.opponent_epsilon < INFINITE:
            raise ValueError(
                f"opponent_epsilon is a radius, finite and at least 0, or -1 for the attacker's own, not "
                f"{self.opponent_epsilon}"
            )
        self._estimates = not (self.steps or self.smoothness)

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the level-k attack at the live parameters."""
        expected = view.budget.epsilon if self.opponent_epsilon < 0 else self.opponent_epsilon
        if self.utility == "exact":
            return nested_ascent(
                self.exact_gradient(batch, view),
                batch.inputs,
                budget=view.budget,
                opponent=replace(view.budget, epsilon=expected),
                steps=self.count(self.k, view),
                step_size=self.step_size,
                opponent_step_size=self.opponent_step_size,
                share=self.share,
            )
        return level_k_attack(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=self.gradient(batch, view),
            budget=view.budget,
            opponent=replace(view.budget, epsilon=expected),
            steps=self.count(self.k, view),
            learning_rate=view.learning_rate,
            step_size=self.step_size,
            opponent_step_size=self.opponent_step_size,
            share=self.share,
            loss=view.loss,
        )

    @property
    def remembers(self) -> bool:
        """Whether there is a history, or an M that was estimated at the first batch."""
        return self._estimates or super().remembers

    def state_dict(self) -> dict[str, Tensor]:
        """Return the history and M."""
        return StepRule.state_dict(self) | GradientAttacker.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a history and M."""
        StepRule.load_state_dict(self, state)
        GradientAttacker.load_state_dict(self, {key: state[key] for key in state.keys() - {"smoothness"}})
