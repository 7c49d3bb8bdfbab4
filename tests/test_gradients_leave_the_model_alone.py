"""Taking a derivative changes nothing about a model, and reads only what it should."""

from collections.abc import Callable

import pytest
import torch
from cases import BATCH_NORM, CASES, CONV, LOGISTIC, NAMES, SHARED_LAYER, Case, Problem
from torch import Tensor, nn

from midstream import (
    Gradient,
    mixed_derivative,
    mixed_derivative_by_double_backward,
    utility,
    validation_gradient,
)


def gradient(p: Problem) -> Gradient:
    return validation_gradient(p.model, p.validation_inputs, p.validation_labels)


def mixed(p: Problem) -> Tensor:
    return mixed_derivative(p.model, p.inputs, p.labels, gradient(p))


def double_backward(p: Problem) -> Tensor:
    return mixed_derivative_by_double_backward(p.model, p.inputs, p.labels, gradient(p))


def gain(p: Problem) -> Tensor:
    return utility(p.model, p.inputs, p.labels, p.validation_inputs, p.validation_labels, learning_rate=0.1)


@pytest.mark.parametrize("compute", [gradient, mixed, double_backward, gain])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_model_is_as_it_was(case: Case, compute: Callable[[Problem], object]) -> None:
    p = case.build()
    parameters = list(p.model.parameters())
    if case is not BATCH_NORM:
        p.model.train()
    parameters[0].grad = torch.full_like(parameters[0], 7.0)
    frozen = parameters[1].requires_grad_(False)
    before = {name: value.clone() for name, value in p.model.state_dict().items()}
    modes = [module.training for module in p.model.modules()]
    inputs = p.inputs.clone()

    compute(p)

    assert all(torch.equal(value, before[name]) for name, value in p.model.state_dict().items())
    assert [module.training for module in p.model.modules()] == modes
    assert all(now is then for now, then in zip(p.model.parameters(), parameters, strict=True))
    assert torch.equal(parameters[0].grad, torch.full_like(parameters[0], 7.0))
    assert all(parameter.grad is None for parameter in parameters[1:])
    assert [parameter.requires_grad for parameter in parameters if parameter is not frozen] == [True] * (
        len(parameters) - 1
    )
    assert not frozen.requires_grad
    assert torch.equal(p.inputs, inputs)
    assert not p.inputs.requires_grad


@pytest.mark.parametrize("compute", [mixed, double_backward])
def test_the_answer_carries_no_graph(compute: Callable[[Problem], Tensor]) -> None:
    p = CONV.build()
    assert not any(value.requires_grad for value in gradient(p).values())
    assert not compute(p).requires_grad


def test_the_vector_is_a_constant() -> None:
    p = CONV.build()
    v = gradient(p)
    attached = {name: value.clone().requires_grad_() for name, value in v.items()}
    assert torch.equal(
        mixed_derivative(p.model, p.inputs, p.labels, attached),
        mixed_derivative(p.model, p.inputs, p.labels, v),
    )
    assert all(value.grad is None for value in attached.values())


def test_frozen_parameters_are_no_part_of_the_game() -> None:
    p = CONV.build()
    whole = mixed(p)
    p.model.get_submodule("4").requires_grad_(False)
    assert gradient(p).keys() == {"0.weight", "0.bias"}
    assert (mixed(p) - double_backward(p)).norm() <= 1e-12 * double_backward(p).norm()
    assert (mixed(p) - whole).norm() > 1e-3 * whole.norm()


def test_a_model_with_nothing_to_train_is_refused() -> None:
    p = LOGISTIC.build()
    p.model.requires_grad_(False)
    with pytest.raises(ValueError, match="Linear has no trainable parameter"):
        gradient(p)


@pytest.mark.parametrize("compute", [mixed, double_backward, gain])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_inside_no_grad(case: Case, compute: Callable[[Problem], Tensor]) -> None:
    p = case.build()
    expected = compute(p)
    with torch.no_grad():
        assert torch.equal(compute(p), expected)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("compute", [mixed, double_backward])
def test_channels_last_weights_and_inputs_give_the_same_values(compute: Callable[[Problem], Tensor]) -> None:
    p = CONV.build()
    expected = compute(p)
    model = p.model.to(memory_format=torch.channels_last)
    x = p.inputs.contiguous(memory_format=torch.channels_last)
    assert not next(model.parameters()).is_contiguous()
    assert not x.is_contiguous()
    actual = compute(Problem(model, x, p.labels, p.validation_inputs, p.validation_labels))
    assert (actual - expected).norm() <= 1e-12 * expected.norm()


def test_a_vector_laid_out_otherwise_gives_the_same_bits() -> None:
    p = CONV.build(torch.float32)
    v = gradient(p)
    strided = {
        n: u.contiguous(memory_format=torch.channels_last) if u.dim() == 4 else u for n, u in v.items()
    }
    assert not strided["0.weight"].is_contiguous()
    assert torch.equal(
        mixed_derivative(p.model, p.inputs, p.labels, strided),
        mixed_derivative(p.model, p.inputs, p.labels, v),
    )


class WithSpareHead(nn.Module):
    """A network with a trainable layer that its output does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)  # type: ignore[no-any-return]


def spare() -> Problem:
    return Case("spare", WithSpareHead, (5,)).build()


def test_an_unused_parameter_has_gradient_zero_and_moves_no_input() -> None:
    p = spare()
    v = gradient(p)
    assert not v["spare.weight"].any()
    alone = mixed_derivative(
        p.model.get_submodule("used"),
        p.inputs,
        p.labels,
        {"weight": v["used.weight"], "bias": v["used.bias"]},
    )
    assert (mixed(p) - alone).norm() <= 1e-12 * alone.norm()


@pytest.mark.parametrize("compute", [double_backward, gain])
def test_an_unused_parameter_is_no_error_elsewhere(compute: Callable[[Problem], Tensor]) -> None:
    assert compute(spare()).isfinite().all()


@pytest.mark.parametrize("compute", [gradient, mixed, double_backward, gain])
def test_a_layer_that_is_used_twice_keeps_its_parameters(compute: Callable[[Problem], object]) -> None:
    p = SHARED_LAYER.build()
    before = list(p.model.parameters())
    compute(p)
    assert all(now is then for now, then in zip(p.model.parameters(), before, strict=True))
