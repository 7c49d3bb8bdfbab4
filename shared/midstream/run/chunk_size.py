"""The number of examples that a run differentiates at a time."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.chunk_size import largest_chunk
from midstream.mathematics.derivatives.gradients import CHUNK, mixed_derivative, validation_gradient
from midstream.mathematics.loss import Loss, cross_entropy

_SHARE = 0.25
"""Share of the device's memory that a chunk may take. The rest is for batch, players, and the other side."""

_SLOWER = 1.5
"""How much longer an example may take in a large chunk than in a small one."""

_TIMED = 3  # times; the first one chooses kernels


def chunk_size_here(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, loss: Loss = cross_entropy
) -> int | None:
    """Return the largest chunk that fits on the device of the inputs, up to the whole validation set.

    If an example takes longer in it than in a small chunk, the small one is returned.

    On a CPU it is None: the derivatives then take a number that depends only on the shape of an input, so
    machines with different memory compute the same bits. Larger chunks were no faster there.

    Args:
        model: the model, on the device.
        inputs: the validation inputs, on the device.
        labels: their labels.
        loss: the loss.
    """
    if inputs.device.type != "cuda" or len(inputs) <= CHUNK:
        return None
    each = _bytes_each(model, inputs[:CHUNK], labels[:CHUNK], loss)
    # All of the memory, not what is free: a game over HTTP must find the same number as one in one process.
    _, memory = torch.cuda.mem_get_info(inputs.device)
    largest = largest_chunk(lambda size: size * each <= _SHARE * memory, first=CHUNK, most=len(inputs))
    return not_slower(largest, CHUNK, lambda size: _seconds_each(model, inputs[:size], labels[:size], loss))


def not_slower(large: int, small: int, seconds_each: Callable[[int], float]) -> int:
    """Return the large chunk, unless an example takes much longer in it than in the small one.

    Only a difference that no noise makes counts: another choice in the next process would change bits.

    >>> not_slower(1000, 250, lambda size: 1.4 if size == 1000 else 1.0)
    1000
    >>> not_slower(1000, 250, lambda size: 1.6 if size == 1000 else 1.0)
    250
    """
    return large if large == small or seconds_each(large) <= _SLOWER * seconds_each(small) else small


def _seconds_each(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss) -> float:
    """Return how long both derivatives take for an example, at best."""
    found = []
    for _ in range(_TIMED):
        torch.cuda.synchronize(inputs.device)
        started = time.perf_counter()
        _derivatives(model, inputs, labels, loss)
        torch.cuda.synchronize(inputs.device)
        found.append(time.perf_counter() - started)
    return min(found) / len(inputs)


def _bytes_each(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss) -> float:
    """Return the memory that both derivatives need for an example, beyond what is there."""
    device = inputs.device
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _derivatives(model, inputs, labels, loss)
    return (torch.cuda.max_memory_allocated(device) - before) / len(inputs)


def _derivatives(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss) -> None:
    v = validation_gradient(model, inputs, labels, loss=loss, chunk_size=len(inputs))
    mixed_derivative(model, inputs, labels, v, loss=loss, chunk_size=len(inputs))
