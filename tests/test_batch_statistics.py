"""Derivatives of models whose batch norm trains: over the whole minibatch, with its own statistics."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import midstream
from midstream.mathematics.derivatives.batch_statistics import (
    as_trained,
    statistics_of,
    using_batch_statistics,
)
from midstream.mathematics.derivatives.checking.evidence import Trial
from midstream.mathematics.derivatives.functional import DerivativeError, functional_call
from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.derivatives.orders import ORDERS
from midstream.mathematics.loss import cross_entropy
from midstream.mathematics.unrolled import unrolled_utility_gradient
from midstream.mathematics.utility import total_loss, utility

CLASSES = 3


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.Softplus(),
        nn.Conv2d(4, 3, 3),
        nn.BatchNorm2d(3),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(3 * 9, CLASSES),
    )


@pytest.fixture
def model() -> nn.Module:
    """Return a marked network in double precision, in evaluation mode, with statistics of some steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = network().double()
        for _ in range(3):
            made(torch.rand(8, 2, 5, 5).double())
    midstream.use_batch_statistics(made)
    return made.eval()


def examples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 2, 5, 5, generator=numbers, dtype=torch.float64)
    return x, torch.randint(CLASSES, (count,), generator=numbers)


X, Y = examples(6, 1)
Z, T = examples(11, 2)


def with_v(model: nn.Module) -> nn.Module:
    """Return a copy whose `v` is taken with the statistics of validation batches."""
    other = copy.deepcopy(model).train()
    midstream.use_batch_statistics(other, validation_batch=4)
    return other.eval()


def stepped_on(model: nn.Module, x: Tensor) -> nn.Module:
    """Return a copy in training mode, as it is during a training step on x."""
    other = copy.deepcopy(model).train()
    other(x)
    return other


def slope(function: Callable[[Tensor], Tensor], at: Tensor, way: Tensor, step: float = 1e-6) -> float:
    return float((function(at + step * way) - function(at - step * way)) / (2 * step))


def directions(count: int = 3) -> list[Tensor]:
    numbers = torch.Generator().manual_seed(7)
    return [torch.randn(X.shape, generator=numbers, dtype=torch.float64) for _ in range(count)]


def gradient_as_trained(model: nn.Module, x: Tensor) -> list[Tensor]:
    other = copy.deepcopy(model).train()
    return list(torch.autograd.grad(cross_entropy(other(x), Y), list(other.parameters())))


def test_the_gradient_of_a_batch_is_that_of_the_training_step(model: nn.Module) -> None:
    found = midstream.batch_gradient(model, X, Y, chunk_size=2)
    for one, expected in zip(found.values(), gradient_as_trained(model, X), strict=True):
        torch.testing.assert_close(one, expected)
    of_set = midstream.validation_gradient(model, X, Y)
    assert not torch.allclose(of_set["0.weight"], found["0.weight"], rtol=0.1)


def test_the_mixed_derivative_is_the_slope_of_the_whole_batch(model: nn.Module) -> None:
    v = midstream.validation_gradient(model, Z, T)

    def along_v(x: Tensor) -> Tensor:
        gradient = gradient_as_trained(model, x)
        return torch.stack([(g * u).sum() for g, u in zip(gradient, v.values(), strict=True)]).sum()

    found = midstream.mixed_derivative(model, X, Y, v, chunk_size=2)  # a whole batch, whatever the chunk
    for way in directions():
        assert slope(along_v, X, way) == pytest.approx(float((found * way).sum()), rel=1e-6)
    alone = midstream.mixed_derivative(model, X[:3], Y[:3], v)
    assert not torch.allclose(alone, found[:3], rtol=0.1)


def test_reverse_over_forward_is_wrong_and_not_used(model: nn.Module) -> None:
    assert midstream.check_derivatives(model, X, Y) == "double-backward"
    with as_trained(model):
        trial = Trial(model, X[:5], Y[:5], cross_entropy, coupled=True)
        trial.check_examples()
        doubts = {order: trial._doubt(order) for order in ORDERS}
    assert "differs by" in str(doubts["reverse-over-forward"])
    assert doubts["double-backward"] is None
    assert doubts["forward-over-reverse"] is None


def test_without_a_right_order_the_layer_is_named(model: nn.Module) -> None:
    with pytest.raises(DerivativeError, match=r"layer '1' \(BatchNorm2d\) has no second derivatives"):
        midstream.check_derivatives(model, X, Y, orders=["reverse-over-forward"])


def test_a_mean_over_the_batch_is_not_a_sum(model: nn.Module) -> None:
    with pytest.raises(DerivativeError, match="a mean over its batch"):
        midstream.check_derivatives(model, X, Y, loss=nn.functional.cross_entropy)


