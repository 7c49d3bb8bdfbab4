"""Soft labels: the share of each class in each example."""

from torch import Tensor

_ROUNDING = 1e-2
"""How far a row's sum may be from 1: half precision rounds a thousand shares by about as much."""


def check_soft_labels(what: str, labels: Tensor, classes: int | None) -> None:
    """Raise ValueError if soft labels are not probabilities.

    Args:
        what: what the labels are, for the message.
        labels: `(examples, classes)`, floating point.
        classes: number of classes of the model; None if it is not known.
    """
    if classes is not None and labels.shape[1] != classes:
        raise ValueError(
            f"{what} have shape {tuple(labels.shape)}; as soft labels, they need one share for each of the "
            f"model's {classes} classes"
        )
    off = (labels.detach().float().sum(dim=1) - 1).abs().reshape(len(labels), -1).amax(dim=1)
    wrong = ~(off <= _ROUNDING) | (labels < 0).flatten(1).any(dim=1)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        lowest, highest = labels[first].aminmax()
        raise ValueError(
            f"{what} are no probabilities in {int(wrong.sum())} of {len(wrong)} examples: the shares of "
            f"example {first} range from {float(lowest):g} to {float(highest):g}, and their sum is off by "
            f"{float(off[first]):g}. Soft labels are at least 0 and sum to 1 over the classes"
        )
