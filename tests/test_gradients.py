"""`v` and `B_x v` against autograd over the whole set, dense matrices and closed forms."""

import pytest
import torch
import torch.nn.functional as F
from cases import BATCH_NORM, CASES, CONV, LOGISTIC, NAMES, Case, ScalarRegression, squares
from torch import nn
from torch.func import functional_call

from midstream import mixed_derivative, mixed_derivative_by_double_backward, validation_gradient
from midstream.mathematics.derivatives.gradients import loss_and_gradient
from midstream.mathematics.utility import total_loss

every_case = pytest.mark.parametrize("case", CASES, ids=NAMES)


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-12) -> None:
    """Assert a relative error of the whole tensor, and that there is something to compare."""
    assert expected.norm() > 0
    assert (actual - expected).norm() <= tolerance * expected.norm()


@every_case
@pytest.mark.parametrize("chunk_size", [1, 4, 11, 250])
def test_validation_gradient_is_the_sum_of_all_gradients(case: Case, chunk_size: int) -> None:
    p = case.build()
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels, chunk_size=chunk_size)
    loss = F.cross_entropy(p.model(p.validation_inputs), p.validation_labels, reduction="sum")
    named = dict(p.model.named_parameters())
    assert v.keys() == named.keys()
    for name, gradient in zip(named, torch.autograd.grad(loss, list(named.values())), strict=True):
        assert (v[name] - gradient).abs().max() < 1e-12


def test_twice_the_set_is_twice_the_gradient() -> None:
    p = LOGISTIC.build()
    once = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    twice = validation_gradient(
        p.model, p.validation_inputs.repeat(2, 1), p.validation_labels.repeat(2), chunk_size=5
    )
    close(twice["weight"], 2 * once["weight"])


@pytest.mark.parametrize("chunk_size", [4, 250])
def test_the_loss_comes_with_its_gradient(chunk_size: int) -> None:
    p = CONV.build()
    z, t = p.validation_inputs, p.validation_labels
    loss, gradient = loss_and_gradient(p.model, z, t, chunk_size=chunk_size)
    assert loss.dim() == 0
    close(loss, F.cross_entropy(p.model(z), t, reduction="sum").detach())
    close(total_loss(p.model, z, t, chunk_size=chunk_size), loss)
    close(gradient["0.weight"], validation_gradient(p.model, z, t)["0.weight"])


def test_bytes_are_read_as_pixels() -> None:
    p = CONV.build(torch.float32)
    stored = torch.arange(4 * 128, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(4, 2, 8, 8)
    y = torch.tensor([0, 1, 2, 0])
    v = validation_gradient(p.model, stored, y, chunk_size=3)
    close(v["0.weight"], validation_gradient(p.model, stored.float() / 255, y)["0.weight"], 1e-6)


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
def test_mixed_derivative_is_double_backward(case: Case, dtype: torch.dtype, tolerance: float) -> None:
    p = case.build(dtype)
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    expected = mixed_derivative_by_double_backward(p.model, p.inputs, p.labels, v)
    close(mixed_derivative(p.model, p.inputs, p.labels, v), expected, tolerance)
    close(mixed_derivative(p.model, p.inputs, p.labels, v, chunk_size=4), expected, tolerance)


@every_case
def test_mixed_derivative_is_the_dense_matrix_times_v(case: Case) -> None:
    p = case.build(batch=1)
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    named = {name: value.detach().requires_grad_() for name, value in p.model.named_parameters()}

    def parameter_gradient(x: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(functional_call(p.model, named, (x,)), p.labels)
        parts = torch.autograd.grad(loss, list(named.values()), create_graph=True)
        return torch.cat([part.flatten() for part in parts])

    jacobian = torch.autograd.functional.jacobian(parameter_gradient, p.inputs)  # type: ignore[no-untyped-call]
    flat_v = torch.cat([v[name].flatten() for name in named])
    close(
        mixed_derivative(p.model, p.inputs, p.labels, v).flatten(),
        flat_v @ jacobian.reshape(len(flat_v), -1),
    )


def test_mixed_derivative_of_logistic_regression_is_its_closed_form() -> None:
    # ⟨∇θ L(x), (V, c)⟩ = (p - y)ᵀ(Vx + c), and its gradient is Vᵀ(p - y) + Wᵀ(diag p - p pᵀ)(Vx + c).
    p = LOGISTIC.build()
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    assert isinstance(p.model, nn.Linear)
    expected = torch.empty_like(p.inputs)
    for i, (x, label) in enumerate(zip(p.inputs, p.labels, strict=True)):
        probability = p.model(x).detach().softmax(dim=0)
        error = probability - F.one_hot(label, len(probability))
        u = v["weight"] @ x + v["bias"]
        curvature = torch.diag(probability) - torch.outer(probability, probability)
        expected[i] = v["weight"].T @ error + p.model.weight.detach().T @ (curvature @ u)
    close(mixed_derivative(p.model, p.inputs, p.labels, v), expected)


def test_mixed_derivative_of_scalar_regression_is_its_closed_form() -> None:
    # ∇θ L = 2(θ - θ*)x², so v = 2(θ - θ*)z² and B_x v = 4(θ - θ*)x v.
    model, x, y = (
        ScalarRegression(theta=-10.0, target=20.0),
        torch.tensor([[0.3], [1.7]]).double(),
        torch.ones(2),
    )
    v = validation_gradient(model, torch.tensor([[50.0]]).double(), torch.ones(1), loss=squares)
    assert v["theta"].item() == pytest.approx(2 * -30 * 50**2)
    close(mixed_derivative(model, x, y, v, loss=squares), 8 * 30**2 * 50**2 * x)


@every_case
def test_each_example_has_a_derivative_of_its_own(case: Case) -> None:
    p = case.build()
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    whole = mixed_derivative(p.model, p.inputs, p.labels, v)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    close(mixed_derivative(p.model, p.inputs[order], p.labels[order], v), whole[order])
    close(mixed_derivative(p.model, p.inputs[2:3], p.labels[2:3], v), whole[2:3])


@pytest.mark.parametrize("given", [0, 3])
def test_as_many_labels_as_inputs_and_at_least_one(given: int) -> None:
    p = LOGISTIC.build()
    with pytest.raises(ValueError, match=f"{given} inputs and {given and 2} labels"):
        validation_gradient(p.model, p.inputs[:given], p.labels[: given and 2])


def test_batch_norm_in_evaluation_mode_couples_nothing_and_in_training_mode_is_refused() -> None:
    p = BATCH_NORM.build()
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    p.model.train()
    with pytest.raises(ValueError, match="layer '1' is batch norm over the statistics of its batch"):
        validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    for derivative in (mixed_derivative, mixed_derivative_by_double_backward):
        with pytest.raises(ValueError, match="couples the examples"):
            derivative(p.model, p.inputs, p.labels, v)


def test_batch_norm_without_running_statistics_is_refused_in_evaluation_mode_too() -> None:
    model = nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 2)).eval()
    with pytest.raises(ValueError, match="couples the examples"):
        validation_gradient(model, torch.rand(4, 5), torch.tensor([0, 1, 0, 1]))
