"""Virtual adversarial training's direction, along which the model's prediction changes fastest."""

from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.attacks.adversarial.power_iteration import divergence_hessian, largest_eigenvector
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class Vat:
    """Along the top eigenvector of the prediction's divergence (VAT, Miyato et al. 2018; Table 1: level 2).

    `ε d`, with d the direction in which `KL(p(x) ‖ p(x + r))` grows fastest to second order, found by power
    iteration from a random start. It uses no labels. The original approximates each product with the Hessian
    by a finite difference at distance ξ; here the product is exact. In the L∞ game the attack uses the signs
    of d.

    Args:
        iterations: iterations of power iteration; the original takes 1.
    """

    iterations: int = 1

    def __post_init__(self) -> None:
        check_steps(self.iterations)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `ε e(d)`."""
        start = torch.randn(batch.inputs.shape, generator=view.generator(batch.seq)).to(batch.inputs)
        product = divergence_hessian(view.model, batch.inputs)
        return view.budget.epsilon * view.budget.direction(
            largest_eigenvector(product, start, self.iterations)
        )
