"""Training and evaluation mode: what a step is taken in, and what the players look at.

A layer such as dropout acts in training mode only. Nobody knows beforehand which nodes a step will drop, so
both players reason with the whole network (paper A.2.3), in evaluation mode; the step alone is taken in
training mode.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn

BatchNorm = Literal["refuse", "evaluation"]
"""What becomes of a model with batch norm: see `midstream.run.models.build_model`."""


def layers_in_training_mode(model: nn.Module) -> list[nn.Module]:
    """Return the model's layers that are in training mode, the model itself included.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2).eval())
    >>> layers_in_training_mode(model)[1:]
    [Linear(in_features=2, out_features=2, bias=True)]
    """
    return [layer for layer in model.modules() if layer.training]


@contextmanager
def switched(layers: Iterable[nn.Module], *, training: bool) -> Iterator[None]:
    """Put layers into the other mode for as long as the context lasts.

    Args:
        layers: layers that are in one mode, all of them.
        training: the mode to put them into.

    >>> layer = nn.Dropout(0.2)
    >>> with switched([layer], training=False):
    ...     layer.training
    False
    >>> layer.training
    True
    """
    layers = list(layers)
    _set(layers, training)
    try:
        yield
    finally:
        _set(layers, not training)


def _set(layers: Iterable[nn.Module], training: bool) -> None:
    for layer in layers:
        layer.training = training
