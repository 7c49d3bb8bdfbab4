"""Success rates of targeted attacks: shares of a set's predictions (paper 6.4)."""

from torch import Tensor


def conversion_rate(predictions: Tensor, labels: Tensor, target: int) -> float | None:
    """Return the share of inputs of other classes that are predicted as the target (paper 6.4, Table 4).

    Args:
        predictions: predicted classes, `(examples,)`.
        labels: true classes, `(examples,)`.
        target: the class that a conversion attack wants to be predicted.

    Returns:
        A share in [0, 1]; None if every input is of the target class.

    >>> import torch
    >>> conversion_rate(torch.tensor([0, 2, 1, 2]), torch.tensor([0, 1, 1, 2]), target=2)
    0.3333333333333333
    """
    others = labels != target
    return _share(predictions[others] == target)


def evasion_rate(predictions: Tensor, labels: Tensor, target: int) -> float | None:
    """Return the share of the target class's inputs that are predicted as another (paper 6.4, Table 5).

    Args:
        predictions: predicted classes, `(examples,)`.
        labels: true classes, `(examples,)`.
        target: the class whose inputs an evasion attack wants to be misclassified.

    Returns:
        A share in [0, 1]; None if no input is of the target class.

    >>> import torch
    >>> evasion_rate(torch.tensor([2, 2, 0, 1]), torch.tensor([2, 2, 2, 1]), target=2)
    0.3333333333333333
    """
    return _share(predictions[labels == target] != target)


def _share(hits: Tensor) -> float | None:
    return int(hits.sum()) / len(hits) if len(hits) else None
