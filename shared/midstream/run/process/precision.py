"""The precision in which this process computes a model, its derivatives and its training step.

- `float32`: everything in float32.
- `tf32`: matrix products and convolutions of a CUDA device round their factors to 10 bits of mantissa.
- `bfloat16`: matrix products and convolutions compute in bfloat16 (`torch.autocast`), 7 bits of mantissa.

In all three, parameters, gradients, the optimizer and the loss are float32. `docs/precision.md` says what
each one costs in direction and gains in time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from midstream.run.process.precisions import Precision

_chosen: Precision = "float32"


def choose(precision: Precision, device: torch.device) -> None:
    """Set the precision of the models that this process makes from now on.

    Raises:
        ValueError: the device has no such precision.
    """
    global _chosen
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(f"--precision tf32 needs a CUDA device, not {device}; use float32 or bfloat16")
    _chosen = precision
    if device.type == "cuda":
        _allow_tf32(precision == "tf32")


class Setting(NamedTuple):
    """The precision of this process, as one of several games in it has set it."""

    chosen: Precision
    matrices: bool
    convolutions: bool


def setting() -> Setting:
    """Return the precision of this process, for `restore`."""
    return Setting(_chosen, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


def restore(before: Setting) -> None:
    """Set the precision of this process to one that `setting` returned."""
    global _chosen
    if before != setting():
        _chosen, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def chosen() -> Precision:
    """Return the precision that `choose` set; float32 if it was not called."""
    return _chosen


@contextmanager
def in_float32() -> Iterator[None]:
    """Compute without tf32 within this context, for example to check derivatives."""
    before = _chosen == "tf32"
    if before:
        _allow_tf32(False)
    try:
        yield
    finally:
        if before:
            _allow_tf32(True)


def computing(model: nn.Module) -> nn.Module:
    """Make a model compute in the chosen precision, and return it.

    Its layers, the names of its parameters and their dtype stay the same. With bfloat16, it becomes an
    instance of a subclass of its class, whose `forward` runs under `torch.autocast`.
    """
    if _chosen == "bfloat16" and not isinstance(model, _InBfloat16):
        kind = type(model)
        if kind not in _kinds:
            _kinds[kind] = type(kind.__name__, (_InBfloat16, kind), {"__module__": kind.__module__})
        model.__class__ = _kinds[kind]
    return model


class _InBfloat16:
    """Runs the `forward` of the class that follows it under `torch.autocast`."""

    def forward(self, inputs: Tensor) -> object:
        # Without its cache, since derivatives call the model at parameters that they replace.
        with torch.autocast(inputs.device.type, torch.bfloat16, cache_enabled=False):
            outputs = super().forward(inputs)  # type: ignore[misc]
        half = isinstance(outputs, Tensor) and outputs.dtype == torch.bfloat16
        return outputs.float() if half else outputs


_kinds: dict[type[nn.Module], type[nn.Module]] = {}


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
