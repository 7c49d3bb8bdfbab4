"""Detection by spectral signatures."""

from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.players.scores.by_class import ByClass, Score


@dataclass(kw_only=True)
class Spectral(ByClass):
    """An example far out along its class's main direction is suspicious (Tran et al. 2018; not in Table 1).

    For each class c, `s(x) = ⟨h(x) - μ_c, v_c⟩²` with the features h of the live model and v_c the first
    right singular vector of the class's centred features. Tran et al. take mean and direction from the whole
    training set. In a stream they are taken from the examples of the last batches and of Dval.

    Shapes: inputs `(batch, *input)`, labels `(batch,)`; scores `(batch,)`. Cost: one forward pass of the
    window and of Dval, and one singular value decomposition per class.

    Args:
        window: number of earlier batches that mean and direction are taken from, besides this one.
    """

    window: int = 5

    def score_of(self, rows: Tensor, trusted: int) -> Score:  # noqa: ARG002
        """Return the squared distance from the mean along the main direction."""
        mean = rows.mean(0)
        direction = torch.linalg.svd(rows - mean, full_matrices=False).Vh[0]
        return lambda examples: ((examples - mean) @ direction).square()
