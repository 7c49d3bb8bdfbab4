"""R2T2's attackers by level: no attack, level 1, and level k by nested PGD."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from midstream.attacks.along_gradient import GradientAttacker
from midstream.mathematics.level_1 import level_0
from midstream.mathematics.level_k import INFINITE, check_steps, level_k_attack, nested_ascent
from midstream.players.interface import Batch, View
from midstream.players.r2t2.exact_utility import UtilityOption, exact_gradient
from midstream.players.r2t2.level_k_options import LevelKOptions


class NoAttack:
    """Leave every batch unchanged (the null strategy, section 4; Table 1: level 0)."""

    fixed = True

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)


@dataclass(kw_only=True)
class UtilityAttacker(UtilityOption, GradientAttacker):
    """An attacker that follows the utility, either to first order in the training step or exactly.

    Args:
        lookahead: number of further training steps, on the next clean batches, before the validation loss is
            taken; needs `utility=exact` and the data set.
    """

    lookahead: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lookahead < 0:
            raise ValueError(f"lookahead must be at least 0, not {self.lookahead}")
        if self.lookahead and self.utility != "exact":
            raise ValueError(f"lookahead={self.lookahead} needs the exact utility; add utility=exact")

    def exact_gradient(self, batch: Batch, view: View) -> Callable[[Tensor], Tensor]:
        """Return the function that computes the gradient of the exact utility at given inputs."""
        upcoming = view.upcoming(self.lookahead) if self.lookahead else []
        return exact_gradient(batch, view, self.objective(batch, view), upcoming)


@dataclass(kw_only=True)
class Level1(UtilityAttacker):
    """`δ* = -e(B_x v)`: the step raises the validation loss, to first order (Theorem 1; Table 1: level 1)."""

    @property
    def fixed(self) -> bool:
        """Whether the move is a fixed program; see `midstream.players.fixed`."""
        return self.utility == "linearised" and self.goal == "untargeted"

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the level-1 attack at the live parameters."""
        if self.utility == "linearised":
            return super().fresh(batch, view)
        uphill = self.exact_gradient(batch, view)
        return nested_ascent(
            uphill,
            batch.inputs,
            budget=view.budget,
            opponent=view.budget,
            steps=1,
            start=self.start(batch),
        )


@dataclass(kw_only=True)
class LevelK(LevelKOptions, UtilityAttacker):
    """Nested PGD against the level-(k - 1) defender that it expects (Remark 1; Table 1: level k).

    Args:
        opponent_step_size: Δ_{k-1} of the expected defender.
        opponent_epsilon: the expected defender's budget; -1 for the attacker's own.
    """

    opponent_step_size: float = INFINITE
    opponent_epsilon: float = -1.0
    _estimates: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        LevelKOptions.__post_init__(self)
        UtilityAttacker.__post_init__(self)
        check_steps(1, self.opponent_step_size, infinite=True)
        if self.opponent_epsilon != -1 and not 0 <= self.opponent_epsilon < INFINITE:
            raise ValueError(
                f"opponent_epsilon is a radius, finite and at least 0, or -1 for the attacker's own, not "
                f"{self.opponent_epsilon}"
            )
        self._estimates = not (self.steps or self.smoothness)

    @property
    def fixed(self) -> bool:
        """Whether the move is a fixed program, which it is once the number of steps is known."""
        known = self.steps > 0 or self.smoothness > 0
        return known and self.utility == "linearised" and self.goal == "untargeted"

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the level-k attack at the live parameters."""
        expected = view.budget.epsilon if self.opponent_epsilon < 0 else self.opponent_epsilon
        opponent = replace(view.budget, epsilon=expected)
        if self.utility == "exact":
            return nested_ascent(
                self.exact_gradient(batch, view),
                batch.inputs,
                budget=view.budget,
                opponent=opponent,
                steps=self.count(self.k, view),
                step_size=self.step_size,
                opponent_step_size=self.opponent_step_size,
                share=self.share,
                start=self.start(batch),
            )
        return level_k_attack(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=self.gradient(batch, view),
            budget=view.budget,
            opponent=opponent,
            steps=self.count(self.k, view),
            learning_rate=view.learning_rate,
            step_size=self.step_size,
            opponent_step_size=self.opponent_step_size,
            share=self.share,
            start=self.start(batch),
            loss=view.loss,
        )

    @property
    def remembers(self) -> bool:
        """Whether the player has state: a momentum history, or an M estimated at the first batch."""
        return self._estimates or super().remembers

    def state_dict(self) -> dict[str, Tensor]:
        """Return the momentum history and M."""
        return LevelKOptions.state_dict(self) | GradientAttacker.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the momentum history and M."""
        LevelKOptions.load_state_dict(self, state)
        GradientAttacker.load_state_dict(self, {key: state[key] for key in state.keys() - {"smoothness"}})
