"""Up the second-order Taylor polynomial of the loss, on the L2 sphere."""

from dataclasses import dataclass

from torch import Tensor

from midstream.attacks.input_gradient import input_gradient
from midstream.attacks.power_iteration import (
    SPHERE,
    Product,
    curvature_along,
    largest_eigenvector,
    loss_hessian,
)
from midstream.mathematics.budget import per_example
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View


def ascend_quadratic(
    gradient: Tensor, product: Product, *, radius: float, shift: Tensor, steps: int
) -> Tensor:
    """Return each example's point on the sphere that raises `q(p) = ⟨g, p⟩ + ½⟨p, Hp⟩`.

    From `p = r e(g)`, `steps` times `p ← r e(g + Hp + s p)`. With s at least `-λmin(H)` the shifted
    polynomial is convex, and equal to q on the sphere up to a constant, so q never falls from a step to the
    next.

    Args:
        gradient: g, `(batch, *input)`.
        product: `d ↦ H d`.
        radius: r.
        shift: s of each example, `(batch,)`.
        steps: how many.

    >>> import torch
    >>> h = torch.diag(torch.tensor([3.0, -1.0]))
    >>> p = ascend_quadratic(
    ...     torch.tensor([[0.1, 1.0]]), lambda d: d @ h, radius=2.0, shift=torch.tensor([1.0]), steps=200
    ... )
    >>> p.round(decimals=2)
    tensor([[1.9800, 0.2500]])
    """
    point = radius * SPHERE.direction(gradient)
    for _ in range(steps):
        point = radius * SPHERE.direction(gradient + product(point) + per_example(shift, point) * point)
    return point


@dataclass(kw_only=True)
class SecondOrder:
    """Up the loss to second order, by power iteration (after S-O, Li et al. 2018; Table 1: level 2).

    `argmax ⟨g, p⟩ + ½⟨p, Hp⟩` on the sphere of radius ε, g and H the gradient and the exact Hessian of the
    batch's own loss by the input. The cited attack leaves g out, being at a minimum of the loss; in training
    none is, so it is kept here: a power iteration with g added, and H shifted by its largest eigenvalue in
    magnitude, itself from a power iteration that starts at g, so that each step rises. The L∞ ball takes the
    signs.

    Args:
        steps: of each of the two iterations.
    """

    steps: int = 5

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the point on the ball."""
        gradient = input_gradient(view.model, batch.inputs, batch.labels, loss=view.loss)
        product = loss_hessian(view.model, batch.inputs, batch.labels, loss=view.loss)
        top = largest_eigenvector(product, gradient, self.steps)
        point = ascend_quadratic(
            gradient,
            product,
            radius=view.budget.epsilon,
            shift=curvature_along(product, top).abs(),
            steps=self.steps,
        )
        return view.budget.epsilon * view.budget.direction(point)