@pytest.mark.parametrize("as_v", [False, True])
def test_level_1_is_the_slope_of_one_small_virtual_step(model: nn.Module, as_v: bool) -> None:
    played = with_v(model) if as_v else model
    v = midstream.validation_gradient(played, Z, T)
    rate = 1e-7  # the rest is of second order in the step
    first_order = -rate * midstream.mixed_derivative(played, X, Y, v)

    def gained(x: Tensor) -> Tensor:
        return utility(played, x, Y, Z, T, learning_rate=rate)

    for way in directions(2):
        expected = float((first_order * way).sum())
        assert slope(gained, X, way, 1e-3) == pytest.approx(expected, rel=2e-4)


def test_v_is_taken_in_evaluation_mode_or_as_trained(model: nn.Module) -> None:
    v = midstream.validation_gradient(model, Z, T, chunk_size=5)
    leaves = list(model.parameters())
    expected = torch.autograd.grad(cross_entropy(model(Z), T), leaves)
    for one, other in zip(v.values(), expected, strict=True):
        torch.testing.assert_close(one, other)
    as_v = midstream.validation_gradient(with_v(model), Z, T, chunk_size=5)
    batches = zip(Z.tensor_split(3), T.tensor_split(3), strict=True)  # of 4, 4 and 3 examples
    other_model = copy.deepcopy(model).train()
    total = torch.stack([cross_entropy(other_model(z), t) for z, t in batches]).sum()
    for one, other in zip(
        as_v.values(), torch.autograd.grad(total, list(other_model.parameters())), strict=True
    ):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(total_loss(with_v(model), Z, T), total.detach())


def test_the_hessian_is_that_of_the_loss_whose_gradient_is_v(model: nn.Module) -> None:
    for played in (model, with_v(model)):
        u = midstream.validation_gradient(played, *examples(5, 9))
        product = midstream.hessian_vector_product(played, Z, T, u)

        def v_at(step: float, played: nn.Module = played, u: Gradient = u) -> Gradient:
            other = copy.deepcopy(played)
            with torch.no_grad():
                for name, parameter in other.named_parameters():
                    parameter.add_(u[name], alpha=step)
            return midstream.validation_gradient(other, Z, T)

        ahead, behind = v_at(1e-6), v_at(-1e-6)
        for name, value in product.items():
            torch.testing.assert_close((ahead[name] - behind[name]) / 2e-6, value, rtol=1e-4, atol=1e-5)


def test_the_exact_utility_is_its_slope_if_v_is_taken_as_trained(model: nn.Module) -> None:
    played, upcoming = with_v(model), examples(5, 4)
    step = midstream.Sgd(0.05)
    gradient = unrolled_utility_gradient(played, X, Y, Z, T, step=step, upcoming=[upcoming])

    def after(x: Tensor) -> Tensor:
        other = copy.deepcopy(played)
        for inputs, labels in ((x, Y), upcoming):
            taken = midstream.batch_gradient(other, inputs, labels)
            with torch.no_grad():
                for name, parameter in other.named_parameters():
                    parameter.sub_(taken[name], alpha=0.05)
        return total_loss(other, Z, T)

    for way in directions(2):
        assert slope(after, X, way) == pytest.approx(float((gradient * way).sum()), rel=1e-5)


def test_a_derivative_changes_neither_statistics_nor_modes(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for played in (model, with_v(model)):
        v = midstream.validation_gradient(played, Z, T)
        midstream.mixed_derivative(played, X, Y, v)
        midstream.hessian_vector_product(played, Z, T, v)
        midstream.batch_gradient(played, X, Y)
        utility(played, X, Y, Z, T, learning_rate=0.1)
        assert not any(layer.training for layer in played.modules())
        for name, value in played.state_dict().items():
            assert torch.equal(value, before[name])
    assert not torch.equal(stepped_on(model, X).state_dict()["1.running_mean"], before["1.running_mean"])


def test_an_error_inside_restores_the_mode(model: nn.Module) -> None:
    def fail() -> None:
        with as_trained(model):
            norms = [layer for layer in model.modules() if layer.training]
            assert [type(layer) for layer in norms] == [nn.BatchNorm2d, nn.BatchNorm2d]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(layer.training for layer in model.modules())
    assert all(layer.track_running_stats for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))


def test_marks_are_kept_by_copies_and_removed_after_a_context() -> None:
    plain = network()
    with using_batch_statistics(plain, validation_batch=7):
        kept = copy.deepcopy(plain)
    assert statistics_of(plain) is None
    assert (found := statistics_of(kept)) is not None
    assert found.validation_batch == 7
    with pytest.raises(ValueError, match="at least 2"):
        midstream.use_batch_statistics(plain, validation_batch=1)


def test_layers_without_a_mark_are_refused_as_before(model: nn.Module) -> None:
    frozen = network().eval()
    midstream.use_batch_statistics(frozen)  # no layer is in training mode
    assert statistics_of(frozen) is None
    untracked = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(50, track_running_stats=False), nn.Linear(50, 3))
    midstream.use_batch_statistics(untracked)
    x, y = X.float(), Y
    for refused in (untracked, network()):
        with pytest.raises(DerivativeError, match="couples the examples"):
            midstream.mixed_derivative(refused, x, y, {})
    assert functional_call(model, {}, (X,)).shape == (6, CLASSES)
