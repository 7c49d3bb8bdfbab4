"""The attacks by power iteration, against dense Hessians of each example."""

from collections.abc import Callable

import pytest
import torch
from cases import CONV, TANH_MLP, Case, Problem
from torch import Tensor
from views import view

from midstream import Batch, Budget, cross_entropy, plugins
from midstream.attacks.adversarial.power_iteration import (
    divergence_hessian,
    largest_eigenvector,
    loss_hessian,
)
from midstream.attacks.adversarial.second_order import ascend_quadratic
from midstream.mathematics.derivatives.input_gradient import input_gradient

MANY = 3000


def dense(value: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Return each example's Hessian of a function of one example, `(batch, pixels, pixels)`."""
    size = inputs[0].numel()
    return torch.stack(
        [torch.autograd.functional.hessian(value, x[None]).reshape(size, size) for x in inputs]  # type: ignore[no-untyped-call]
    )


def losses(p: Problem) -> Tensor:
    def loss(label: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: cross_entropy(p.model(x), label[None])

    pairs = zip(p.inputs, p.labels, strict=True)
    return torch.cat([dense(loss(label), x[None]) for x, label in pairs])


def divergences(p: Problem) -> Tensor:
    def divergence(at: Tensor) -> Callable[[Tensor], Tensor]:
        before = p.model(at[None]).log_softmax(dim=1)
        return lambda x: (before.exp() * (before - p.model(x).log_softmax(dim=1))).sum()

    return torch.cat([dense(divergence(x), x[None]) for x in p.inputs])


def times(hessians: Tensor, direction: Tensor) -> Tensor:
    return torch.einsum("bij,bj->bi", hessians, direction.flatten(1)).reshape(direction.shape)


@pytest.mark.parametrize("case", [TANH_MLP, CONV], ids=lambda case: case.name)
def test_products_are_those_of_the_dense_hessians(case: Case) -> None:
    p = case.build()
    direction = torch.randn_like(p.inputs)
    for product, hessians in (
        (loss_hessian(p.model, p.inputs, p.labels), losses(p)),
        (divergence_hessian(p.model, p.inputs), divergences(p)),
    ):
        assert torch.allclose(product(direction), times(hessians, direction), rtol=1e-8, atol=1e-10)


def along_top(found: Tensor, hessians: Tensor) -> Tensor:
    """Return `|⟨d, top⟩|` of each example, top the eigenvector of the largest eigenvalue in magnitude."""
    values, vectors = torch.linalg.eigh(hessians)
    top = vectors[torch.arange(len(values)), :, values.abs().argmax(dim=1)]
    lengths: Tensor = (found.flatten(1) * top).sum(dim=1).abs()
    return lengths


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vat", "curvature"])
def test_the_direction_is_the_top_eigenvector(name: str) -> None:
    p, budget = TANH_MLP.build(), Budget(0.3, low=-9, high=9)
    player = plugins.make("attackers", f"{name},iterations=100")
    found = player.perturb(Batch(0, p.inputs, p.labels), view(p, budget)) / 0.3
    hessians = divergences(p) if name == "vat" else losses(p)
    assert torch.allclose(along_top(found, hessians), torch.ones(len(found)).double(), atol=1e-6)
    if name == "curvature":
        gradient = input_gradient(p.model, p.inputs, p.labels)
        assert ((gradient * found).flatten(1).sum(dim=1) >= 0).all()


def test_one_iteration_of_vat_already_leans_on_it() -> None:
    p = CONV.build()
    random = torch.randn(p.inputs.shape, generator=torch.Generator().manual_seed(0)).double()
    product = divergence_hessian(p.model, p.inputs)
    started, once = (largest_eigenvector(product, random, iterations) for iterations in (0, 1))
    assert (along_top(once, divergences(p)) > along_top(started, divergences(p))).all()


def test_the_quadratic_rises_to_its_largest_value_on_the_sphere() -> None:
    p, radius = TANH_MLP.build(), 0.7
    gradient, hessians = input_gradient(p.model, p.inputs, p.labels), losses(p)
    shift = torch.linalg.eigvalsh(hessians).abs().amax(dim=1)

    def reached(steps: int) -> Tensor:
        return ascend_quadratic(
            gradient, lambda d: times(hessians, d), radius=radius, shift=shift, steps=steps
        )

    def value(point: Tensor) -> Tensor:
        return (gradient * point + point * times(hessians, point) / 2).sum(dim=1)

    values = torch.stack([value(reached(steps)) for steps in (0, 1, 2, 5, 20, MANY)])
    assert (values.diff(dim=0) >= -1e-12).all()
    assert (values[-1] > values[0]).any()
    anywhere = radius * torch.nn.functional.normalize(torch.randn(20_000, 5).double(), dim=1)
    bent = torch.einsum("ni,bij,nj->nb", anywhere, hessians, anywhere)
    best = (anywhere @ gradient.T + bent / 2).amax(dim=0)
    assert (values[-1] >= best - 1e-6).all()
