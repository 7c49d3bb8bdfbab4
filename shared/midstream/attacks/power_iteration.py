"""Products with the Hessian of a loss by its inputs, and its largest eigenvector by power iteration."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.func import grad, jvp, vjp

from midstream.budget import Budget
from midstream.gradients import load_forward_mode, refuse_coupled_examples
from midstream.loss import Loss, cross_entropy

Product = Callable[[Tensor], Tensor]
"""`d ↦ H d`, each example's own symmetric H, `(batch, *input)` to the same."""

SPHERE = Budget(1.0, "l2")


def loss_hessian(model: nn.Module, inputs: Tensor, labels: Tensor, *, loss: Loss = cross_entropy) -> Product:
    """Return `d ↦ ∇²x L_θ(x) d` at `inputs`, exactly: forward mode over the input gradient."""
    refuse_coupled_examples(model)
    load_forward_mode()
    x = inputs.detach()

    def gradient(at: Tensor) -> Tensor:
        found: Tensor = grad(lambda z: loss(model(z), labels))(at)
        return found

    def product(direction: Tensor) -> Tensor:
        found: Tensor = jvp(gradient, (x,), (direction,))[1]
        return found.detach()

    return product


def divergence_hessian(model: nn.Module, inputs: Tensor) -> Product:
    """Return `d ↦ JᵀFJ d`, the Hessian of `r ↦ KL(p(x) ‖ p(x + r))` at `r = 0`, exactly.

    J is the Jacobian of the logits by the input and `F = diag(p) - ppᵀ`. The divergence and its gradient are
    0 at `r = 0`, so no other term is left. It needs no labels.
    """
    refuse_coupled_examples(model)
    load_forward_mode()
    x = inputs.detach()

    def product(direction: Tensor) -> Tensor:
        logits, moved = jvp(model, (x,), (direction,))[:2]
        shares = logits.softmax(dim=1)
        weighted = shares * (moved - (shares * moved).sum(dim=1, keepdim=True))
        found: Tensor = vjp(model, x)[1](weighted)[0]
        return found.detach()

    return product


def largest_eigenvector(product: Product, start: Tensor, iterations: int) -> Tensor:
    """Return each example's unit vector after `d ← Hd / ‖Hd‖₂`, `iterations` times, from `start`.

    It nears the eigenvector whose eigenvalue is largest in magnitude; where H is 0 it is 0.

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
