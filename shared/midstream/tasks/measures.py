"""How good predictions are: the measures of each kind of task."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from midstream.tasks.task import Kind


def accuracy(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the share of examples whose largest logit is that of their class, in [0, 1]."""
    return {"accuracy": int((outputs.argmax(1) == targets).sum()) / len(targets)}


def errors(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Return R² and the root mean squared error of numbers.

    `R²_j = 1 - Σ_i (f_ij - y_ij)² / Σ_i (y_ij - ȳ_j)²`, averaged over the outputs: 1 for exact predictions, 0
    for the mean of the targets, and below 0 for worse ones. The RMSE is `√(mean (f_ij - y_ij)²)`, in units of
    the targets. Both are computed in double precision. An output whose targets are all equal has no R², and
    without any other there is none.

    Args:
        outputs: predictions, `(examples, outputs)`.
        targets: numbers of the same shape.

    >>> found = errors(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [2.0], [3.0]]))
    >>> {name: round(value, 4) for name, value in found.items()}
    {'r2': 0.5, 'rmse': 0.5774}
    """
    outputs, targets = outputs.double(), targets.double()
    squares = (outputs - targets).square()
    spread = (targets - targets.mean(dim=0)).square().sum(dim=0)
    varies = spread > 0
    explained = 1 - squares.sum(dim=0)[varies] / spread[varies]
    found = {"r2": float(explained.mean())} if len(explained) else {}
    return found | {"rmse": float(squares.mean().sqrt())}


def agreements(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Return three measures of independent labels, each in [0, 1].

    The mean average precision is the mean, over the labels that any example has, of the precision at each
    example that has the label, when examples are sorted by their logit; there is none if no example has a
    label. The subset accuracy is the share of
    examples whose labels are all right, if positive logits say yes. The Hamming loss is the share of wrong
    labels.

    Args:
        outputs: a logit for each label, `(examples, labels)`.
        targets: 1 if the label applies and 0 if not, of the same shape.

    >>> found = agreements(torch.tensor([[2.0, -1.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    >>> found
    {'average_precision': 1.0, 'subset_accuracy': 0.5, 'hamming_loss': 0.25}
    """
    applies = targets > 0.5
    right = (outputs > 0) == applies
    precisions = [
        _average_precision(outputs[:, label].double(), applies[:, label])
        for label in range(outputs.shape[1])
        if applies[:, label].any()
    ]
    ranked = {"average_precision": sum(precisions) / len(precisions)} if precisions else {}
    return ranked | {
        "subset_accuracy": int(right.all(dim=1).sum()) / len(right),
        "hamming_loss": int((~right).sum()) / right.numel(),
    }


def _average_precision(scores: Tensor, applies: Tensor) -> float:
    falling = scores.sort(descending=True, stable=True)
    found = applies[falling.indices]
    places = torch.arange(1, len(found) + 1, device=found.device)
    precision = found.cumsum(0) / places.double()
    # Equal scores have no order, so each counts with all the examples of its score.
    ends = torch.searchsorted(-falling.values, -falling.values, right=True) - 1
    return float(precision[ends][found].mean())


MEASURES: Mapping[Kind, Callable[[Tensor, Tensor], dict[str, float]]] = {
    "classification": accuracy,
    "regression": errors,
    "multi-label": agreements,
}
"""Each kind's measures by name, from the outputs and the targets of a whole set."""
