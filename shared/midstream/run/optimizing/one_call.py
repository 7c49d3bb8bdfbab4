"""The optimizers of a training: one call updates all parameters, and a CUDA graph can hold the call."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

GATED = ("cuda",)
"""Types of devices whose optimizers a value on the device can hold back; see `held_back`."""


def arrange(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Have a plain Adam or SGD update all parameters together.

    On a GPU it is fused: its step is a few kernels, and its number of steps is on the device, so that a graph
    can hold it. On a CPU each operation updates all parameters together, to the same bits as one by one.

    Args:
        optimizer: `adam` or `sgd` without options, before its first step.
        device: where its parameters are.
    """
    gated = device.type in GATED
    for group in optimizer.param_groups:
        group |= {"foreach": not gated, "fused": gated}
        if isinstance(optimizer, torch.optim.Adam):
            group["capturable"] = gated


@contextmanager
def held_back(optimizer: torch.optim.Optimizer, unless: Tensor) -> Iterator[None]:
    """Within this context, a step changes nothing unless a condition holds. The host does not read it.

    Args:
        optimizer: one that was arranged for a `GATED` device.
        unless: the condition, a bool tensor without dimensions.
    """
    # Fused optimizers skip a step whose gradients a GradScaler found to be infinite; this is that switch.
    optimizer.found_inf = unless.logical_not().float()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]
