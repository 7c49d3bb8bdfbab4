"""Converts stored pixels to the float32 values that a network takes."""

import torch
from torch import Tensor

_WHITE = torch.tensor(255.0, dtype=torch.float32)  # its dtype makes the quotient float32


def pixels(stored: Tensor) -> Tensor:
    """Return float32 pixels: uint8 is divided by 255, float32 is returned as it is.

    >>> pixels(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return torch.div(stored, _WHITE) if stored.dtype == torch.uint8 else stored
