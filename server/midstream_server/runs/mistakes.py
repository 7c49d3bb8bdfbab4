"""What the model takes the test images for: a confusion matrix, and a few of the images that it fails at."""

from base64 import b64encode
from collections.abc import Sequence

import torch
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.messages.history import Mistakes
from midstream.storage.pictures import strip

PICTURED = 24
"""Number of failing test images that are shown: the first ones of the test set."""

_LARGEST_MATRIX = 20  # classes; a larger matrix cannot be read
_PAIRS = 10


def mistakes(
    step: int, *, classes: Sequence[str], inputs: Tensor, labels: Tensor, predicted: Tensor
) -> Mistakes:
    """Return the model's mistakes on the test set.

    Args:
        step: steps taken so far.
        classes: the names of the classes.
        inputs: the test inputs, as stored.
        labels: their classes, as indices.
        predicted: the model's predictions, as indices.

    >>> found = mistakes(5, classes=["a", "b"], inputs=torch.zeros(3, 2), labels=torch.tensor([0, 0, 1]),
    ...                  predicted=torch.tensor([0, 1, 1]))
    >>> found.wrong, found.confusion, found.pairs
    (1, [[1, 1], [0, 1]], [[0, 1, 1]])
    """
    labels, predicted = labels.cpu(), predicted.cpu()
    number = max(len(classes), int(predicted.max()) + 1)
    # A matrix of ten thousand classes would not fit into memory; there are at most as many pairs as examples.
    places, counts = torch.unique(labels * number + predicted, return_counts=True)
    wrong = (labels != predicted).nonzero().flatten()
    shown = wrong[:PICTURED]
    return Mistakes(
        step=step,
        total=len(labels),
        wrong=len(wrong),
        classes=list(classes),
        confusion=_matrix(places, counts, number) if number <= _LARGEST_MATRIX else None,
        pairs=_pairs(places, counts, number),
        labels=labels[shown].tolist(),
        predicted=predicted[shown].tolist(),
        picture=_picture(inputs[shown.to(inputs.device)]),
    )


def _matrix(places: Tensor, counts: Tensor, number: int) -> list[list[int]]:
    matrix = counts.new_zeros(number**2)
    matrix[places] = counts
    rows: list[list[int]] = matrix.view(number, number).tolist()
    return rows


def _pairs(places: Tensor, counts: Tensor, number: int) -> list[list[int]]:
    """Return `[class, taken for, how often]` of the most frequent mistakes."""
    wrong = places // number != places % number
    places, counts = places[wrong], counts[wrong]
    most = counts.argsort(descending=True, stable=True)[:_PAIRS]
    found = zip(places[most].tolist(), counts[most].tolist(), strict=True)
    return [[place // number, place % number, count] for place, count in found]


def _picture(inputs: Tensor) -> str | None:
    if not len(inputs) or inputs.dim() != 4 or inputs.shape[1] not in (1, 3):
        return None
    return b64encode(strip(pixels(inputs).cpu())).decode()
