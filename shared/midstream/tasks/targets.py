"""What is wrong with the targets of a regression, or of several labels."""

import torch
from torch import Tensor

from midstream.tasks.task import Kind


def fault(kind: Kind, targets: Tensor, *, length: int, outputs: int) -> str | None:
    """Return what is wrong with targets, as a sentence without its "they"; None if nothing is.

    Args:
        kind: `regression` or `multi-label`.
        targets: as they arrived.
        length: the number of examples.
        outputs: the number of the model's outputs.

    >>> fault("regression", torch.zeros(3, 1), length=3, outputs=1) is None
    True
    >>> fault("multi-label", torch.full((3, 2), 2.0), length=3, outputs=2)
    'range from 2 to 2; labels that apply are 1, others 0'
    """
    if targets.dtype != torch.float32:
        return f"are {targets.dtype}; the targets of a {kind} are float32"
    if tuple(targets.shape) != (length, outputs):
        return f"have shape {tuple(targets.shape)}, not {(length, outputs)}, a number for each output"
    if not length:
        return None
    lowest, highest = torch.stack(targets.aminmax()).tolist()
    if lowest != lowest or abs(lowest) == float("inf") or abs(highest) == float("inf"):
        return "hold a NaN or an infinity; every target is a finite number"
    if kind == "multi-label" and not (lowest >= 0 and highest <= 1):
        return f"range from {lowest:g} to {highest:g}; labels that apply are 1, others 0"
    return None
