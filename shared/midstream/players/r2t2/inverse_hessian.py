"""The options of players that solve a linear system with the Hessian, and their reports."""

import math
from dataclasses import dataclass

from torch import Tensor

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.second_order import influence_vector
from midstream.players.interface import View


def check_learning_rate(learning_rate: float) -> None:
    """Refuse an η that is not a step size; 0 is allowed and stands for the run's η.

    Raises:
        ValueError: it is negative, infinite or NaN.
    """
    if not 0 <= learning_rate < math.inf:
        raise ValueError(f"learning_rate must be above 0 and finite, or 0 for the run's, not {learning_rate}")


@dataclass(kw_only=True)
class InverseHessian:
    """`u → (H + λ|Dval| I)⁻¹ u` by conjugate gradients, reported in the metrics.

    Args:
        damping: λ per validation example, since H is a sum over them. On digits, the most negative eigenvalue
            measured is -0.3 to -0.4 per example early in training; on a few MNIST images, -0.3 to -10.
        max_iterations: upper limit on products with H.
        tolerance: relative residual at which to stop.
    """

    damping: float = 1.0
    max_iterations: int = 20
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.damping < math.inf:
            raise ValueError(f"damping must be finite and at least 0, not {self.damping}")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, not {self.max_iterations}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be above 0 and below 1, not {self.tolerance}")

    def influence(self, view: View, inputs: Tensor, labels: Tensor, gradient: Gradient) -> Gradient:
        """Return `H⁻¹ v`, with H over the given inputs; see `midstream.influence_vector`."""
        solution = influence_vector(
            view.model,
            inputs,
            labels,
            validation_gradient=gradient,
            damping=self.damping * len(labels),
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
            loss=view.loss,
        )
        view.report("cg_iterations", solution.iterations)
        view.report("cg_residual", solution.residual)
        view.report("cg_negative_curvature", solution.negative_curvature)
        return solution.vector
