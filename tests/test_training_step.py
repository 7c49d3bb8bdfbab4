"""Steps as functions against those that torch's own optimizers take."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, NAMES, SHARED_LAYER, TANH_MLP, Case, Problem
from torch import Tensor, nn

from midstream import validation_gradient
from midstream.training_step import Adam, Sgd, TrainingStep, training_step

Build = Callable[[nn.Module], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Build] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.05),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01),
    "adam-other": lambda model: torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.5, 0.7), eps=1e-3),
}
every_optimizer = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
every_case = pytest.mark.parametrize("case", [*CASES, SHARED_LAYER], ids=[*NAMES, SHARED_LAYER.name])


def take(p: Problem, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    F.cross_entropy(p.model(p.inputs), p.labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def same(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert (actual[name] - value).abs().max() <= tolerance * max(1, float(value.abs().max())), name


@every_optimizer
@every_case
def test_several_steps_are_those_of_torch(case: Case, build: Build) -> None:
    p = case.build()
    optimizer = build(p.model)
    step = training_step(optimizer, p.model)
    for _ in range(5):
        before = {name: value.detach().clone() for name, value in p.model.named_parameters()}
        gradient = validation_gradient(p.model, p.inputs, p.labels)
        after, step = step.stepped(before, gradient)
        take(p, optimizer)
        same(dict(after), {name: value.detach() for name, value in p.model.named_parameters()})
        live = training_step(optimizer, p.model)
        assert live.moments.keys() == step.moments.keys()
        for moment, values in live.moments.items():
            same(dict(step.moments[moment]), dict(values))
    if isinstance(step, Adam):
        assert isinstance(live, Adam)
        assert live.count == step.count == 5


def test_settings_are_those_of_the_optimizer() -> None:
    model = nn.Linear(2, 2)
    assert training_step(torch.optim.SGD(model.parameters(), lr=0.3), model) == Sgd(0.3)
    adam = torch.optim.Adam(model.parameters(), lr=0.3, betas=(0.8, 0.9), eps=1e-5)
    assert training_step(adam, model) == Adam(0.3, 0.8, 0.9, 1e-5)


def test_a_parameter_without_a_gradient_keeps_its_value() -> None:
    p = TANH_MLP.build()
    spare = nn.Linear(2, 2).double()
    model = nn.ModuleList([p.model, spare])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    take(p, optimizer)
    step = training_step(optimizer, model)
    before = {name: value.detach() for name, value in model.named_parameters()}
    after, _ = step.stepped(before, {name: torch.zeros_like(value) for name, value in before.items()})
    assert torch.equal(after["1.weight"], before["1.weight"])
    assert not torch.equal(after["0.0.weight"], before["0.0.weight"])  # its first moment goes on


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_derivative_is_the_slope(kind: str, count: int) -> None:
    draw = torch.Generator().manual_seed(count)
    theta, g, first, second = (torch.randn(6, generator=draw, dtype=torch.float64) for _ in range(4))
    leaves = [value.requires_grad_() for value in (theta, g, first, second.square().detach())]

    def stepped(theta: Tensor, g: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        step: TrainingStep = Sgd(0.1)
        if kind == "adam":
            step = Adam(0.1, 0.6, 0.7, 1e-2, count, {"w": first}, {"w": second})
        after, step = step.stepped({"w": theta}, {"w": g})
        return (after["w"], *(moment["w"] for moment in step.moments.values()))

    assert torch.autograd.gradcheck(stepped, leaves)


def test_where_nothing_has_moved_yet_the_slope_is_that_of_the_limit() -> None:
    # The first step is -η g / (|g| + epsilon), whose slope at 0 is -η / epsilon.
    for g in (0.0, 1e-30):
        gradient = torch.tensor([g], dtype=torch.float64, requires_grad=True)
        after, _ = Adam(0.5, epsilon=1e-3).stepped({"w": torch.zeros(1).double()}, {"w": gradient})
        (slope,) = torch.autograd.grad(after["w"].sum(), gradient)
        assert slope.item() == pytest.approx(-0.5 / 1e-3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9), "momentum=0.9 is not modelled"),
        (lambda m: torch.optim.SGD(m.parameters(), lr=0.1, weight_decay=0.2), "weight_decay=0.2"),
        (lambda m: torch.optim.Adam(m.parameters(), amsgrad=True), "amsgrad=True"),
        (lambda m: torch.optim.Adam(m.parameters(), maximize=True), "maximize=True"),
        (lambda m: torch.optim.RMSprop(m.parameters()), "RMSprop is not modelled; train with SGD or Adam"),
        (lambda m: torch.optim.AdamW(m.parameters(), weight_decay=0), "AdamW is not modelled"),
        (lambda m: torch.optim.SGD([{"params": [m.weight]}, {"params": [m.bias]}]), "2 groups"),
    ],
)
def test_what_is_not_modelled_is_refused(build: Build, message: str) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=message):
        training_step(build(model), model)
