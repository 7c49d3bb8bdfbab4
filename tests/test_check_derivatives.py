"""A model is checked once: the cheapest right order, or a sentence that names the layer."""

import gc
import random
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, Case
from foreign_layers import FOREIGN, Cube, Do, between
from torch import Tensor, nn

from midstream import (
    Defender,
    DerivativeError,
    check_derivatives,
    cross_entropy,
    mixed_derivative,
    validation_gradient,
)
from midstream.mathematics.derivatives.known_orders import agreed_order, order_of

X, Y = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])


class Wrong(Cube):
    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return 0.9 * Cube.backward(ctx, gradient)


class Detached(Cube):
    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return Cube.backward(ctx, gradient).detach()


class Once(Cube):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return Cube.backward(ctx, gradient)


class Returning(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.layer, self.wrap = nn.Linear(5, 3), wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.layer(x))


class NoGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.below(x).tanh()
        return self.above(features)  # type: ignore[no-any-return]


REFUSED: dict[str, tuple[Callable[[], nn.Module], Tensor, str]] = {
    "statistics of the batch": (
        lambda: between(Do(lambda x: x - x.mean(0))),
        X,
        r"layer '1' \(Do\) couples the examples of a batch .* group norm",
    ),
    "batch norm by its function": (
        lambda: between(Do(lambda x: F.batch_norm(x, None, None, training=True))),
        X,
        r"layer '1' \(Do\) takes two examples, but not one",
    ),
    "straight through": (
        lambda: between(Do(lambda x: x + (x.round() - x).detach())),
        X,
        r"layer '1' \(Do\) has a gradient that is not the slope of its loss .* a value is detached",
    ),
    "a wrong function": (
        lambda: between(Do(Wrong.apply)),
        X,
        r"layer '1' \(Do\) has a gradient that is not the slope of its loss .*Function is wrong",
    ),
    "features without gradients": (
        NoGradient,
        X,
        r"model NoGradient has a gradient that is not the slope of its loss",
    ),
    "a function that detaches its gradient": (
        lambda: between(Do(Detached.apply)),
        X,
        r"layer '1' \(Do\) has no second derivatives .* double-backward differs by .* finite differences",
    ),
    "a function that is differentiable once": (
        lambda: between(Do(Once.apply)),
        X,
        r"layer '1' \(Do\) has no second derivatives that can be trusted: .*differentiates twice",
    ),
    "random in evaluation mode": (
        lambda: between(Do(lambda x: F.dropout(x, 0.5))),
        X,
        r"layer '1' \(Do\) draws random numbers in evaluation mode",
    ),
    "random by itself": (
        lambda: between(Do(lambda x: x * random.random())),
        X,
        r"layer '1' \(Do\) gives another loss each time",
    ),
    "half precision inside": (
        lambda: between(Do(lambda x: x.bfloat16().float())),
        X,
        r"layer '1' \(Do\) computes in torch.bfloat16, too coarse",
    ),
    "not finite": (lambda: between(Do(lambda x: x / 0)), X, r"has no gradient: .* not finite"),
    "a dictionary": (lambda: Returning(lambda x: {"logits": x}), X, "returns a dict, .* returns its logits"),
    "a tuple": (lambda: Returning(lambda x: (x, x)), X, "returns a tuple"),
    "indices": (
        lambda: nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3)),
        torch.tensor([[0, 1], [2, 3], [4, 0]]),
        "the inputs are torch.int64, .* behind its embedding",
    ),
    "double inputs": (lambda: nn.Linear(5, 3), X.double(), "the inputs are torch.float64, Linear is not"),
    "a wrapper": (lambda: nn.DataParallel(nn.Linear(5, 3)), X, "DataParallel is a wrapper round Linear"),
    "a compiled one": (
        lambda: compiled(nn.Linear(5, 3)),
        X,
        "OptimizedModule is a wrapper round Linear",
    ),
    "a traced one": (
        lambda: traced(nn.Linear(5, 3)),
        X,
        "is scripted or traced",
    ),
    "no shape yet": (lambda: nn.LazyLinear(3), X, "parameter 'weight' has no shape .* call it once"),
    "other inputs": (lambda: nn.Linear(4, 3), X, r"Linear or its loss stops at inputs of shape \(2, 5\)"),
}


def compiled(model: nn.Module) -> nn.Module:
    found: nn.Module = torch.compile(model)  # type: ignore[assignment]
    return found


def traced(model: nn.Module) -> nn.Module:
    with pytest.warns((DeprecationWarning, FutureWarning)):
        found: nn.Module = torch.jit.trace(model, X)  # type: ignore[no-untyped-call]
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_by_name(name: str) -> None:
    make, x, pattern = REFUSED[name]
    torch.manual_seed(0)
    model = make().eval()
    for refused in (
        lambda: check_derivatives(model, x, Y),
        lambda: mixed_derivative(model, x, Y, {n: torch.zeros(()) for n, _ in model.named_parameters()}),
    ):
        with pytest.raises(DerivativeError, match=f"(?s){pattern}"):
            refused()


