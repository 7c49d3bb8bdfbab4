"""Layers that write in their forward pass, or draw random numbers in it."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from cases import CLASSES
from foreign_layers import Do, between, old_weight_norm
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from midstream import (
    DerivativeError,
    RandomLayersWarning,
    cross_entropy,
    hessian_vector_product,
    mixed_derivative,
    utility,
    validation_gradient,
)

X, Y = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])


class MovingMean(nn.Module):
    """Tracks a mean in a buffer, in a frozen parameter and in an attribute, and uses none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(8))
        self.frozen = nn.Parameter(torch.zeros(8), requires_grad=False)
        self.plain = torch.zeros(8)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            moved = x.mean(0)
            self.mean.lerp_(moved, 0.1)
            self.frozen.lerp_(moved, 0.1)
            self.plain = self.plain + moved
        return x


def tracking_instance_norm() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8),
        nn.Unflatten(1, (2, 4)),
        nn.InstanceNorm1d(2, affine=True, track_running_stats=True),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    )


MEMORIES: dict[str, Callable[[], nn.Module]] = {
    "moving-mean": lambda: between(MovingMean()),
    "instance-norm": tracking_instance_norm,
    "spectral-norm": lambda: between(parametrizations.spectral_norm(nn.Linear(8, 8))),
    "old-spectral-norm": lambda: between(nn.utils.spectral_norm(nn.Linear(8, 8))),
}


def gradient(model: nn.Module) -> None:
    validation_gradient(model, X, Y, chunk_size=2)


def mixed(model: nn.Module) -> None:
    mixed_derivative(model, X, Y, ones(model), order="double-backward")


def product(model: nn.Module) -> None:
    hessian_vector_product(model, X, Y, ones(model), order="double-backward")


def gain(model: nn.Module) -> None:
    utility(model, X, Y, X, Y, learning_rate=0.1)


def attributes(model: nn.Module) -> list[Tensor]:
    return [value for layer in model.modules() for value in vars(layer).values() if isinstance(value, Tensor)]


def ones(model: nn.Module) -> dict[str, Tensor]:
    return {name: torch.ones_like(p) for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("compute", [gradient, mixed, product, gain])
@pytest.mark.parametrize("name", MEMORIES)
def test_what_a_layer_remembers_is_as_it_was(name: str, compute: Callable[[nn.Module], None]) -> None:
    torch.manual_seed(0)
    model = MEMORIES[name]().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    plain = [
        value for layer in model.modules() for value in vars(layer).values() if isinstance(value, Tensor)
    ]
    compute(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    after = [
        value for layer in model.modules() for value in vars(layer).values() if isinstance(value, Tensor)
    ]
    assert all(now is then for now, then in zip(after, plain, strict=True))
    with torch.no_grad():
        model(X)  # it would have changed
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_an_old_hook_leaves_no_graph_behind() -> None:
    model = old_weight_norm()
    with torch.no_grad():
        model(X)
    copy.deepcopy(model)
    validation_gradient(model, X, Y)
    copy.deepcopy(model)  # refused by torch where a weight belongs to a graph


def test_a_layer_that_moves_with_each_call_is_refused_in_training_mode() -> None:
    torch.manual_seed(0)
    model = MEMORIES["spectral-norm"]()
    with pytest.raises(DerivativeError, match=r"layer '1.*\.eval\(\)"):
        mixed_derivative(model, X, Y, ones(model))


RANDOM: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: between(nn.Dropout(0.5)),
    "alpha-dropout": lambda: between(nn.AlphaDropout(0.5)),
    "leaky": lambda: between(nn.RReLU()),
    "encoder": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)),
        nn.TransformerEncoderLayer(5, 1, 8, batch_first=True),
        nn.Flatten(),
        nn.Linear(5, 3),
    ),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_layers_in_training_mode_are_warned_about(name: str) -> None:
    model = RANDOM[name]()
    v = ones(model)
    for compute in (
        lambda: validation_gradient(model, X, Y),
        lambda: mixed_derivative(model, X, Y, v),
        lambda: hessian_vector_product(model, X, Y, v),
    ):
        with pytest.warns(RandomLayersWarning, match=r"layer '.*draws random numbers .*\.eval\(\)") as caught:
            compute()
        assert {warning.filename for warning in caught} == {__file__}
    model.eval()
    validation_gradient(model, X, Y)
    mixed_derivative(model, X, Y, v)


def test_a_model_that_drops_by_a_function_is_warned_about_too() -> None:
    layer = Do(lambda x: F.dropout(x, 0.5, training=layer.training))
    model = between(layer)
    v = ones(model)
    with pytest.warns(RandomLayersWarning, match="random numbers"):
        mixed_derivative(model, X, Y, v)
    mixed_derivative(model.eval(), X, Y, v)


def test_a_random_model_is_differentiated_at_what_was_drawn() -> None:
    """With the numbers of torch held, it is the derivative of one and the same function."""
    model = between(nn.Dropout(0.5)).double()
    x = X.double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomLayersWarning)
        torch.manual_seed(3)
        v = validation_gradient(model, x, Y)
    torch.manual_seed(3)
    loss = cross_entropy(model(x), Y)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    assert all(torch.allclose(v[n], g) for (n, _), g in zip(model.named_parameters(), expected, strict=True))
