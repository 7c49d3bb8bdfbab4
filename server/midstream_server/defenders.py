"""The defenders, as thin shells round the strategies."""

from torch import Tensor

from midstream.level_k import INFINITE, at_least_2, check_steps, level_k_defense, steps_by_rule
from midstream.players import Batch, View
from midstream.second_order import level_2_vector
from midstream.strategies import level_0, level_1_defense


class NoDefense:
    """Train on what arrives (level 0)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)


class Level1:
    """`x'' = x' + ε e(B_x' v)`: move each input so that the step lowers the validation loss (Theorem 1)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the level-1 correction at the live parameters."""
        return level_1_defense(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=view.validation_gradient(),
            budget=view.budget,
            loss=view.loss,
        )


class LevelK:
    """PGD on the utility at the inputs that arrived (Remark 2).

    Args:
        k: the level, at least 2.
        steps: PGD steps; 0 takes them from the paper's rule.
        step_size: Δ_k; infinite in the paper's practice.
        smoothness: M of the rule; the paper estimates 0.203 for MNIST.
        c: c of the rule; 2 for MNIST.
    """

    def __init__(
        self,
        *,
        k: int,
        steps: int = 0,
        step_size: float = INFINITE,
        smoothness: float = 0.203,
        c: float = 2.0,
    ) -> None:
        self.k = at_least_2(k)
        check_steps(steps or 1, step_size)
        self.steps = steps
        self.step_size = step_size
        self.smoothness = smoothness
        self.c = c

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the level-k correction at the live parameters."""
        rule = steps_by_rule(self.k, smoothness=self.smoothness, epsilon=view.budget.epsilon, c=self.c)
        return level_k_defense(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=view.validation_gradient(),
            budget=view.budget,
            steps=self.steps or rule,
            learning_rate=view.learning_rate,
            step_size=self.step_size,
            loss=view.loss,
        )


class Level2ClosedForm:
    """`σ = e(B_x' [v - η H Σ_j ∇θ L(x'_j)])`: level 2 as ε goes to 0 (Theorem 2, Corollary 3)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:
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
        return level_1_defense(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=vector,
            budget=view.budget,
            loss=view.loss,
        )
