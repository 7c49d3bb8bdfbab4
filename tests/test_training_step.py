"""Steps as functions against those that torch's own optimizers take."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, NAMES, SHARED_LAYER, TANH_MLP, Case, Problem
from torch import Tensor, nn

from midstream import validation_gradient
from midstream.mathematics.optimizers.around import Clipped
from midstream.mathematics.optimizers.live_step import training_step
from midstream.mathematics.optimizers.momentum_sgd import MomentumSgd
from midstream.mathematics.optimizers.rmsprop import Rmsprop
from midstream.mathematics.optimizers.training_step import Adam, Sgd, TrainingStep

Build = Callable[[nn.Module], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Build] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.05),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01),
    "adam-other": lambda model: torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.5, 0.7), eps=1e-3),
    "adam-l2": lambda model: torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.3),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.3),
    "adamw-none": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0),
    "sgd-l2": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, weight_decay=0.3),
    "sgd-momentum": lambda model: torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.8, dampening=0.3, weight_decay=0.1
    ),
    "sgd-nesterov": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8, nesterov=True),
    "rmsprop": lambda model: torch.optim.RMSprop(model.parameters(), lr=0.01, alpha=0.7),
    "rmsprop-momentum": lambda model: torch.optim.RMSprop(
        model.parameters(), lr=0.01, momentum=0.8, weight_decay=0.3
    ),
}


def _layers(model: nn.Module) -> list[nn.Parameter]:
    return list(model.parameters())


GROUPED: dict[str, Build] = {
    "sgd-some": lambda model: torch.optim.SGD(_layers(model)[1:], lr=0.05),
    "adam-some": lambda model: torch.optim.Adam(_layers(model)[:-1], lr=0.01),
    "sgd-groups": lambda model: torch.optim.SGD(
        [{"params": _layers(model)[:1], "lr": 0.3}, {"params": _layers(model)[1:], "lr": 0.05}]
    ),
    "adam-groups": lambda model: torch.optim.Adam(
        [
            {"params": _layers(model)[1:2], "lr": 0.3, "betas": (0.5, 0.6)},
            {"params": _layers(model)[:1], "eps": 1e-2},
        ],
        lr=0.05,
    ),
    "sgd-with-another-model": lambda model: torch.optim.SGD(
        [*model.parameters(), *nn.Linear(2, 2).double().parameters()], lr=0.05
    ),
    "adam-tensors": lambda model: torch.optim.Adam(
        model.parameters(),
        lr=torch.tensor(0.01).double(),
        betas=(torch.tensor(0.5).double(), torch.tensor(0.6).double()),
        foreach=False,
    ),
    "adam-fused": lambda model: torch.optim.Adam(model.parameters(), lr=0.01, fused=True),
    "adam-decoupled": lambda model: torch.optim.Adam(
        model.parameters(), lr=0.01, decoupled_weight_decay=True
    ),
    "rmsprop-momentum-some": lambda model: torch.optim.RMSprop(_layers(model)[1:], lr=0.01, momentum=0.5),
}
OPTIMIZERS |= GROUPED
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
    for _ in range(3):
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
        assert live.count == step.count == 3
        assert live.counts == step.counts == {}


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_branch_that_joins_later_has_its_own_count(kind: str) -> None:
    p = TANH_MLP.build()
    spare = nn.Linear(3, 3).double()
    model = nn.Sequential(p.model, spare)
    optimizer = OPTIMIZERS[kind](model)
    for _ in range(3):
        take(p, optimizer)
    joined = Problem(model, p.inputs, p.labels, p.validation_inputs, p.validation_labels)
    for _ in range(2):
        step = training_step(optimizer, model)
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        gradient = validation_gradient(model, p.inputs, p.labels)
        after, _ = step.stepped(before, gradient)
        take(joined, optimizer)
        same(dict(after), {name: value.detach() for name, value in model.named_parameters()})


def test_a_frozen_parameter_is_no_part_of_the_step() -> None:
    p = TANH_MLP.build()
    next(p.model.parameters()).requires_grad_(False)
    for build in OPTIMIZERS.values():
        step = training_step(build(p.model), p.model)
        before = {n: v.detach() for n, v in p.model.named_parameters() if v.requires_grad}
        after, _ = step.stepped(before, validation_gradient(p.model, p.inputs, p.labels))
        assert after.keys() == before.keys()


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


DIFFERENTIATED: dict[str, Callable[[Tensor, Tensor, int], TrainingStep]] = {
    "sgd": lambda _, __, ___: Sgd(0.1),
    "sgd-momentum": lambda first, _, __: MomentumSgd(0.1, 0.8, 0.3, weight_decay=0.2, velocity={"w": first}),
    "sgd-nesterov": lambda first, _, __: MomentumSgd(0.1, 0.8, nesterov=True, velocity={"w": first}),
    "adam": lambda first, second, count: Adam(0.1, 0.6, 0.7, 1e-2, count, {"w": first}, {"w": second}),
    "adamw": lambda first, second, count: Adam(
        0.1, 0.6, 0.7, 1e-2, count, {"w": first}, {"w": second}, weight_decay=0.2, decoupled=True
    ),
    "adam-l2": lambda first, second, count: Adam(
        0.1, 0.6, 0.7, 1e-2, count, {"w": first}, {"w": second}, weight_decay=0.2
    ),
    "rmsprop": lambda first, second, _: Rmsprop(0.1, 0.7, 1e-2, 0.5, 0.2, {"w": second}, {"w": first}),
    "clipped": lambda first, _, __: Clipped(MomentumSgd(0.1, 0.8, velocity={"w": first}), 0.3),
    "not-clipped": lambda first, _, __: Clipped(MomentumSgd(0.1, 0.8, velocity={"w": first}), 30),
}


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("kind", DIFFERENTIATED)
def test_the_derivative_is_the_slope(kind: str, count: int) -> None:
    draw = torch.Generator().manual_seed(count)
    theta, g, first, second = (torch.randn(6, generator=draw, dtype=torch.float64) for _ in range(4))
    leaves = [value.requires_grad_() for value in (theta, g, first, second.square().detach())]

    def stepped(theta: Tensor, g: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        step = DIFFERENTIATED[kind](first, second, count)
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


def hooked(register: str) -> Build:
    def build(model: nn.Module) -> torch.optim.Optimizer:
        def halve(optimizer: torch.optim.Optimizer, *_: object) -> None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = parameter.grad / 2

        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        getattr(optimizer, register)(halve)
        return optimizer

    return build


def twice(model: nn.Linear) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [model.bias]})
    return optimizer


def doubled(model: nn.Linear) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["params"].append(model.bias)
    return optimizer


def second_group(**option: object) -> Build:
    return lambda m: torch.optim.SGD([{"params": [m.weight], "lr": 0.1}, {"params": [m.bias], **option}])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda m: torch.optim.SGD(m.parameters(), lr=0.1, maximize=True), "maximize=True"),
        (lambda m: torch.optim.Adam(m.parameters(), amsgrad=True), "amsgrad=True"),
        (lambda m: torch.optim.Adam(m.parameters(), maximize=True), "maximize=True"),
        (lambda m: torch.optim.AdamW(m.parameters(), amsgrad=True), "amsgrad=True"),
        (lambda m: torch.optim.RMSprop(m.parameters(), centered=True), "RMSprop step with centered=True"),
        (
            lambda m: torch.optim.NAdam(m.parameters()),
            "NAdam is not modelled; train with one of SGD, Adam, AdamW, RMSprop",
        ),
        (lambda m: torch.optim.LBFGS(m.parameters()), "LBFGS is not modelled"),
        (second_group(maximize=True), "maximize=True, as of parameter 'bias', is not modelled"),
        (twice, "holds parameter 'bias' twice"),
        (doubled, "holds parameter 'bias' twice"),
        (
            lambda _: torch.optim.SGD(nn.Linear(2, 2).parameters()),
            "none of the 2 .* of this Linear",
        ),
        (hooked("register_step_pre_hook"), "halve at each step, which is not modelled; remove the hook"),
        (hooked("register_step_post_hook"), "halve at each step"),
    ],
)
def test_what_is_not_modelled_is_refused(build: Build, message: str) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=message):
        training_step(build(model), model)


def test_a_step_of_complex_numbers_is_refused() -> None:
    model = nn.Linear(2, 2, dtype=torch.complex64)
    with pytest.raises(ValueError, match="complex numbers, those of parameter 'weight'"):
        training_step(torch.optim.Adam(model.parameters()), model)
