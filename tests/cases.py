"""Small problems with derivatives worth holding against an oracle: a model, a batch and a validation set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES = 3


@dataclass(frozen=True)
class Problem:
    """One game's constants: θ, the batch and Dval."""

    model: nn.Module
    inputs: Tensor
    labels: Tensor
    validation_inputs: Tensor
    validation_labels: Tensor


@dataclass(frozen=True)
class Case:
    """A network by name; `build` draws its weights and data, the same each time."""

    name: str
    network: Callable[[], nn.Module]
    input_shape: tuple[int, ...]

    def build(self, dtype: torch.dtype = torch.float64, *, batch: int = 6, validation: int = 11) -> Problem:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.network().to(dtype)
            x, z = (torch.rand(n, *self.input_shape).to(dtype) for n in (batch, validation))
            y, t = (torch.randint(CLASSES, (n,)) for n in (batch, validation))
        return Problem(model, x, y, z, t)


def logistic() -> nn.Module:
    return nn.Linear(5, CLASSES)


def tanh_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, CLASSES))


def relu_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 3 * 3, CLASSES)
    )


def group_norm_conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(4 * 2 * 2, CLASSES),
    )


def tied_weights_mlp() -> nn.Module:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(5, CLASSES))


def shared_layer_mlp() -> nn.Module:
    shared = nn.Linear(5, 5)
    return nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(5, CLASSES))


def batch_norm_mlp() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES))
    model(torch.rand(20, 5))  # running statistics other than 0 and 1
    return model.eval()


LOGISTIC = Case("logistic", logistic, (5,))
TANH_MLP = Case("tanh-mlp", tanh_mlp, (5,))
CONV = Case("conv", conv, (2, 8, 8))
SHARED_LAYER = Case("shared-layer-mlp", shared_layer_mlp, (5,))
BATCH_NORM = Case("batch-norm-eval", batch_norm_mlp, (5,))

CASES = [
    LOGISTIC,
    TANH_MLP,
    Case("relu-mlp", relu_mlp, (5,)),
    CONV,
    Case("group-norm-conv", group_norm_conv, (2, 8, 8)),
    Case("tied-weights-mlp", tied_weights_mlp, (5,)),
    BATCH_NORM,
]
NAMES = [case.name for case in CASES]


class ScalarRegression(nn.Module):
    """`θx - θ*x`, whose square is `L`: the target moves with the input (paper 5, A.2.1)."""

    def __init__(self, theta: float, target: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))
        self.target = target

    def forward(self, x: Tensor) -> Tensor:
        return self.theta * x - self.target * x


def squares(residuals: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    return residuals.square().sum()


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Fail where the model, its mode, its gradients or what is trainable change before the context ends."""
    first, frozen, *_ = parameters = list(model.parameters())
    first.grad = torch.full_like(first, 7.0)
    frozen.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    yield
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(now is then for now, then in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(first.grad, torch.full_like(first, 7.0))
    assert all(parameter.grad is None for parameter in parameters[1:])
    assert [parameter.requires_grad for parameter in parameters] == [p is not frozen for p in parameters]
