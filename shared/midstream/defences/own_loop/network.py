"""Finds the network in what a training loop holds: wrapped, compiled, sharded, or with named outputs."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, distributed, nn

from midstream.mathematics.derivatives.functional import DerivativeError, unwrapped


def network_of(model: nn.Module) -> nn.Module:
    """Return the network inside of `DataParallel`, `DistributedDataParallel` and `torch.compile`.

    Its parameters are those that the optimizer steps: a wrapper has no parameters of its own.

    Raises:
        DerivativeError: the parameters are sharded.
    """
    network = unwrapped(model)
    for name, layer in network.named_modules():
        if any(kind.__name__ in ("FSDPModule", "FullyShardedDataParallel") for kind in type(layer).__mro__):
            raise _sharded(f"layer {name!r}" if name else "the model", "sharded by FSDP")
    for name, parameter in network.named_parameters():
        if any(kind.__name__ == "DTensor" for kind in type(parameter).__mro__):
            raise _sharded(f"parameter {name!r}", "a DTensor, a part of itself on each rank")
    return network


def _sharded(what: str, how: str) -> DerivativeError:
    return DerivativeError(
        f"{what} is {how}, and the defender's derivatives need every parameter whole on each rank. Train "
        f"with DistributedDataParallel, which the defender unwraps"
    )


def refuse_synchronised_batch_norm(network: nn.Module) -> None:
    """Raise `DerivativeError` if batch norm couples the examples of several ranks."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.SyncBatchNorm) and layer.training and _several_ranks(layer):
            raise DerivativeError(
                f"layer {name!r} is SyncBatchNorm: in training mode it couples the examples of all ranks, "
                f"and a rank can differentiate only its own part. Use batch norm, with the statistics of "
                f"each rank's part, or call .eval() on the layer"
            )


def _several_ranks(layer: nn.SyncBatchNorm) -> bool:
    if not (distributed.is_available() and distributed.is_initialized()):
        return False
    return distributed.get_world_size(layer.process_group) > 1


@contextmanager
def plainly(network: nn.Module) -> Iterator[None]:
    """Within this context, run a network's layers uncompiled and in the precision of its parameters.

    Compiled layers cannot be differentiated twice, and would be compiled again for this. In a lower
    precision, derivatives are too coarse to be checked.
    """
    with ExitStack() as stack:
        for device in sorted({parameter.device.type for parameter in network.parameters()}):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if (
            "torch._dynamo" in sys.modules
        ):  # otherwise nothing can be compiled, and importing it takes a second
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


class Logits(nn.Module):
    """A network as a function from inputs to logits.

    Args:
        network: returns a tensor, or an object or a mapping with a tensor `logits`, as the models of the
            library transformers do.
        entry: calls the network with its inputs under this name; None calls it with them alone.
    """

    def __init__(self, network: nn.Module, entry: str | None) -> None:
        super().__init__()
        self.network = network
        self._entry = entry

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        outputs = self.network(inputs) if self._entry is None else self.network(**{self._entry: inputs})
        logits: Tensor = outputs if (found := _named_logits(outputs)) is None else found
        return logits


def logits_of(network: nn.Module, one: Tensor, entry: str | None) -> nn.Module:
    """Return a module whose outputs are logits: the network itself if it can be called with its inputs alone.

    Args:
        network: the network, in evaluation mode.
        one: an input for it, `(1, *input)`.
        entry: as in `Logits`.
    """
    if entry is not None:
        return Logits(network, entry)
    devices = [one.device] if one.is_cuda else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            outputs = network(one)
    except Exception:  # the check of its derivatives says what is wrong
        return network
    return network if _named_logits(outputs) is None else Logits(network, None)


def _named_logits(outputs: object) -> Tensor | None:
    if isinstance(outputs, Tensor):
        return None
    found = outputs.get("logits") if isinstance(outputs, dict) else getattr(outputs, "logits", None)
    return found if isinstance(found, Tensor) else None
