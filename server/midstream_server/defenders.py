"""The defenders, as thin shells round the strategies."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from midstream.curvature import InverseHessian, check_learning_rate
from midstream.exact import UtilityOption, exact_gradient
from midstream.gradients import Gradient
from midstream.level_k import INFINITE, SHARE, at_least_2, check_steps, descent, level_k_defense
from midstream.objective import Objective
from midstream.players import Batch, View
from midstream.second_order import level_2_vector, optimal_contraction_vector
from midstream.smoothness import StepRule
from midstream.strategies import level_0, level_1_defense


class NoDefense:
    """Train on what arrives (the null strategy, section 4; Table 1: level 0)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)


class VectorDefender:
    """A defence along `B_x' u`, for some `u` in parameter space."""

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return u."""
        raise NotImplementedError

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `ε e(B_x' u)` at the live parameters."""
        return level_1_defense(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=self.vector(batch, view),
            budget=view.budget,
            loss=view.loss,
        )


@dataclass(kw_only=True)
class Level1(UtilityOption, VectorDefender):
    """`σ = e(B_x' v)`: the step lowers the validation loss, to first order (Theorem 1; Table 1: level 1)."""

    def vector(self, batch: Batch, view: View) -> Gradient:  # noqa: ARG002
        """Return v."""
        return view.validation_gradient()

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the level-1 correction at the live parameters."""
        if self.utility == "linearised":
            return super().perturb(batch, view)
        return descent(_uphill(batch, view), batch.inputs, budget=view.budget, steps=1)


@dataclass(kw_only=True)
class LevelK(StepRule, UtilityOption):
    """PGD on the utility at the inputs that arrived (Remark 2; Table 1: level k).

    Args:
        k: the level, at least 2.
        step_size: Δ_k; infinite in the paper's practice.
        share: how far an infinite step after the first moves, as a share of ε; inf is the paper's practice.
    """

    k: int
    step_size: float = INFINITE
    share: float = SHARE

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_2(self.k)
        check_steps(self.steps or 1, self.step_size, self.share, infinite=True)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the level-k correction at the live parameters."""
        if self.utility == "exact":
            return descent(
                _uphill(batch, view),
                batch.inputs,
                budget=view.budget,
                steps=self.count(self.k, view),
                step_size=self.step_size,
                share=self.share,
            )
        return level_k_defense(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=view.validation_gradient(),
            budget=view.budget,
            steps=self.count(self.k, view),
            learning_rate=view.learning_rate,
            step_size=self.step_size,
            share=self.share,
            loss=view.loss,
        )


@dataclass(kw_only=True)
class Level2ClosedForm(VectorDefender):
    """`σ = e(B_x' [v - η H Σ_j ∇θ L(x'_j)])`: as ε goes to 0 (Theorem 2, Corollary 3; Table 1: level 2).

    Args:
        learning_rate: η; 0 takes the run's.
    """

    learning_rate: float = 0.0

    def __post_init__(self) -> None:
        check_learning_rate(self.learning_rate)

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return `v - η H Σ_j ∇θ L(x'_j)`."""
        return level_2_vector(
            view.model,
            batch.inputs,
            batch.labels,
            view.validation_inputs,
            view.validation_labels,
            learning_rate=self.learning_rate or view.learning_rate,
            validation_gradient=view.validation_gradient(),
            loss=view.loss,
        )


@dataclass(kw_only=True)
class Influence(InverseHessian, VectorDefender):
    """`σ = e(B_x' H⁻¹ v)`: the influence function (IF, eq. 8; Table 1: level 2)."""

    def vector(self, batch: Batch, view: View) -> Gradient:  # noqa: ARG002
        """Return `H⁻¹ v`."""
        return self.influence(
            view, view.validation_inputs, view.validation_labels, view.validation_gradient()
        )


@dataclass(kw_only=True)
class OptimalContraction(Influence):
    """`σ = e(B_x' [H⁻¹ v - η Σ_j ∇θ L(x'_j)])`: optimal contraction (Corollary 1; Table 1: level 2).

    Args:
        learning_rate: η; 0 takes the run's.
    """

    learning_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learning_rate(self.learning_rate)

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return `H⁻¹ v - η Σ_j ∇θ L(x'_j)`."""
        return optimal_contraction_vector(
            view.model,
            batch.inputs,
            batch.labels,
            super().vector(batch, view),
            learning_rate=self.learning_rate or view.learning_rate,
            loss=view.loss,
        )


def _uphill(batch: Batch, view: View) -> Callable[[Tensor], Tensor]:
    return exact_gradient(batch, view, Objective(view.validation_inputs, view.validation_labels))
