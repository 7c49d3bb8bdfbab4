"""`v`, `B_x u` and `H u` through layers of many kinds, against their formulas in double precision."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from foreign_layers import FOREIGN, Foreign
from torch import Tensor, nn

from midstream import (
    Budget,
    Defender,
    Gradient,
    hessian_vector_product,
    mixed_derivative,
    mixed_derivative_by_double_backward,
    unrolled_utility_gradient,
    validation_gradient,
)
from midstream.attacks.adversarial.power_iteration import divergence_hessian, loss_hessian
from midstream.mathematics.optimizers.training_step import Sgd

every_kind = pytest.mark.parametrize("foreign", FOREIGN, ids=[foreign.name for foreign in FOREIGN])
both = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])


class Truth:
    """A network's loss by its formula, in double precision, differentiated backwards and backwards again."""

    def __init__(self, foreign: Foreign, model: nn.Module, x: Tensor, y: Tensor) -> None:
        self.parameters = {n: p.detach().double().requires_grad_() for n, p in model.named_parameters()}
        buffers = {name: value.double() for name, value in model.named_buffers()}
        self.x = x.double().requires_grad_()
        self.logits = foreign.formula(self.parameters, buffers, self.x)
        self.loss = F.cross_entropy(self.logits, y, reduction="sum")
        leaves = list(self.parameters.values())
        self.v = dict(
            zip(self.parameters, torch.autograd.grad(self.loss, leaves, create_graph=True), strict=True)
        )
        self.by_inputs = torch.autograd.grad(self.loss, self.x, create_graph=True)[0]

    def along(self, u: Gradient) -> Tensor:
        return torch.stack([(v * u[name].double()).sum() for name, v in self.v.items()]).sum()

    def mixed(self, u: Gradient) -> Tensor:
        return torch.autograd.grad(self.along(u), self.x, retain_graph=True)[0]

    def product(self, u: Gradient) -> Gradient:
        leaves = list(self.parameters.values())
        found = torch.autograd.grad(self.along(u), leaves, retain_graph=True, materialize_grads=True)
        return dict(zip(self.parameters, found, strict=True))


@cache
def built(foreign: Foreign, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor, Tensor, Truth]:
    """Return what several tests look at and none changes; a network's derivatives are checked once."""
    model, x, y = foreign.build(dtype)
    return model, x, y, Truth(foreign, model, x, y)


def direction(model: nn.Module) -> Gradient:
    generator = torch.Generator().manual_seed(1)
    return {n: torch.randn(p.shape, generator=generator).to(p) for n, p in model.named_parameters()}


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert expected.norm() > 0
    assert (actual.double() - expected).norm() <= tolerance * expected.norm()


def all_close(actual: Gradient, expected: Gradient, tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    found, truth = (torch.cat([v[name].double().flatten() for name in expected]) for v in (actual, expected))
    close(found, truth, tolerance)


@every_kind
@both
def test_the_derivatives_are_those_of_the_formula(
    foreign: Foreign, dtype: torch.dtype, tolerance: float
) -> None:
    model, x, y, truth = built(foreign, dtype)
    u = direction(model)
    close(model(x).detach(), truth.logits.detach(), tolerance)
    all_close(validation_gradient(model, x, y), truth.v, tolerance)
    close(mixed_derivative(model, x, y, u), truth.mixed(u), tolerance)
    close(mixed_derivative(model, x, y, u, chunk_size=3), truth.mixed(u), tolerance)
    all_close(hessian_vector_product(model, x, y, u), truth.product(u), tolerance)


@every_kind
def test_double_backward_is_right_too(foreign: Foreign) -> None:
    model, x, y, truth = built(foreign)
    u = direction(model)
    close(mixed_derivative_by_double_backward(model, x, y, u), truth.mixed(u), 1e-10)


@every_kind
def test_the_defender_moves_as_the_formula_says(foreign: Foreign) -> None:
    model, x, y = foreign.build()
    truth = Truth(foreign, model, x, y)
    ball = Budget(0.1, "l2", float("-inf"), float("inf"))
    moved = Defender(model.train(), x, y, epsilon=0.1, pixel_range=(ball.low, ball.high))(x, y)
    expected = truth.mixed({name: value.detach() for name, value in truth.v.items()})
    close(moved - x, 0.1 * ball.direction(expected), 1e-9)
    assert all(layer.training for layer in model.modules())


@every_kind
@both
def test_attacks_that_follow_the_curvature_by_the_inputs(
    foreign: Foreign, dtype: torch.dtype, tolerance: float
) -> None:
    model, x, y, truth = built(foreign, dtype)
    d = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x)
    bent = torch.autograd.grad((truth.by_inputs * d.double()).sum(), truth.x, retain_graph=True)[0]
    close(loss_hessian(model, x, y)(d), bent, 10 * tolerance)
    kl = F.kl_div(
        truth.logits.log_softmax(1), truth.logits.detach().log_softmax(1), reduction="sum", log_target=True
    )
    slope = torch.autograd.grad(kl, truth.x, create_graph=True)[0]
    fisher = torch.autograd.grad((slope * d.double()).sum(), truth.x, retain_graph=True)[0]
    close(divergence_hessian(model, x)(d), fisher, 10 * tolerance)


@every_kind
def test_the_exact_utility_goes_through_the_step(foreign: Foreign) -> None:
    model, x, y, truth = built(foreign)
    found = unrolled_utility_gradient(model, x, y, x, y, step=Sgd(0.1))
    after = foreign.build()[0]
    for name, parameter in after.named_parameters():
        parameter.data -= 0.1 * truth.v[name].detach()
    pulled = {name: -0.1 * value for name, value in validation_gradient(after, x, y).items()}
    close(found, truth.mixed(pulled), 1e-9)


def test_a_vision_transformer() -> None:
    vision = pytest.importorskip("torchvision.models.vision_transformer")
    torch.manual_seed(0)
    model = vision.VisionTransformer(8, 4, 2, 2, 8, 12, num_classes=3).double()
    torch.nn.init.normal_(model.heads[0].weight)  # a new one is 0
    x, y, u = torch.rand(2, 3, 8, 8).double(), torch.tensor([0, 1]), direction(model)
    inputs, step = torch.randn(2, 3, 8, 8).double(), 1e-6

    def slope(sign: int) -> float:
        v = validation_gradient(model, x + sign * step * inputs, y)
        return sum((v[name] * u[name]).sum().item() for name in u)

    difference = (slope(1) - slope(-1)) / (2 * step)
    found = (mixed_derivative(model, x, y, u) * inputs).sum().item()
    assert found == pytest.approx(difference, rel=1e-6)


def test_attention_is_as_it_was_for_everybody_else() -> None:
    foreign = next(foreign for foreign in FOREIGN if foreign.name == "encoder")
    model, x, y = foreign.build(torch.float32)
    with torch.no_grad():
        before = model(x)
    mixed_derivative(model, x, y, direction(model))
    with torch.no_grad():
        assert torch.equal(model(x), before)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_defender_inside_autocast_computes_as_outside() -> None:
    foreign = FOREIGN[0]
    model, x, y = foreign.build(torch.float32)
    v = validation_gradient(model, x, y)
    expected = mixed_derivative(model, x, y, v)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.equal(value, v[name]) for name, value in validation_gradient(model, x, y).items())
        assert torch.equal(mixed_derivative(model, x, y, v), expected)
