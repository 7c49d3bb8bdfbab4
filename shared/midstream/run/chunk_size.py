"""The number of examples that a run differentiates at a time."""

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.chunk_size import largest_chunk
from midstream.mathematics.derivatives.gradients import CHUNK, mixed_derivative, validation_gradient

_SHARE = 0.25
"""Share of the device's memory that a chunk may take. The rest is for batch, players, and the other side."""


def chunk_size_here(model: nn.Module, inputs: Tensor, labels: Tensor) -> int | None:
    """Return the largest chunk that fits on the device of the inputs, up to the whole validation set.

    On a CPU it is None: the derivatives then take a number that depends only on the shape of an input, so
    machines with different memory compute the same bits. Larger chunks were no faster there.

    Args:
        model: the model, on the device.
        inputs: the validation inputs, on the device.
        labels: their labels.
    """
    if inputs.device.type != "cuda" or len(inputs) <= CHUNK:
        return None
    each = _bytes_each(model, inputs[:CHUNK], labels[:CHUNK])
    # All of the memory, not what is free: a game over HTTP must find the same number as one in one process.
    _, memory = torch.cuda.mem_get_info(inputs.device)
    return largest_chunk(lambda size: size * each <= _SHARE * memory, first=CHUNK, most=len(inputs))


def _bytes_each(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the memory that both derivatives need for an example, beyond what is there."""
    device = inputs.device
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    v = validation_gradient(model, inputs, labels, chunk_size=len(inputs))
    mixed_derivative(model, inputs, labels, v, chunk_size=len(inputs))
    return (torch.cuda.max_memory_allocated(device) - before) / len(inputs)
