"""Detection by clustering activations."""

from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.players.scores.by_class import ByClass, Score

_ITERATIONS = 10


@dataclass(kw_only=True)
class Activation(ByClass):
    """An example in its class's untrusted cluster is suspicious (Chen et al. 2018; not in Table 1).

    For each class, the features of the last batches and of Dval are divided by 2-means, starting from both
    sides of the first principal direction. The cluster with the larger share of Dval, of centre a, is
    trusted, the other, of centre b, is not: `s(x) = ‖h(x) - a‖ - ‖h(x) - b‖`. Chen et al. reduce the
    features by independent components and judge a cluster by its size; a stream has a trusted set instead.

    Shapes: inputs `(batch, *input)`, labels `(batch,)`; scores `(batch,)`. Cost: one forward pass of the
    window and of Dval, one singular value decomposition and ten iterations per class.

    Args:
        window: number of earlier batches that are clustered together with this one.
    """

    window: int = 5

    def score_of(self, rows: Tensor, trusted: int) -> Score:
        """Return the difference of the distances to the two centres."""
        centres = trusted_first(rows, trusted)

        def score(examples: Tensor) -> Tensor:
            apart = torch.cdist(examples, centres)
            return apart[:, 0] - apart[:, 1]

        return score


def trusted_first(rows: Tensor, trusted: int) -> Tensor:
    """Return the two centres of 2-means, first that of the cluster with the larger share of trusted rows.

    Args:
        rows: `(n, width)`; the last `trusted` of them are trusted.
        trusted: number of trusted rows.

    >>> rows = torch.tensor([[9.0, 0.0], [9.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    >>> trusted_first(rows, 2)
    tensor([[0.0000, 0.5000],
            [9.0000, 0.5000]])
    """
    mean = rows.mean(0)
    _, sizes, directions = torch.linalg.svd(rows - mean, full_matrices=False)
    apart = directions[0] * sizes[0] / len(rows) ** 0.5
    centres = torch.stack([mean - apart, mean + apart])
    for _ in range(_ITERATIONS):
        first = torch.cdist(rows, centres).argmin(1) == 0
        if first.all() or not first.any():
            break
        centres = torch.stack([rows[first].mean(0), rows[~first].mean(0)])
    first = torch.cdist(rows, centres).argmin(1) == 0
    shares = [float(side[len(rows) - trusted :].sum()) / max(1, int(side.sum())) for side in (first, ~first)]
    return centres if shares[0] >= shares[1] else centres.flip(0)
