"""Products `H u` with the Hessian in parameter space; `H` itself is neither formed nor inverted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_statistics import refuse_other_coupling
from midstream.mathematics.derivatives.by_formula import differentiable
from midstream.mathematics.derivatives.chunk_size import chunk_size_of
from midstream.mathematics.derivatives.functional import (
    functional_call,
    holding,
    trainable,
    warn_of_random_layers,
)
from midstream.mathematics.derivatives.gradients import CHUNK, Gradient, along
from midstream.mathematics.derivatives.known_orders import order_of
from midstream.mathematics.derivatives.orders import Order, Vector, curved
from midstream.mathematics.derivatives.parts import of_set
from midstream.mathematics.loss import Loss, cross_entropy


def hessian_vector_product(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    vector: Gradient,
    *,
    loss: Loss = cross_entropy,
    chunk_size: int | None = None,
    order: Order | None = None,
) -> Gradient:
    """Return `H u = ∇θ ⟨∇θ L_θ, u⟩` with `H = Σ_{z∈Dval} ∇²θ L_θ(z)` (paper 4.3), exactly.

    As in `midstream.mixed_derivative`, the two derivatives are taken in the cheapest order that is correct
    for the model. If that is reverse over forward, one product costs about as much as two validation
    gradients. The products over chunks of the set are summed, so the memory needed does not depend on the
    number of examples. Call it in evaluation mode, for the reason given in `midstream.mixed_derivative`.
    If the model's batch norm trains, this is the Hessian of the loss whose gradient is `v`.

    Args:
        model: any module; it is not changed.
        inputs: the validation inputs, `(examples, *input)`.
        labels: their targets, `(examples,)`.
        vector: `u`, one tensor for each trainable parameter.
        loss: a loss that sums over its batch.
        chunk_size: examples at a time. None takes the number chosen for the model, or 250.
        order: the order of the two derivatives, which is not checked; None uses the cheapest correct one.

    Raises:
        DerivativeError: the model's derivatives are correct in no order; the message names the layer.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> u = {"weight": torch.ones(2, 2)}
    >>> hessian_vector_product(model, torch.eye(2), torch.tensor([0, 1]), u)["weight"].shape
    torch.Size([2, 2])
    """
    refuse_other_coupling(model)
    warn_of_random_layers(model)
    parameters = {name: value.detach() for name, value in trainable(model).items()}
    tangents = along(vector, parameters)
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    size = chunk_size_of(model, chunk_size) or CHUNK
    with of_set(model, inputs.detach(), labels, size) as parts, differentiable(model):
        for x, y in parts:

            def chunk_loss(at: Vector, z: Tensor, y: Tensor = y) -> Tensor:
                return loss(functional_call(model, at, (z,)), y)

            chosen = order_of(model, x, y, loss=loss) if order is None else order
            within = partial(holding, model)
            for name, product in curved(chosen, chunk_loss, parameters, tangents, x, within=within).items():
                total[name] += product
    return total


@dataclass(frozen=True)
class Solution:
    """Result of `conjugate_gradients`.

    Attributes:
        vector: the approximate solution.
        residual: `‖(H + λI) x - b‖ / ‖b‖`, computed by the recurrence.
        iterations: number of products with `H`.
        negative_curvature: whether a direction `p` with `pᵀ(H + λI) p ≤ 0` ended the iteration; a larger
            damping is needed to continue.
    """

    vector: Gradient
    residual: float
    iterations: int
    negative_curvature: bool


def conjugate_gradients(
    product: Callable[[Gradient], Gradient],
    right: Gradient,
    *,
    damping: float,
    max_iterations: int = 20,
    tolerance: float = 1e-3,
) -> Solution:
    """Solve `(H + λI) x = b` by conjugate gradients (paper 4.3, after influence functions).

    The `H` of a network is indefinite, so the method does not converge without damping. It stops at the first
    direction of negative curvature, and the solution reports this. If that is the first direction, `b`, then
    `x` is `b` itself.

    Args:
        product: the function `u → H u`.
        right: `b`.
        damping: λ ≥ 0; for an indefinite `H`, about the magnitude of its most negative eigenvalue.
        max_iterations: upper limit on products.
        tolerance: relative residual at which to stop.

    >>> matrix = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> found = conjugate_gradients(lambda u: {"w": matrix @ u["w"]}, {"w": torch.ones(2)}, damping=0.0)
    >>> found.vector["w"]
    tensor([0.5000, 0.2500])
    """
    x = {name: torch.zeros_like(value) for name, value in right.items()}
    r = {name: value.clone() for name, value in right.items()}
    p = dict(r)
    start = squared = inner(r, r)
    if start == 0:
        return Solution(x, 0.0, 0, negative_curvature=False)
    for iteration in range(max_iterations):
        image = product(p)
        image = {name: value + damping * p[name] for name, value in image.items()}
        curvature = inner(p, image)
        if curvature <= 0:
            if iteration == 0:
                x = dict(r)
                left = {name: value - r[name] for name, value in image.items()}
                squared = inner(left, left)
            return Solution(x, (squared / start) ** 0.5, iteration + 1, negative_curvature=True)
        alpha = squared / curvature
        x = {name: value + alpha * p[name] for name, value in x.items()}
        r = {name: value - alpha * image[name] for name, value in r.items()}
        previous, squared = squared, inner(r, r)
        if squared <= tolerance**2 * start:
            return Solution(x, (squared / start) ** 0.5, iteration + 1, negative_curvature=False)
        p = {name: value + squared / previous * p[name] for name, value in r.items()}
    return Solution(x, (squared / start) ** 0.5, max_iterations, negative_curvature=False)


def inner(a: Gradient, b: Gradient) -> float:
    """Return the inner product of two vectors in parameter space, in double precision."""
    # In single precision, the squares of a well-trained model's gradients underflow.
    return sum(float((value.double() * b[name].double()).sum()) for name, value in a.items())
