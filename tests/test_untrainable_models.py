"""A model that cannot be trained, or returns no logit for each class, is refused before anything starts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from midstream.plugins import PluginError
from midstream.run.models import build_model

MODELS = """
import torch
from torch import nn


class Bare(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10]


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x.flatten(1)), x


def linear(inputs, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


def bare(shape, classes):
    return Bare()


def frozen(shape, classes):
    return linear(64, classes).requires_grad_(False)


def many(shape, classes):
    return linear(64, classes + 1)


def few(shape, classes):
    return linear(64, classes - 1)


def narrow(shape, classes):
    return linear(63, classes)


def double(shape, classes):
    return linear(64, classes).double()


def pair(shape, classes):
    return Pair()


def failing(shape, classes):
    raise KeyError("width")
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bare", "has no parameters: there is nothing to train"),
        (
            "frozen",
            r"has 2 parameters, all of them frozen \(requires_grad=False\): there is nothing",
        ),
        ("many", r"returns outputs of shape \(2, 11\) for 2 inputs, not \(2, 10\), a logit for each of 10"),
        ("few", r"returns outputs of shape \(2, 9\) for 2 inputs"),
        (
            "narrow",
            r"fails on inputs of torch.float32 and shape \(2, 1, 8, 8\): RuntimeError\('mat1",
        ),
        ("double", r"fails on inputs of torch.float32 and shape .* dtype"),
        ("pair", "returns a tuple, not a tensor of a logit for each class"),
        ("failing", r"for inputs of shape \(1, 8, 8\): KeyError\('width'\) \(models.py, line"),
    ],
)
def test_it_is_refused_by_name(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    with pytest.raises(PluginError, match=f"{name}' {words}"):
        build_model(f"{tmp_path}/models.py:{name}", (1, 8, 8), 10)


class Counting(nn.Module):
    """A model that draws and counts when it is called, in evaluation mode too."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        outputs: Tensor = self.layer(x) + torch.rand(())
        return outputs


def counting(_: tuple[int, ...], __: int) -> nn.Module:
    return Counting()


def test_the_look_at_its_outputs_leaves_the_model_and_the_numbers_alone() -> None:
    def drawn(build: Callable[[], nn.Module]) -> tuple[nn.Module, float]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return build(), torch.rand(()).item()

    built, after = drawn(lambda: build_model(f"{__name__}:counting", (4,), 3))
    assert isinstance(built, Counting)
    assert (built.calls.item(), built.training) == (0, True)
    bare, number = drawn(Counting)
    assert after == number
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), bare.parameters(), strict=True))
