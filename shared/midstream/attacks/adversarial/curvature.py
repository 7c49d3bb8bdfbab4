"""The direction of the loss's largest curvature, which curvature regularisation trains against."""

from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.attacks.adversarial.power_iteration import largest_eigenvector, loss_hessian
from midstream.mathematics.budget import per_example
from midstream.mathematics.derivatives.input_gradient import input_gradient
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class Curvature:
    """Along the loss's largest curvature (after CURE, Moosavi-Dezfooli et al. 2019; Table 1: level 2).

    CURE trains the model to keep `‖∇L(x + hz) - ∇L(x)‖` small. Its z is the normalised sign of the gradient,
    which the authors show to lie along the Hessian's top eigenvectors. The attack derived from it is `±ε d`.
    d is the eigenvector of the largest curvature in magnitude, found by power iteration with the exact
    Hessian from that z; the sign is the one that raises the loss. In the L∞ game the attack uses the signs of
    d.

    Args:
        iterations: iterations of power iteration.
    """

    iterations: int = 5

    def __post_init__(self) -> None:
        check_steps(self.iterations)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `±ε e(d)`."""
        gradient = input_gradient(view.model, batch.inputs, batch.labels, loss=view.loss)
        product = loss_hessian(view.model, batch.inputs, batch.labels, loss=view.loss)
        bent = largest_eigenvector(product, gradient.sign(), self.iterations)
        slope = (bent * gradient).flatten(1).sum(dim=1)
        uphill = bent * per_example(torch.where(slope < 0, -1.0, 1.0).to(bent), bent)
        return view.budget.epsilon * view.budget.direction(uphill)
