"""Three orders of taking a second derivative. They agree except where torch lacks a correct rule.

With `L(θ, x)` a scalar and u a constant vector in parameter space, each order gives `∇x ⟨∇θ L, u⟩` and
`∇θ ⟨∇θ L, u⟩`:

- reverse over forward: a forward-mode pass computes `⟨∇θ L, u⟩`, and a backward pass its gradient. This is
  the cheapest order. It is wrong if torch's forward-mode rule of a layer is written by hand and cannot be
  differentiated itself, as for layer norm.
- double backward: a backward pass computes `∇θ L`, and a second one the gradient of `⟨∇θ L, u⟩`.
- forward over reverse: the derivative along u of the backward pass that computes `∇x L` or `∇θ L`. Some
  layers have no forward-mode rule for their backward pass.
"""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor
from torch.func import grad, jvp

from midstream.mathematics.derivatives.forward_mode import forward_mode

Order = Literal["reverse-over-forward", "double-backward", "forward-over-reverse"]
"""The order in which the two derivatives are taken."""

ORDERS: tuple[Order, ...] = ("reverse-over-forward", "double-backward", "forward-over-reverse")
"""All orders, cheapest first."""

Vector = Mapping[str, Tensor]
"""A vector in parameter space."""

Function = Callable[[Vector, Tensor], Tensor]
"""`(θ, x) -> L`, a scalar."""

T = TypeVar("T")


class Within(Protocol):
    """Calls a function while a model holds θ; see `midstream.mathematics.derivatives.functional.holding`."""

    def __call__(self, parameters: Vector, work: Callable[[], T]) -> T:
        """Call `work` and return its result."""


def anywhere(parameters: Vector, work: Callable[[], T]) -> T:  # noqa: ARG001
    """Call `work` without placing parameters in a model."""
    return work()


def mixed(
    order: Order,
    function: Function,
    at: Vector,
    along: Vector,
    inputs: Tensor,
    *,
    within: Within = anywhere,
) -> Tensor:
    """Return `∇x ⟨∇θ L, u⟩`, shaped like the inputs.

    Args:
        order: the order of the two derivatives.
        function: L.
        at: θ.
        along: u, one tensor for each tensor of θ.
        inputs: x.
        within: runs the double backward, with the model at θ.

    >>> x, at = torch.tensor([1.0, 2.0]), {"w": torch.tensor([3.0, 5.0])}
    >>> u = {"w": torch.tensor([1.0, 1.0])}
    >>> [mixed(order, lambda p, z: (p["w"] * z).square().sum(), at, u, x).tolist() for order in ORDERS]
    [[12.0, 40.0], [12.0, 40.0], [12.0, 40.0]]
    """
    if order == "double-backward":
        x = inputs.detach().clone().requires_grad_()
        theta = _leaves(at)
        return within(theta, lambda: _backward_twice(function, theta, along, x, [x]))[0]
    at, along = dict(at), dict(along)
    if order == "reverse-over-forward":

        def slope(z: Tensor) -> Tensor:
            found: Tensor = jvp(lambda theta: function(theta, z), (at,), (along,))[1]
            return found

        with forward_mode():
            derivative: Tensor = grad(slope)(inputs)
        return derivative

    def by_input(theta: Vector) -> Tensor:
        found: Tensor = grad(lambda z: function(theta, z))(inputs)
        return found

    with forward_mode():
        product: Tensor = jvp(by_input, (at,), (along,))[1]
    return product.detach()


def curved(
    order: Order,
    function: Function,
    at: Vector,
    along: Vector,
    inputs: Tensor,
    *,
    within: Within = anywhere,
) -> dict[str, Tensor]:
    """Return `H u = ∇θ ⟨∇θ L, u⟩`, one tensor for each tensor of θ; the arguments are those of `mixed`.

    >>> x, at = torch.tensor([1.0, 2.0]), {"w": torch.tensor([3.0, 5.0])}
    >>> u = {"w": torch.tensor([1.0, 1.0])}
    >>> [curved(order, lambda p, z: (p["w"] * z).square().sum(), at, u, x)["w"].tolist() for order in ORDERS]
    [[2.0, 8.0], [2.0, 8.0], [2.0, 8.0]]
    """
    if order == "double-backward":
        theta = _leaves(at)
        wanted = list(theta.values())
        found = within(theta, lambda: _backward_twice(function, theta, along, inputs, wanted))
        return dict(zip(theta, found, strict=True))
    at, along = dict(at), dict(along)
    if order == "reverse-over-forward":

        def slope(theta: Vector) -> Tensor:
            found: Tensor = jvp(lambda moved: function(moved, inputs), (theta,), (along,))[1]
            return found

        with forward_mode():
            derivative: dict[str, Tensor] = grad(slope)(at)
        return derivative

    def by_parameters(theta: Vector) -> dict[str, Tensor]:
        found: dict[str, Tensor] = grad(lambda moved: function(moved, inputs))(theta)
        return found

    with forward_mode():
        product: dict[str, Tensor] = jvp(by_parameters, (at,), (along,))[1]
    return {name: value.detach() for name, value in product.items()}


def _leaves(at: Vector) -> dict[str, Tensor]:
    return {name: value.detach().requires_grad_() for name, value in at.items()}


def _backward_twice(
    function: Function, theta: Vector, along: Vector, inputs: Tensor, wanted: list[Tensor]
) -> list[Tensor]:
    with torch.enable_grad():
        value = function(theta, inputs)
        leaves = list(theta.values())
        gradient = torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)
        products = [(g * along[n].detach()).sum() for n, g in zip(theta, gradient, strict=True)]
        total = torch.stack(products).sum()
        if not total.requires_grad:  # the loss is linear in θ
            return [torch.zeros_like(one) for one in wanted]
        return list(torch.autograd.grad(total, wanted, materialize_grads=True))
