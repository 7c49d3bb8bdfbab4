"""The norm that follows a convolution: over the minibatch, or over groups of channels of one image."""

from math import gcd
from typing import Literal

from torch import nn

Norm = Literal["batch", "group"]

_GROUPS = 32
"""Groups of group norm (Wu and He 2018); fewer if the channels cannot be divided by so many."""


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return the norm for so many channels.

    >>> norm_layer("group", 48)
    GroupNorm(16, 48, eps=1e-05, affine=True)
    """
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(gcd(_GROUPS, channels), channels)
