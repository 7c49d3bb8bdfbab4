"""A network of another family than the digits' own, for a surrogate that guesses the architecture wrong."""

import math

from torch import nn


def mlp(input_shape: tuple[int, ...], classes: int, *, hidden: int = 64) -> nn.Module:
    """Return a perceptron with one hidden layer."""
    features = math.prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))
