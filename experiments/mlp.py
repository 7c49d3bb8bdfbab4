"""A perceptron, for a surrogate whose architecture differs from the model's."""

import math

from torch import nn


def mlp(input_shape: tuple[int, ...], classes: int, *, hidden: int = 64) -> nn.Module:
    """Return a perceptron with one hidden layer."""
    features = math.prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))
