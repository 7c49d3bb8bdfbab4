"""Products with the input Hessian of a loss, and its top eigenvector by power iteration."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp

from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.by_formula import differentiable
from midstream.mathematics.derivatives.forward_mode import forward_mode
from midstream.mathematics.derivatives.functional import (
    T,
    functional_call,
    holding,
    refuse_coupled_examples,
)
from midstream.mathematics.derivatives.known_orders import order_of
from midstream.mathematics.derivatives.orders import Order, Vector, curved
from midstream.mathematics.loss import Loss, cross_entropy

Product = Callable[[Tensor], Tensor]
"""`d ↦ H d` with a symmetric H for each example; maps `(batch, *input)` to the same shape."""

SPHERE = Budget(1.0, "l2")


_ORDERS: tuple[Order, ...] = ("forward-over-reverse", "double-backward", "reverse-over-forward")


def loss_hessian(model: nn.Module, inputs: Tensor, labels: Tensor, *, loss: Loss = cross_entropy) -> Product:
    """Return `d ↦ ∇²x L_θ(x) d` at `inputs`, exact; by forward over reverse if that order is right.

    Raises:
        midstream.DerivativeError: no order is right; see `midstream.check_derivatives`.
    """
    refuse_coupled_examples(model)
    x = inputs.detach()
    order = order_of(model, x, labels, loss=loss, orders=_ORDERS)
    at = {name: value.detach() for name, value in model.named_parameters()}

    def of_inputs(place: Vector, _: Tensor) -> Tensor:
        return loss(functional_call(model, at, (place["x"],)), labels)

    def within(parameters: Vector, work: Callable[[], T]) -> T:  # noqa: ARG001
        return holding(model, at, work)

    def product(direction: Tensor) -> Tensor:
        with differentiable(model):
            return curved(order, of_inputs, {"x": x}, {"x": direction}, x, within=within)["x"]

    return product


def divergence_hessian(model: nn.Module, inputs: Tensor) -> Product:
    """Return `d ↦ JᵀFJ d`, the Hessian of `r ↦ KL(p(x) ‖ p(x + r))` at `r = 0`, exactly.

    J is the Jacobian of the logits with respect to the input, and `F = diag(p) - ppᵀ`. The divergence and its
    gradient are 0 at `r = 0`, so no other term remains. It needs no labels. `Jd` is computed in forward mode;
    for a model without forward mode it is the derivative of `Jᵀw` with respect to w.

    Raises:
        midstream.DerivativeError: the model's derivatives are wrong; see `midstream.check_derivatives`.
    """
    refuse_coupled_examples(model)
    x = inputs.detach()
    at = {name: value.detach() for name, value in model.named_parameters()}

    def logits(place: Tensor) -> Tensor:
        return functional_call(model, at, (place,))

    with torch.no_grad():
        predicted = logits(x).argmax(dim=1)
    forward = order_of(model, x, predicted) != "double-backward"

    def product(direction: Tensor) -> Tensor:
        with differentiable(model):
            if not forward:
                return holding(model, at, lambda: _backward_twice(logits, x, direction))
            with forward_mode():
                found, moved = jvp(logits, (x,), (direction,))[:2]
            pulled: Tensor = vjp(logits, x)[1](_weighted(found, moved))[0]
            return pulled.detach()

    return product


def _backward_twice(logits: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> Tensor:
    with torch.enable_grad():
        here = x.clone().requires_grad_()
        found = logits(here)
        weights = torch.zeros_like(found).requires_grad_()
        pulled = torch.autograd.grad(found, here, weights, create_graph=True)[0]
        moved = torch.autograd.grad(pulled, weights, direction, retain_graph=True)[0]
        return torch.autograd.grad(found, here, _weighted(found.detach(), moved))[0]


def _weighted(logits: Tensor, moved: Tensor) -> Tensor:
    shares = logits.softmax(dim=1)
    return shares * (moved - (shares * moved).sum(dim=1, keepdim=True))


def largest_eigenvector(product: Product, start: Tensor, iterations: int) -> Tensor:
    """Return each example's unit vector after `d ← Hd / ‖Hd‖₂`, `iterations` times, from `start`.

    It approaches the eigenvector whose eigenvalue is largest in magnitude. It is 0 for an example whose H is
    0.

    >>> import torch
    >>> h = torch.diag(torch.tensor([3.0, -5.0, 1.0]))
    >>> largest_eigenvector(lambda d: d @ h, torch.ones(1, 3), 40).abs().round(decimals=3)
    tensor([[0., 1., 0.]])
    """
    found = SPHERE.direction(start)
    for _ in range(iterations):
        found = SPHERE.direction(product(found))
    return found


def curvature_along(product: Product, directions: Tensor) -> Tensor:
    """Return `⟨d, H d⟩` of each example, `(batch,)`."""
    return (directions * product(directions)).flatten(1).sum(dim=1)
