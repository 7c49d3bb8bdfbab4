"""Oracles that need no product with a Hessian: vectors laid out flat, and matrices formed in full."""

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from cases import Problem
from known_architectures import architecture
from torch import Tensor
from torch.func import functional_call

from midstream import Gradient


def flat(vector: Gradient) -> Tensor:
    return torch.cat([value.flatten() for value in vector.values()])


def shaped(values: Tensor, like: Gradient) -> dict[str, Tensor]:
    parts = torch.split(values, [value.numel() for value in like.values()])
    return {name: part.reshape(like[name].shape) for name, part in zip(like, parts, strict=True)}


def parameters(p: Problem) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in p.model.named_parameters()}


def random(p: Problem, seed: int) -> dict[str, Tensor]:
    """Return a vector in parameter space, the same for the same seed."""
    theta = flat(parameters(p))
    drawn = torch.randn(len(theta), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return shaped(drawn.to(theta), parameters(p))


def total_loss(p: Problem, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return `Σ_x L_θ(x)` as a function of flat parameters."""
    return F.cross_entropy(functional_call(p.model, shaped(theta, parameters(p)), (x,)), y, reduction="sum")


def batch_gradient(p: Problem, x: Tensor) -> Tensor:
    """Return `Σ_j ∇θ L_θ(x_j)`, flat, with the graph to differentiate it by `x`."""
    theta = flat(parameters(p)).requires_grad_()
    return torch.autograd.grad(total_loss(p, theta, x, p.labels), theta, create_graph=True)[0]


_hessians: dict[Hashable, Tensor] = {}


def hessian(p: Problem) -> Tensor:
    """Return `H = Σ_{z∈Dval} ∇²θ L_θ(z)`, row by row, backwards over backwards.

    Equal problems, of which the tests build many, share the matrix.
    """
    z, t = p.validation_inputs, p.validation_labels
    values = [*p.model.state_dict().values(), z, t]
    key = architecture(p.model), z.dtype, z.shape, *(value.detach().numpy().tobytes() for value in values)
    if key not in _hessians:
        _hessians[key] = torch.autograd.functional.hessian(  # type: ignore[no-untyped-call]
            lambda theta: total_loss(p, theta, z, t), flat(parameters(p))
        )
    return _hessians[key].clone()


def utility_gradient(p: Problem, learning_rate: float) -> Tensor:
    """Return `∇x U_t`, through the parameters that one SGD step on the batch arrives at."""
    x = p.inputs.clone().requires_grad_()
    after = flat(parameters(p)) - learning_rate * batch_gradient(p, x)
    return torch.autograd.grad(total_loss(p, after, p.validation_inputs, p.validation_labels), x)[0]
