"""Training and evaluation mode: training steps use the first, the players the second.

A layer such as dropout acts in training mode only. No player knows beforehand which nodes a step will drop,
so both use the whole network (paper A.2.3), in evaluation mode. Only the step itself uses training mode.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn

BatchNorm = Literal["refuse", "evaluation", "training", "training-with-v"]
"""How to treat a model with batch norm: see `midstream.run.models.build_model`."""


def layers_in_training_mode(model: nn.Module) -> list[nn.Module]:
    """Return the model's layers that are in training mode, the model itself included.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2).eval())
    >>> layers_in_training_mode(model)[1:]
    [Linear(in_features=2, out_features=2, bias=True)]
    """
    return [layer for layer in model.modules() if layer.training]


@contextmanager
def switched(layers: Iterable[nn.Module], *, training: bool) -> Iterator[None]:
    """Switch layers to the other mode within this context.

    Args:
        layers: layers that are all in the same mode.
        training: whether to switch to training mode.

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
        own = vars(layer)
        if "training" in own:
            own["training"] = training  # assigning the attribute takes 20 times as long, twice a step
        else:
            layer.training = training
