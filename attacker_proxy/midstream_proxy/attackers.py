"""The attackers, as thin, stateful shells round the strategies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from midstream.curvature import InverseHessian
from midstream.exact import UtilityOption, exact_gradient
from midstream.gradients import Gradient
from midstream.level_k import INFINITE, SHARE, at_least_2, check_steps, level_k_attack, nested_ascent
from midstream.momentum import MomentumHistory
from midstream.objective import Goal, Objective, check_goal, objective
from midstream.players import Batch, View
from midstream.second_order import level_2_vector, optimal_contraction_vector
from midstream.smoothness import StepRule
from midstream.strategies import level_0, level_1_attack


class NoAttack:
    """Let every batch pass (the null strategy, section 4; Table 1: level 0)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)


@dataclass(kw_only=True)
class GradientAttacker:
    """What every attacker along a gradient has in common: a memory, and a loss that it raises.

    Args:
        beta: weight of the last perturbation of the same input (paper A.1.1); 0 forgets.
        validation: `public`, the run's validation set, or `minibatch`, for an attacker that has none and puts
            the clean batch in its place (paper A.2.4).
        goal: `untargeted`; `conversion` of other classes to the target, or `evasion` of it (paper 6.4).
        target: index of the target class; -1 for none.
    """

    beta: float = 0.95
    validation: Literal["public", "minibatch"] = "public"
    goal: Goal = "untargeted"
    target: int = -1
    history: MomentumHistory = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_goal(self.goal, self.target)
        self.history = MomentumHistory(self.beta)

    @property
    def remembers(self) -> bool:
        """Whether there is a history: without momentum each move is made afresh."""
        return self.beta > 0

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return the `u` in parameter space that each input is moved against, along `-B_x u`."""
        raise NotImplementedError

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the attack as it would be without memory."""
        return level_1_attack(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=self.vector(batch, view),
            budget=view.budget,
            loss=view.loss,
        )

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `Proj(β δᴴ(x) + (1 - β) δ*)`, in pixel units."""
        return self.history.blend(batch.inputs, self.fresh(batch, view), view.budget)

    def validation_set(self, batch: Batch, view: View) -> tuple[Tensor, Tensor]:
        """Return the examples that stand for Dval, inputs and labels."""
        if self.validation == "minibatch":
            return batch.inputs, batch.labels
        return view.validation_inputs, view.validation_labels

    def objective(self, batch: Batch, view: View) -> Objective:
        """Return the loss that is raised."""
        found = objective(self.goal, *self.validation_set(batch, view), target=self.target)
        if self.validation == "public" and len(found.labels) == 0:
            raise ValueError(f"no validation example is there for {self.goal} of class {self.target}")
        return found

    def gradient(self, batch: Batch, view: View) -> Gradient:
        """Return v of the loss that is raised."""
        if self.validation == "public" and self.goal == "untargeted":
            return view.validation_gradient()  # common knowledge, which the server may have computed
        return self.objective(batch, view).gradient(view.model, loss=view.loss)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the history."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a history."""
        self.history.load_state_dict(state)


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

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return v."""
        return self.gradient(batch, view)

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the level-1 attack at the live parameters."""
        if self.utility == "linearised":
            return super().fresh(batch, view)
        uphill = self.exact_gradient(batch, view)
        return nested_ascent(uphill, batch.inputs, budget=view.budget, opponent=view.budget, steps=1)


@dataclass(kw_only=True)
class Conversion(Level1):
    """`δ* = -e(B_x v)`, v of `-Σ L(z, target)`: others pass for it (section 6.4; Table 1: level 1)."""

    goal: Goal = field(default="conversion", init=False)


@dataclass(kw_only=True)
class Evasion(Level1):
    """`δ* = -e(B_x v)`, v of the target's own loss: it passes for others (section 6.4; Table 1: level 1)."""

    goal: Goal = field(default="evasion", init=False)


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
        check_steps(self.steps or 1, self.step_size, self.opponent_step_size, self.share)
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


@dataclass(kw_only=True)
class Level2ClosedForm(GradientAttacker):
    """`δ* = -e(B_x [v - η H Σ_j ∇θ L(x_j)])`: as ε goes to 0 (Theorem 2, Corollary 3; Table 1: level 2).

    Args:
        learning_rate: η; 0 takes the run's.
    """

    learning_rate: float = 0.0

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return `v - η H Σ_j ∇θ L(x_j)`."""
        raised = self.objective(batch, view)
        return level_2_vector(
            view.model,
            batch.inputs,
            batch.labels,
            raised.inputs,
            raised.labels,
            learning_rate=self.learning_rate or view.learning_rate,
            validation_gradient=self.gradient(batch, view),
            sign=raised.sign,
            loss=view.loss,
        )


@dataclass(kw_only=True)
class Influence(InverseHessian, GradientAttacker):
    """`δ* = -e(B_x H⁻¹ v)`: the influence function (IF, eq. 8; Table 1: level 2)."""

    def __post_init__(self) -> None:
        InverseHessian.__post_init__(self)
        GradientAttacker.__post_init__(self)

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return `H⁻¹ v`, H that of the validation loss whatever the goal."""
        return self.influence(view, *self.validation_set(batch, view), self.gradient(batch, view))


@dataclass(kw_only=True)
class OptimalContraction(Influence):
    """`δ* = -e(B_x [H⁻¹ v - η Σ_j ∇θ L(x_j)])`: optimal contraction (Corollary 1; Table 1: level 2).

    Args:
        learning_rate: η; 0 takes the run's.
    """

    learning_rate: float = 0.0

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return `H⁻¹ v - η Σ_j ∇θ L(x_j)`."""
        return optimal_contraction_vector(
            view.model,
            batch.inputs,
            batch.labels,
            super().vector(batch, view),
            learning_rate=self.learning_rate or view.learning_rate,
            loss=view.loss,
        )
