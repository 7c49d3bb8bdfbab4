"""Ascent of the second-order Taylor polynomial of the loss, on the L2 sphere."""

from dataclasses import dataclass

from torch import Tensor

from midstream.attacks.adversarial.power_iteration import (
    SPHERE,
    Product,
    curvature_along,
    largest_eigenvector,
    loss_hessian,
)
from midstream.mathematics.budget import per_example
from midstream.mathematics.derivatives.input_gradient import input_gradient
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View


def ascend_quadratic(
    gradient: Tensor, product: Product, *, radius: float, shift: Tensor, steps: int
) -> Tensor:
    """Return each example's point on the sphere that raises `q(p) = ⟨g, p⟩ + ½⟨p, Hp⟩`.

    Starts at `p = r e(g)` and repeats `p ← r e(g + Hp + s p)` `steps` times. If s is at least `-λmin(H)`, the
    shifted polynomial is convex, and on the sphere it equals q up to a constant. Then no step lowers q.

    Args:
        gradient: g, `(batch, *input)`.
        product: `d ↦ H d`.
        radius: r.
        shift: s of each example, `(batch,)`.
        steps: number of steps.

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

    `argmax ⟨g, p⟩ + ½⟨p, Hp⟩` on the sphere of radius ε, with g and H the gradient and the exact Hessian of
    the batch's own loss with respect to the input. The cited attack omits g because it assumes a minimum of
    the loss. During training g is not zero, so this attack includes it: each step of the power iteration adds
    g and shifts H by its largest eigenvalue in magnitude, so that no step lowers the polynomial. A second
    power iteration, starting at g, finds that eigenvalue. In the L∞ game the attack uses the signs.

    Args:
        steps: iterations of each of the two power iterations.
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
