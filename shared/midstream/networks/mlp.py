"""A multilayer perceptron, for tables and for small images."""

import math
from typing import Literal

from torch import nn

from midstream.networks.classifiers import Shape


def mlp(
    input_shape: Shape,
    classes: int,
    *,
    hidden: int = 256,
    layers: int = 2,
    norm: Literal["none", "batch", "layer"] = "none",
    dropout: float = 0.0,
) -> nn.Module:
    """Return hidden layers of ReLU on the flattened input; batch norm needs `--batch-norm training`.

    Args:
        input_shape: any shape.
        classes: number of classes, or of another task's outputs.
        hidden: nodes of a hidden layer.
        layers: number of hidden layers.
        norm: the norm before each ReLU.
        dropout: share of the hidden nodes that a training step drops.

    Raises:
        ValueError: a number is out of range.
    """
    if hidden < 1 or layers < 1 or not 0 <= dropout < 1:
        raise ValueError(
            f"hidden and layers must be at least 1 and dropout from 0 to below 1, not {hidden}, {layers} and "
            f"{dropout}"
        )
    built: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(input_shape)
    for _ in range(layers):
        built.append(nn.Linear(inputs, hidden))
        if norm != "none":
            built.append(nn.BatchNorm1d(hidden) if norm == "batch" else nn.LayerNorm(hidden))
        # Nest both in one module, so that later layers keep their names.
        built.append(nn.Sequential(nn.ReLU(), nn.Dropout(dropout)) if dropout else nn.ReLU())
        inputs = hidden
    return nn.Sequential(*built, nn.Linear(inputs, classes))
