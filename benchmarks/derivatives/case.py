"""One model of the sweep, and what is to become of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.loss import Loss, cross_entropy

CLASSES = 3

Group = Literal["architecture", "layer", "operation"]


@dataclass(frozen=True)
class Problem:
    """A model with a batch, and the direction `u` that its second derivatives are taken along."""

    model: nn.Module
    inputs: Tensor
    labels: Tensor
    direction: Gradient


@dataclass(frozen=True)
class Case:
    """A model by name; `build` draws its weights and data, the same each time.

    Attributes:
        name: what the table calls it.
        network: makes the model.
        shape: of one input.
        group: the table that it stands in.
        loss: sums over its batch.
        refused: what the sentence must speak of, for a model that has no derivatives to be right about.
        training: whether the model stays in training mode.
        batch: inputs in the batch.
        costly: whether the sweep tries it, but the tests do not.
        inputs: draws the batch, for models of something other than pixels in [0, 1].
        reference: the same model, written so that it can be computed in double precision.
        double: the relative error allowed in double precision.
        single: the relative error allowed in single precision, which falls on the other side of some kinks.
    """

    name: str
    network: Callable[[], nn.Module]
    shape: tuple[int, ...]
    group: Group = "operation"
    loss: Loss = cross_entropy
    refused: str = ""
    training: bool = False
    batch: int = 3
    costly: bool = False
    inputs: Callable[[int], Tensor] | None = None
    reference: Callable[[], nn.Module] | None = None
    double: float = 1e-5
    single: float = 1e-2

    def build(self, dtype: torch.dtype = torch.float64, *, reference: bool = False) -> Problem:
        """Return the problem in one precision; both have the same parameters, inputs and `u`."""
        network = self.reference if reference and self.reference else self.network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = network()
            torch.manual_seed(1)
            x = self.inputs(self.batch) if self.inputs else torch.rand(self.batch, *self.shape)
            y = torch.arange(self.batch) % CLASSES
            unsettle(model)
            gather_statistics(model, torch.rand(8, *self.shape))
            model.train(self.training)
            trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
            u = {name: (0.1 * spread(p) * torch.randn_like(p)).to(dtype) for name, p in trainable.items()}
        model = model.to(dtype)
        x = x.to(dtype) if x.is_floating_point() else x
        model(x)  # a model that has been used may hold what a new one does not
        return Problem(model, x, y, u)


def unsettle(model: nn.Module) -> None:
    """Move what begins as zeros or ones, where derivatives vanish and kinks lie, to values of its own."""
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() <= 1 or p.std() == 0:
                p.add_(torch.randn(p.shape), alpha=0.1)


def spread(parameter: Tensor) -> Tensor:
    """Return the root mean square, which `u` is in proportion to: a step is to cross no kink."""
    return parameter.detach().abs().square().mean().sqrt()


def gather_statistics(model: nn.Module, inputs: Tensor) -> None:
    """Give each batch norm that tracks statistics those of a batch, with a variance that is not tiny."""
    tracking = [
        layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
    if not tracking:
        return
    momenta = [layer.momentum for layer in tracking]
    for layer in tracking:
        layer.momentum = 1.0
    with torch.no_grad():
        model.train()(inputs)
    for layer, momentum in zip(tracking, momenta, strict=True):
        layer.momentum = momentum
        if layer.running_var is not None:
            layer.running_var += 0.02
