"""Only models that are equal but for the values of their tensors share a check of their derivatives."""

from collections.abc import Callable

import pytest
import torch
from known_architectures import architecture
from torch import nn


def network(*, slope: float = 0.01, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 5, bias=bias), nn.LeakyReLU(slope), nn.Linear(5, 5), nn.Dropout(0.1))


def tied(model: nn.Sequential) -> nn.Sequential:
    model[2].weight = model[0].weight
    return model


def frozen(model: nn.Sequential) -> nn.Sequential:
    model[0].requires_grad_(False)
    return model


CHANGES: dict[str, Callable[[], nn.Module]] = {
    "an option": lambda: network(slope=0.02),
    "a tensor less": lambda: network(bias=False),
    "another mode": lambda: network().eval(),
    "another precision": lambda: network().double(),
    "tied weights": lambda: tied(network()),
    "a frozen layer": lambda: frozen(network()),
    "another layer": lambda: nn.Sequential(*network()[:3]),
}


def test_other_numbers_are_the_same_architecture() -> None:
    torch.manual_seed(0)
    assert architecture(network()) == architecture(network())


@pytest.mark.parametrize("change", CHANGES)
def test_anything_else_is_another_one(change: str) -> None:
    assert architecture(CHANGES[change]()) != architecture(network())
