"""Where the loss bends most: what curvature regularisation trains against."""

from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.attacks.input_gradient import input_gradient
from midstream.attacks.power_iteration import largest_eigenvector, loss_hessian
from midstream.mathematics.budget import per_example
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class Curvature:
    """Along the loss's largest curvature (after CURE, Moosavi-Dezfooli et al. 2019; Table 1: level 2).

    CURE trains so that `‖∇L(x + hz) - ∇L(x)‖` is small, z the normalised signs of the gradient, which they
    show to lie along the Hessian's top eigenvectors. The attack built of it is `±ε d`, d the eigenvector of
    largest curvature in magnitude, by power iteration with the exact Hessian from that z, the sign such that
    the loss rises. The L∞ ball takes the signs of d.

    Args:
        iterations: of power iteration.
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
