"""The buffers of a model, which a forward pass in training mode may change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def buffers_kept_on_error(model: nn.Module) -> Iterator[None]:
    """Restore a model's buffers if an exception leaves this context.

    >>> layer = nn.BatchNorm1d(2)
    >>> try:
    ...     with buffers_kept_on_error(layer):
    ...         raise ArithmeticError(layer(torch.rand(3, 2)))
    ... except ArithmeticError:
    ...     layer.num_batches_tracked
    tensor(0)
    """
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in before:
                    buffer.copy_(before[name])
        raise
