"""The vector in parameter space that an R2T2 player follows when it moves each input."""

from dataclasses import dataclass

from torch import Tensor

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.objective import Objective
from midstream.mathematics.second_order import level_2_vector, optimal_contraction_vector
from midstream.players.interface import Batch, View
from midstream.players.r2t2.inverse_hessian import InverseHessian


class FollowsGradient:
    """Follows `v`, the gradient of the validation loss: level 1, and the base of the closed forms.

    Both sides move each input along `B_x u`: the attacker in the direction `-B_x u`, the defender in the
    direction `B_x u`. A subclass overrides `vector` to choose `u`. An attacker overrides the other methods to
    follow a different loss or a different set of examples.
    """

    def validation_set(self, batch: Batch, view: View) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return the examples used as Dval: inputs and labels."""
        return view.validation_inputs, view.validation_labels

    def objective(self, batch: Batch, view: View) -> Objective:
        """Return the loss in the utility."""
        return Objective(*self.validation_set(batch, view))

    def gradient(self, batch: Batch, view: View) -> Gradient:  # noqa: ARG002
        """Return `v`, the gradient of the loss in the utility."""
        return view.validation_gradient()

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return `u`, one tensor for each trainable parameter."""
        return self.gradient(batch, view)


@dataclass(kw_only=True)
class FollowsLevel2(FollowsGradient):
    """Follows `v - η H Σ_j ∇θ L(x_j)`, level 2 as ε goes to 0 (Theorem 2, Corollary 3).

    Args:
        learning_rate: η; 0 uses the run's.
    """

    learning_rate: float = 0.0

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return `v - η H Σ_j ∇θ L(x_j)`."""
        followed = self.objective(batch, view)
        return level_2_vector(
            view.model,
            batch.inputs,
            batch.labels,
            followed.inputs,
            followed.labels,
            learning_rate=self.learning_rate or view.learning_rate,
            validation_gradient=self.gradient(batch, view),
            sign=followed.sign,
            loss=view.loss,
        )


@dataclass(kw_only=True)
class FollowsInfluence(InverseHessian, FollowsGradient):
    """Follows `H⁻¹ v`, the influence function (eq. 8); H is the validation loss's, whatever the goal."""

    def vector(self, batch: Batch, view: View) -> Gradient:
        """Return `H⁻¹ v`."""
        return self.influence(view, *self.validation_set(batch, view), self.gradient(batch, view))


@dataclass(kw_only=True)
class FollowsContraction(FollowsInfluence):
    """Follows `H⁻¹ v - η Σ_j ∇θ L(x_j)`, optimal contraction (Corollary 1).

    Args:
        learning_rate: η; 0 uses the run's.
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
