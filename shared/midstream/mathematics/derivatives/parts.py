"""How a set of examples is divided for a derivative: into chunks, or not at all if it is coupled."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_statistics import as_trained, couples, statistics_of
from midstream.mathematics.inputs.pixels import pixels

CHUNK = 250
"""Examples differentiated at a time. Memory use depends on this number, not on the size of the set."""

_SMALL = 1024
"""Inputs of at most so many values are differentiated by twice as many at a time."""

Parts = Iterator[tuple[Tensor, Tensor]]


def chunks(inputs: Tensor, labels: Tensor, size: int | None) -> Parts:
    """Split a set into chunks of `size` examples, converting uint8 inputs to float32 pixels.

    A size of None stands for 250 examples, or 500 if an input has at most 1,024 values.
    """
    _check(inputs, labels)
    if size is None:
        size = 2 * CHUNK if inputs.shape[1:].numel() <= _SMALL else CHUNK
    return _with_pixels(torch.split(inputs, size), torch.split(labels, size))


@contextmanager
def of_set(model: nn.Module, inputs: Tensor, labels: Tensor, size: int | None) -> Iterator[Parts]:
    """Yield the parts over which a derivative of a set's loss is summed, with the model in its mode for them.

    These are chunks, unless batch norm couples the examples. If the model is `as_trained`, the set is one
    part. If `v` is taken with the statistics of validation batches, the parts are such batches, of equal
    sizes up to one example.

    Args:
        model: the model.
        inputs: `(examples, *input)`.
        labels: their targets.
        size: examples of a chunk; None as in `chunks`.
    """
    _check(inputs, labels)
    statistics = statistics_of(model)
    if couples(model):
        yield chunks(inputs, labels, len(inputs))
    elif statistics is None or statistics.validation_batch is None:
        yield chunks(inputs, labels, size)
    else:
        count = -(-len(inputs) // statistics.validation_batch)
        with as_trained(model):
            yield _with_pixels(torch.tensor_split(inputs, count), torch.tensor_split(labels, count))


def _check(inputs: Tensor, labels: Tensor) -> None:
    if len(inputs) != len(labels) or len(inputs) == 0:
        raise ValueError(f"{len(inputs)} inputs and {len(labels)} labels; give the same number, at least one")


def _with_pixels(inputs: tuple[Tensor, ...], labels: tuple[Tensor, ...]) -> Parts:
    return ((pixels(x), y) for x, y in zip(inputs, labels, strict=True))
