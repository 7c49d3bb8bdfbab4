"""The gradient through the steps against finite differences of real training, autograd, and closed forms."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from cases import (
    BATCH_NORM,
    CASES,
    CONV,
    NAMES,
    SHARED_LAYER,
    TANH_MLP,
    Case,
    Problem,
    ScalarRegression,
    squares,
    untouched,
)
from torch import Tensor, nn

from midstream import mixed_derivative, utility, validation_gradient
from midstream.mathematics.derivatives.gradients import functional_call
from midstream.mathematics.optimizers.live_step import training_step
from midstream.mathematics.optimizers.training_step import Adam, Sgd, TrainingStep
from midstream.mathematics.unrolled import unrolled_utility_gradient

Batches = list[tuple[Tensor, Tensor]]

KINDS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.05),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.02),
}
PARTIAL: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd-some": lambda model: torch.optim.SGD(list(model.parameters())[:-1], lr=0.05),
    "adam-groups": lambda model: torch.optim.Adam(
        [{"params": [p], "lr": 0.01 * place} for place, p in enumerate(model.parameters()) if place]
    ),
    "sgd-momentum": lambda model: torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.8, dampening=0.1, weight_decay=0.3
    ),
    "sgd-nesterov": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8, nesterov=True),
    "adam-l2": lambda model: torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=0.3),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=3.0),
    "rmsprop": lambda model: torch.optim.RMSprop(model.parameters(), lr=0.01, momentum=0.5, weight_decay=0.3),
}

every_case = pytest.mark.parametrize("case", [*CASES, SHARED_LAYER], ids=[*NAMES, SHARED_LAYER.name])
every_kind = pytest.mark.parametrize("kind", KINDS)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert expected.norm() > 0
    assert (actual - expected).norm() <= tolerance * expected.norm()


def cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def batches(p: Problem, count: int) -> Batches:
    """Return further batches, each of a size of its own."""
    draw = torch.Generator().manual_seed(5)
    return [
        (
            torch.rand(3 + i, *p.inputs.shape[1:], generator=draw).to(p.inputs),
            torch.randint(3, (3 + i,), generator=draw),
        )
        for i in range(count)
    ]


def trained(p: Problem, kind: str) -> torch.optim.Optimizer:
    """Return an optimizer that has trained the model for three steps."""
    optimizer = (KINDS | PARTIAL)[kind](p.model)
    for batch in batches(p, 3):
        train(p.model, optimizer, *batch)
    return optimizer


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y, reduction="sum").backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def exact(
    p: Problem, step: TrainingStep, upcoming: Sequence[tuple[Tensor, Tensor]] = (), *, chunk_size: int = 250
) -> Tensor:
    return unrolled_utility_gradient(
        p.model,
        p.inputs,
        p.labels,
        p.validation_inputs,
        p.validation_labels,
        step=step,
        upcoming=upcoming,
        chunk_size=chunk_size,
    )


@pytest.mark.parametrize("further", [0, 2])
@pytest.mark.parametrize("kind", [*KINDS, *PARTIAL])
def test_it_is_the_slope_of_the_loss_that_real_training_arrives_at(kind: str, further: int) -> None:
    p = TANH_MLP.build(batch=2)
    optimizer = trained(p, kind)

    def loss_after(x: Tensor) -> float:
        model = deepcopy(p.model)
        live = (KINDS | PARTIAL)[kind](model)
        live.load_state_dict(deepcopy(optimizer.state_dict()))  # else it is the same moments that go on
        for batch in [(x, p.labels), *batches(p, further)]:
            train(model, live, *batch)
        with torch.no_grad():
            return float(F.cross_entropy(model(p.validation_inputs), p.validation_labels, reduction="sum"))

    slopes = torch.zeros_like(p.inputs)
    for i in range(p.inputs.numel()):
        move = torch.zeros_like(p.inputs).flatten()
        move[i] = 1e-5
        ahead, behind = (loss_after(p.inputs + sign * move.view_as(p.inputs)) for sign in (1, -1))
        slopes.view(-1)[i] = (ahead - behind) / 2e-5
    close(exact(p, training_step(optimizer, p.model), batches(p, further)), slopes, 1e-6)


def test_with_one_sgd_step_it_is_the_slope_of_the_utility() -> None:
    p = TANH_MLP.build()
    direction = torch.randn(p.inputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def at(x: Tensor) -> float:
        value = utility(p.model, x, p.labels, p.validation_inputs, p.validation_labels, learning_rate=0.1)
        return float(value)

    slope = (at(p.inputs + 1e-5 * direction) - at(p.inputs - 1e-5 * direction)) / 2e-5
    assert float((exact(p, Sgd(0.1)) * direction).sum()) == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("further", [0, 2])
@every_kind
@every_case
def test_it_is_autograd_through_everything(case: Case, kind: str, further: int) -> None:
    p = case.build()
    step = training_step(trained(p, kind), p.model)
    x = p.inputs.clone().requires_grad_()
    theta = {name: value.detach().requires_grad_() for name, value in p.model.named_parameters()}
    now = step
    for inputs, labels in [(x, p.labels), *batches(p, further)]:
        loss = F.cross_entropy(functional_call(p.model, theta, (inputs,)), labels, reduction="sum")
        gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        stepped, now = now.stepped(theta, dict(zip(theta, gradient, strict=True)))
        theta = dict(stepped)
    outputs = functional_call(p.model, theta, (p.validation_inputs,))
    expected = torch.autograd.grad(F.cross_entropy(outputs, p.validation_labels, reduction="sum"), x)[0]
    close(exact(p, step, batches(p, further)), expected)
    close(exact(p, step, batches(p, further), chunk_size=2), expected)


@every_case
def test_with_one_sgd_step_it_is_level_1_at_the_stepped_parameters(case: Case) -> None:
    p = case.build()
    stepped = deepcopy(p.model)
    train(stepped, torch.optim.SGD(stepped.parameters(), lr=0.1), p.inputs, p.labels)
    v = validation_gradient(stepped, p.validation_inputs, p.validation_labels)
    close(exact(p, Sgd(0.1)), -0.1 * mixed_derivative(p.model, p.inputs, p.labels, v))


@pytest.mark.parametrize("further", [0, 2])
def test_as_the_step_goes_to_0_it_is_level_1(further: int) -> None:
    p = TANH_MLP.build()
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    level_1 = -mixed_derivative(p.model, p.inputs, p.labels, v)
    apart = [1 - cosine(exact(p, Sgd(lr), batches(p, further)), level_1) for lr in (1e-1, 1e-2, 1e-3, 1e-4)]
    assert apart == sorted(apart, reverse=True)
    assert apart[0] > 1e-3
    assert apart[-1] < 1e-7


def test_adam_that_divides_by_a_large_epsilon_points_like_sgd() -> None:
    p = TANH_MLP.build()
    assert cosine(exact(p, Adam(1e-4 * 1e6, epsilon=1e6)), exact(p, Sgd(1e-4))) == pytest.approx(1, abs=1e-9)
    assert cosine(exact(p, Adam(1e-4, epsilon=1e-3)), exact(p, Sgd(1e-4))) < 0.99


def test_a_loss_that_is_lowered_has_the_opposite_slope() -> None:
    p = TANH_MLP.build()
    z, t = p.validation_inputs, p.validation_labels
    lowered = unrolled_utility_gradient(p.model, p.inputs, p.labels, z, t, step=Sgd(0.1), sign=-1.0)
    assert torch.equal(lowered, -exact(p, Sgd(0.1)))


@pytest.mark.parametrize("further", [0, 1, 3])
def test_of_scalar_regression_it_is_the_closed_form(further: int) -> None:
    # Each step multiplies u = θ - θ* by 1 - 2η Σx², and ∇x of the first factor is -4ηx.
    eta, z, theta, target = 0.02, 50.0, -10.0, 20.0
    x, others = torch.tensor([[0.3], [1.7]]).double(), [torch.tensor([[0.9], [0.4]]).double()] * further
    ones = torch.ones(2)
    u = theta - target
    later = 1.0
    for batch in others:
        later *= 1 - 2 * eta * float(batch.square().sum())
    last = u * (1 - 2 * eta * float(x.square().sum())) * later
    found = unrolled_utility_gradient(
        ScalarRegression(theta, target),
        x,
        ones,
        torch.tensor([[z]]).double(),
        torch.ones(1),
        step=Sgd(eta),
        upcoming=[(batch, ones) for batch in others],
        loss=squares,
    )
    close(found, 2 * z**2 * last * later * u * -4 * eta * x)


def test_pixels_that_were_always_0_give_no_nan() -> None:
    p = CONV.build(torch.float32)
    p.inputs.zero_()
    assert exact(p, Adam(0.01), batches(p, 1)).isfinite().all()


def test_bytes_of_upcoming_batches_are_read_as_pixels() -> None:
    p = CONV.build(torch.float32)
    stored = torch.arange(4 * 128).remainder(256).to(torch.uint8).reshape(4, 2, 8, 8)
    y = torch.tensor([0, 1, 2, 0])
    of_bytes, of_pixels = (exact(p, Sgd(0.1), [(x, y)]) for x in (stored, stored / 255))
    close(of_bytes, of_pixels, 1e-6)


def test_no_more_than_a_chunk_is_held_at_a_time() -> None:
    p = CONV.build()
    sizes: list[int] = []
    p.model.register_forward_hook(lambda _, arguments, __: sizes.append(len(arguments[0])))
    exact(p, Sgd(0.1), batches(p, 2), chunk_size=2)
    assert max(sizes) == 2


@every_kind
@every_case
def test_the_model_is_as_it_was(case: Case, kind: str) -> None:
    p = case.build()
    if case is not BATCH_NORM:
        p.model.train()
    step = Sgd(0.1) if kind == "sgd" else Adam(0.1)
    with untouched(p.model):
        exact(p, step, batches(p, 1))


@every_kind
def test_the_optimizer_and_its_moments_are_as_they_were(kind: str) -> None:
    p = TANH_MLP.build()
    optimizer = trained(p, kind)
    before = deepcopy(optimizer.state_dict())
    exact(p, training_step(optimizer, p.model), batches(p, 2))
    now = optimizer.state_dict()
    assert now["param_groups"] == before["param_groups"]
    for number, state in before["state"].items():
        assert all(
            torch.equal(now["state"][number][key], value) for key, value in state.items() if value is not None
        )


@every_kind
def test_the_answer_carries_no_graph_and_needs_none(kind: str) -> None:
    p = TANH_MLP.build()
    step = training_step(trained(p, kind), p.model)
    p.inputs.requires_grad_()
    expected = exact(p, step, batches(p, 1))
    assert not expected.requires_grad
    with torch.no_grad():
        assert torch.equal(exact(p, step, batches(p, 1)), expected)


def test_examples_that_batch_norm_couples_are_refused() -> None:
    p = BATCH_NORM.build()
    p.model.train()
    with pytest.raises(ValueError, match="batch norm over the statistics of its batch"):
        exact(p, Sgd(0.1))


def test_in_scalar_regression_it_is_level_2_in_closed_form_and_level_1_is_not() -> None:
    # Level 1 attacks along e(-x), level 2 along e(-(1 - 2ηx²)x); they differ exactly when 2ηx² > 1.
    eta, z, one = 0.2, torch.tensor([[50.0]]).double(), torch.ones(1)
    for x in torch.linspace(0.1, 2.0, 20, dtype=torch.float64):
        model = ScalarRegression(theta=-10.0, target=20.0)
        found = unrolled_utility_gradient(model, x.view(1, 1), one, z, one, step=Sgd(eta), loss=squares)
        assert found.sign().item() == -(1 - 2 * eta * x**2).sign().item()
