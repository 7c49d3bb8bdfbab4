"""`H u` against Hessians formed in full and closed forms."""

import pytest
import torch
import torch.nn.functional as F
from cases import (
    BATCH_NORM,
    CASES,
    CONV,
    LOGISTIC,
    SHARED_LAYER,
    TANH_MLP,
    Case,
    Problem,
    ScalarRegression,
    squares,
    untouched,
)
from dense import flat, hessian, random
from torch import Tensor, nn

from midstream import Gradient, hessian_vector_product

every_case = pytest.mark.parametrize("case", [*CASES, SHARED_LAYER], ids=lambda case: case.name)


def product(p: Problem, u: Gradient, *, chunk_size: int = 250) -> Tensor:
    z, t = p.validation_inputs, p.validation_labels
    return flat(hessian_vector_product(p.model, z, t, u, chunk_size=chunk_size))


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    assert expected.norm() > 0
    assert (actual - expected).norm() <= tolerance * expected.norm()


@every_case
def test_the_product_is_that_of_the_matrix(case: Case) -> None:
    p = case.build()
    u = random(p, 1)
    expected = hessian(p) @ flat(u)
    for chunk_size in (1, 4, 11, 250):
        close(product(p, u, chunk_size=chunk_size), expected)


@every_case
def test_in_single_precision(case: Case) -> None:
    p, exact = case.build(torch.float32), case.build()
    for name, value in p.model.named_parameters():
        exact.model.get_parameter(name).data.copy_(value)
    exact.validation_inputs.copy_(p.validation_inputs)
    close(product(p, random(p, 1)).double(), product(exact, random(exact, 1)), 3e-6)


def test_the_names_and_shapes_are_the_parameters() -> None:
    p = CONV.build()
    found = hessian_vector_product(p.model, p.validation_inputs, p.validation_labels, random(p, 1))
    assert [(name, u.shape) for name, u in found.items()] == [
        (name, value.shape) for name, value in p.model.named_parameters()
    ]


def test_twice_the_set_is_twice_the_product() -> None:
    p, u = TANH_MLP.build(), random(TANH_MLP.build(), 1)
    z, t = p.validation_inputs.repeat(2, 1), p.validation_labels.repeat(2)
    close(product(Problem(p.model, p.inputs, p.labels, z, t), u, chunk_size=5), 2 * product(p, u))


@every_case
def test_the_matrix_is_linear_and_symmetric(case: Case) -> None:
    p = case.build()
    u, w = random(p, 1), random(p, 2)
    both = {name: 3 * u[name] - w[name] for name in u}
    close(product(p, both), 3 * product(p, u) - product(p, w))
    close(flat(w) @ product(p, u), flat(u) @ product(p, w))


def test_of_logistic_regression_it_is_the_closed_form() -> None:
    # H (V, c) = Σ_z (diag p - p pᵀ)(Vz + c) (z, 1)ᵀ, whatever the labels.
    p = LOGISTIC.build()
    u = random(p, 1)
    expected = torch.zeros(3, 6).double()
    for z in p.validation_inputs:
        probability = p.model(z).detach().softmax(dim=0)
        curvature = torch.diag(probability) - torch.outer(probability, probability)
        expected += torch.outer(curvature @ (u["weight"] @ z + u["bias"]), F.pad(z, (0, 1), value=1.0))
    found = hessian_vector_product(p.model, p.validation_inputs, 0 * p.validation_labels, u)
    close(torch.cat([found["weight"], found["bias"][:, None]], dim=1), expected)


def test_of_scalar_regression_it_is_twice_the_squares() -> None:
    model, z = ScalarRegression(theta=-10.0, target=20.0), torch.tensor([[3.0], [4.0]]).double()
    u = {"theta": torch.tensor(0.5).double()}
    found = hessian_vector_product(model, z, torch.ones(2), u, loss=squares)
    assert found["theta"].item() == pytest.approx(2 * (9 + 16) * 0.5)


def test_bytes_are_read_as_pixels() -> None:
    p = CONV.build(torch.float32)
    stored = torch.arange(4 * 128).remainder(256).to(torch.uint8).reshape(4, 2, 8, 8)
    y = torch.tensor([0, 1, 2, 0])
    of_bytes, of_pixels = (
        product(Problem(p.model, p.inputs, p.labels, z, y), random(p, 1)) for z in (stored, stored / 255)
    )
    close(of_bytes, of_pixels, 1e-6)


@every_case
def test_the_model_is_as_it_was(case: Case) -> None:
    p = case.build()
    if case is not BATCH_NORM:
        p.model.train()
    u = random(p, 1)
    with untouched(p.model):
        product(p, u)


def test_the_answer_carries_no_graph() -> None:
    p = CONV.build()
    u = {name: value.requires_grad_() for name, value in random(p, 1).items()}
    p.validation_inputs.requires_grad_()
    assert not product(p, u).requires_grad
    assert p.validation_inputs.grad is None
    assert all(value.grad is None for value in u.values())


@every_case
def test_inside_no_grad(case: Case) -> None:
    p = case.build()
    u = random(p, 1)
    expected = product(p, u)
    with torch.no_grad():
        assert torch.equal(product(p, u), expected)
        assert not torch.is_grad_enabled()


def test_frozen_parameters_are_no_part_of_the_matrix() -> None:
    p = CONV.build()
    whole, u = hessian(p), random(p, 1)
    p.model.get_submodule("4").requires_grad_(False)
    found = hessian_vector_product(p.model, p.validation_inputs, p.validation_labels, u)
    assert found.keys() == {"0.weight", "0.bias"}
    trained = flat({name: u[name] for name in found})
    close(flat(found), whole[: len(trained), : len(trained)] @ trained)


class WithSpareHead(nn.Module):
    """A network with a trainable layer that its output does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)  # type: ignore[no-any-return]


def test_an_unused_parameter_has_no_curvature() -> None:
    p = Case("spare", WithSpareHead, (5,)).build()
    found = hessian_vector_product(p.model, p.validation_inputs, p.validation_labels, random(p, 1))
    assert found["used.weight"].any()
    assert not found["spare.weight"].any()


def test_batch_norm_over_its_batch_is_refused() -> None:
    p = BATCH_NORM.build()
    p.model.train()
    with pytest.raises(ValueError, match="couples the examples"):
        product(p, random(p, 1))
