"""The attackers, as thin, stateful shells round the strategies."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from midstream.level_k import INFINITE, at_least_2, check_steps, level_k_attack, steps_by_rule
from midstream.momentum import MomentumHistory
from midstream.players import Batch, View
from midstream.second_order import level_2_vector
from midstream.strategies import level_0, level_1_attack


class NoAttack:
    """Let every batch pass (level 0)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)


class WithMomentum:
    """An attack whose perturbations are blended with what was last done to the same input (paper A.1.1).

    Args:
        beta: weight of the last perturbation; 0 forgets.
    """

    def __init__(self, *, beta: float = 0.95) -> None:
        self.history = MomentumHistory(beta)

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the attack as it would be without memory."""
        raise NotImplementedError

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `Proj(β δᴴ(x) + (1 - β) δ*)`, in pixel units."""
        return self.history.blend(batch.inputs, self.fresh(batch, view), view.budget)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the history."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a history."""
        self.history.load_state_dict(state)


class Level1(WithMomentum):
    """`δ* = -e(B_x v)`: raise the validation loss after the step, to first order (Theorem 1)."""

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the level-1 attack at the live parameters."""
        return level_1_attack(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=view.validation_gradient(),
            budget=view.budget,
            loss=view.loss,
        )


class LevelK(WithMomentum):
    """Nested PGD against the defender of level k - 1 that it expects (Remark 1).

    Args:
        k: the level, at least 2.
        steps: PGD steps; 0 takes them from the paper's rule.
        step_size: Δ_k; infinite in the paper's practice.
        opponent_step_size: Δ_{k-1} of the defender it expects.
        opponent_epsilon: the budget it expects the defender to have; -1 for its own.
        smoothness: M of the rule; the paper estimates 0.203 for MNIST.
        c: c of the rule; 2 for MNIST.
        beta: weight of the last perturbation of the same input; 0 forgets.
    """

    def __init__(
        self,
        *,
        k: int,
        steps: int = 0,
        step_size: float = INFINITE,
        opponent_step_size: float = INFINITE,
        opponent_epsilon: float = -1.0,
        smoothness: float = 0.203,
        c: float = 2.0,
        beta: float = 0.95,
    ) -> None:
        super().__init__(beta=beta)
        self.k = at_least_2(k)
        check_steps(steps or 1, step_size, opponent_step_size)
        self.steps = steps
        self.step_size = step_size
        self.opponent_step_size = opponent_step_size
        self.opponent_epsilon = opponent_epsilon
        self.smoothness = smoothness
        self.c = c

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the level-k attack at the live parameters."""
        expected = view.budget.epsilon if self.opponent_epsilon < 0 else self.opponent_epsilon
        rule = steps_by_rule(self.k, smoothness=self.smoothness, epsilon=view.budget.epsilon, c=self.c)
        return level_k_attack(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=view.validation_gradient(),
            budget=view.budget,
            opponent=replace(view.budget, epsilon=expected),
            steps=self.steps or rule,
            learning_rate=view.learning_rate,
            step_size=self.step_size,
            opponent_step_size=self.opponent_step_size,
            loss=view.loss,
        )


class Level2ClosedForm(WithMomentum):
    """`δ* = -e(B_x [v - η H Σ_j ∇θ L(x_j)])`: level 2 as ε goes to 0 (Theorem 2, Corollary 3)."""

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the closed form of level 2 at the live parameters."""
        vector = level_2_vector(
            view.model,
            batch.inputs,
            batch.labels,
            view.validation_inputs,
            view.validation_labels,
            learning_rate=view.learning_rate,
            validation_gradient=view.validation_gradient(),
            loss=view.loss,
        )
        return level_1_attack(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=vector,
            budget=view.budget,
            loss=view.loss,
        )
