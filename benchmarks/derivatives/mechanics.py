"""Ways to write a layer: checkpoints, functions with derivatives of their own, hooks, shared weights."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.derivatives.around import functions, layer, layers
from benchmarks.derivatives.custom_functions import (
    Cube,
    CubeDetached,
    CubeForward,
    CubeInTwo,
    CubeOnce,
    Rounded,
    WrongForward,
)


class Tied(nn.Module):
    """One weight under two names, and one layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(self.first(z).tanh()).tanh())
        return found


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
        self.reentrant = reentrant

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = checkpoint(self.inner, z, use_reentrant=self.reentrant)
        return found


class Hooked(nn.Linear):
    """A layer that is watched in both directions, as by tools that log gradients."""

    def __init__(self) -> None:
        super().__init__(8, 8)
        self.register_forward_hook(lambda _layer, _inputs, output: output.tanh())
        self.register_full_backward_hook(lambda _layer, _above, _below: None)


class Remembering(nn.Module):
    """A layer that keeps what it saw, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))
        self.last: Tensor | None = None

    def forward(self, z: Tensor) -> Tensor:
        self.calls += 1
        self.last = z
        return z.tanh()


class Frozen(nn.Module):
    """A layer whose weight is frozen, behind trainable ones."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.inner.weight.requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.inner(z).tanh()
        return found


class Unused(nn.Module):
    """A layer with a parameter that the loss does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(3, 3)

    def forward(self, z: Tensor) -> Tensor:
        return z.tanh()


class Single(nn.Module):
    """A layer that computes in single precision, whatever its inputs come in."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.table = torch.linspace(-1, 1, 64).reshape(8, 8).to(dtype)  # no buffer: it stays in its precision

    def forward(self, z: Tensor) -> Tensor:
        return (z.to(self.table.dtype) @ self.table).tanh().to(z.dtype)


class ComplexWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4, dtype=torch.complex64))

    def forward(self, z: Tensor) -> Tensor:
        return (z.to(self.weight.dtype) @ self.weight).abs()


def partly_without_gradient(z: Tensor) -> Tensor:
    with torch.no_grad():
        scale = z.abs().amax()
    return z.sin() / scale.clamp(min=5.0)


def branching(z: Tensor) -> Tensor:
    return z.sin() if z.sum().item() > -1000 else z.cos()


MECHANICS = [
    layer(
        "vector",
        "checkpoint, reentrant",
        lambda: Checkpointed(reentrant=True),
        refused="use_reentrant=True",
        group="layer",
    ),
    *layers(
        "vector",
        {
            "checkpoint, not reentrant": lambda: Checkpointed(reentrant=False),
            "autograd.Function": lambda: Cube.apply,
            "autograd.Function with setup_context": lambda: CubeInTwo.apply,
            "autograd.Function with jvp": lambda: CubeForward.apply,
            "tied weights": Tied,
            "a frozen weight": Frozen,
        },
        group="layer",
    ),
    layer(
        "vector",
        "autograd.Function with a wrong jvp",
        lambda: WrongForward.apply,
        refused="second derivatives",
        group="layer",
    ),
    layer(
        "vector",
        "autograd.Function, once differentiable",
        lambda: CubeOnce.apply,
        refused="second derivatives",
        group="layer",
    ),
    layer(
        "vector",
        "autograd.Function that detaches",
        lambda: CubeDetached.apply,
        refused="second derivatives",
        group="layer",
    ),
    layer("vector", "straight-through estimator", lambda: Rounded.apply, refused="slope", group="layer"),
    *layers(
        "vector",
        {
            "hooks in both directions": Hooked,
            "buffers that a forward pass changes": Remembering,
            "an unused parameter": Unused,
            "Dropout, evaluation": nn.Dropout,
            "AlphaDropout, evaluation": nn.AlphaDropout,
        },
    ),
    layer(
        "vector",
        "a layer in single precision",
        lambda: Single(torch.float32),
        reference=lambda: Single(torch.float64),
        double=1e-4,
    ),
    layer("vector", "a complex weight", ComplexWeight),
    *functions(
        "vector", {"a constant from no_grad": partly_without_gradient, "a branch on a value": branching}
    ),
]
