"""Perturbed embeddings as tokens again: each is replaced by the nearest embedding of the vocabulary."""

import torch
from torch import Tensor

from midstream.mathematics.budget import Budget

_ROUNDING = 1e-5


def vocabulary(sequences: Tensor) -> Tensor:
    """Return the distinct embeddings of some sequences, `(tokens, dimensions)`, in sorted order.

    Args:
        sequences: `(examples, length, dimensions)`, float, such as the validation set.

    Raises:
        ValueError: the inputs are no sequences of embeddings.

    >>> vocabulary(torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if sequences.dim() != 3 or not sequences.is_floating_point():
        raise ValueError(
            f"inputs of {sequences.dtype} and shape {tuple(sequences.shape)} are no sequences of embeddings, "
            f"(examples, length, dimensions)"
        )
    found: Tensor = torch.unique(sequences.flatten(0, 1), dim=0)
    return found


def nearest(sequences: Tensor, table: Tensor) -> Tensor:
    """Return sequences with each embedding replaced by the nearest one of a table, in Euclidean distance.

    >>> nearest(torch.tensor([[[0.2, 0.9]]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [[[0.0, 1.0]]]
    """
    flat = sequences.flatten(0, 1)
    distances = torch.cdist(flat, table.to(flat), compute_mode="donot_use_mm_for_euclid_dist")
    return table.to(flat)[distances.argmin(dim=1)].reshape(sequences.shape)


def as_tokens(inputs: Tensor, perturbation: Tensor, table: Tensor, budget: Budget) -> Tensor:
    """Return the perturbation that replaces tokens by those nearest to the perturbed ones, within the budget.

    Positions are taken in the order of how far they were moved, furthest first. A position whose nearest
    token would leave the ball, together with those taken before, keeps its token.

    Args:
        inputs: sequences of embeddings, `(batch, length, dimensions)`.
        perturbation: of the same shape.
        table: the vocabulary, `(tokens, dimensions)`.
        budget: the ball.
    """
    replaced = nearest(inputs + perturbation, table) - inputs
    order = perturbation.norm(dim=2).argsort(dim=1, descending=True, stable=True)
    rows = torch.arange(len(inputs), device=inputs.device)
    taken = torch.zeros_like(inputs)
    for place in order.unbind(dim=1):
        trial = taken.clone()
        trial[rows, place] = replaced[rows, place]
        fits = budget.size(trial) <= budget.epsilon * (1 + _ROUNDING)
        taken = torch.where(fits[:, None, None], trial, taken)
    return taken
