"""The optimizers of a training: one call updates all parameters, and a CUDA graph can hold the call."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

GATED = ("cuda",)
"""Types of devices whose optimizers a value on the device can hold back; see `held_back`."""


def new_optimizer(
    name: Literal["adam", "sgd"], model: nn.Module, *, learning_rate: float, device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimizer of a run.

    On a GPU it is fused: its step is a few kernels, and its number of steps is on the device, so that a graph
    can hold it. On a CPU each operation updates all parameters together, to the same bits as one by one.

    Args:
        name: `adam` or `sgd`, without any further option.
        model: the model that it trains.
        learning_rate: η, for the sum of the batch's losses.
        device: where the model is.
    """
    gated, parameters = device.type in GATED, model.parameters()
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=learning_rate, foreach=not gated, fused=gated)
    return torch.optim.Adam(parameters, lr=learning_rate, foreach=not gated, fused=gated, capturable=gated)


@contextmanager
def held_back(optimizer: torch.optim.Optimizer, unless: Tensor) -> Iterator[None]:
    """Within this context, a step changes nothing unless a condition holds. The host does not read it.

    Args:
        optimizer: one of `new_optimizer` on a `GATED` device.
        unless: the condition, a bool tensor without dimensions.
    """
    # Fused optimizers skip a step whose gradients a GradScaler found to be infinite; this is that switch.
    optimizer.found_inf = unless.logical_not().float()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]