@pytest.mark.parametrize(
    ("reduction", "pattern"),
    [("mean", "a mean over its batch; it must be the sum"), ("none", r"shape \(2,\), not a scalar")],
)
def test_a_loss_that_does_not_sum_is_refused(reduction: str, pattern: str) -> None:
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels, reduction=reduction)

    with pytest.raises(DerivativeError, match=pattern):
        check_derivatives(nn.Linear(5, 3), X, Y, loss=loss)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plain_networks_keep_the_cheapest_order(case: Case, dtype: torch.dtype) -> None:
    p = case.build(dtype)
    assert check_derivatives(p.model, p.inputs, p.labels) == "reverse-over-forward"


@pytest.mark.parametrize("name", ["layer-norm", "instance-norm", "determinant", "encoder"])
def test_forward_rules_that_drop_terms_are_found_out(name: str) -> None:
    model, x, y = next(foreign for foreign in FOREIGN if foreign.name == name).build()
    assert check_derivatives(model, x, y) != "reverse-over-forward"
    with pytest.raises(DerivativeError, match=r"reverse-over-forward differs by .* from the others"):
        check_derivatives(model, x, y, orders=["reverse-over-forward"])


def test_new_weights_of_zero_hide_nothing() -> None:
    model = between(nn.LayerNorm(8))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert check_derivatives(model, X, Y) != "reverse-over-forward"


def test_single_precision_inside_is_held_to_what_it_has() -> None:
    model = between(Do(lambda x: F.layer_norm(x.float(), (8,)).to(x)))
    assert check_derivatives(model, X, Y) in ("forward-over-reverse", "double-backward")


def test_nothing_is_changed_by_the_check() -> None:
    model, x, y = FOREIGN[0].build(torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    check_derivatives(model, x, y)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


class Counted:
    """A loss that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        return cross_entropy(outputs, labels)

    def since(self, work: Callable[[], object]) -> int:
        before = self.calls
        work()
        return self.calls - before


def test_a_model_is_checked_once_in_the_same_circumstances() -> None:
    first = nn.Linear(5, 8)
    model, loss = nn.Sequential(first, nn.Dropout(0.0), nn.Linear(8, 3)), Counted()
    v = validation_gradient(model, X, Y, loss=loss)

    def calls(x: Tensor = X) -> int:
        return loss.since(lambda: mixed_derivative(model, x, Y[: len(x)], v, loss=loss))

    assert calls() > 1
    assert calls() == calls(X[:1]) == 1
    model.eval()
    assert calls() > 1
    model.train()
    assert calls() == 1
    model[1] = nn.Tanh()
    assert calls() > 1
    first.requires_grad_(False)
    assert calls() > 1


def test_a_layer_put_in_later_is_right_too() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.Identity(), nn.Tanh(), nn.Linear(8, 3))
    assert order_of(model, X, Y) == "reverse-over-forward"
    model[1] = nn.LayerNorm(8)
    assert order_of(model, X, Y) != "reverse-over-forward"


def test_a_loss_written_in_the_call_is_known_again() -> None:
    calls = 0

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return x

    model = between(Counting())
    v = validation_gradient(model, X, Y)
    made = []
    for _ in range(2):
        before = calls
        mixed_derivative(model, X, Y, v, loss=lambda outputs, labels: 2 * cross_entropy(outputs, labels))
        made.append(calls - before)
    assert made[0] > made[1] == 1


def test_what_is_known_of_a_model_keeps_it_from_nobody() -> None:
    model = nn.Linear(5, 3)
    order_of(model, X, Y)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_another_process_takes_the_same_order_or_says_why_not() -> None:
    plain, normalised = nn.Linear(5, 3), between(nn.LayerNorm(8))
    assert agreed_order(plain, X, Y, "double-backward") == "double-backward"
    assert agreed_order(plain, X, Y, None) == "reverse-over-forward"
    with pytest.raises(DerivativeError, match="reverse-over-forward, is wrong here: layer '1'"):
        agreed_order(normalised, X, Y, "reverse-over-forward")
    with pytest.raises(
        DerivativeError, match="order of derivatives is 'sideways', which is none of reverse-over-forward, "
    ):
        agreed_order(plain, X, Y, "sideways")


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled])
def test_the_defender_looks_into_wrappers(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = between(nn.LayerNorm(8))
    expected = Defender(model, X, Y, epsilon=0.1)(X, Y)
    assert torch.equal(Defender(wrap(model), X, Y, epsilon=0.1)(X, Y), expected)


def test_the_defender_checks_at_its_first_call() -> None:
    defender = Defender(between(Do(lambda x: x - x.mean(0))), X, Y, epsilon=0.1)
    with pytest.raises(DerivativeError, match=r"layer '1' \(Do\) couples the examples"):
        defender(X, Y)
