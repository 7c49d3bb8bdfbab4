"""Random points of the ball, at which a search may start."""

import torch
from torch import Tensor

from midstream.mathematics.inputs.column_scale import ColumnScale
from midstream.players.interface import Batch, View


def inside(view: View, batch: Batch) -> Tensor:
    """Return points drawn uniformly from the ball, one for each input."""
    like, random = batch.inputs, view.generator(batch.seq)
    if view.budget.norm == "linf":
        drawn = 2 * torch.rand(like.shape, generator=random) - 1
        if view.budget.scale is not None:
            drawn = ColumnScale(view.budget.scale).back(drawn)
    else:
        normal = torch.randn(like.shape, generator=random)
        radius = torch.rand(len(like), generator=random) ** (1 / like[0].numel())
        drawn = view.budget.drawn(normal) * radius.reshape(-1, *[1] * (like.dim() - 1))
    return view.budget.epsilon * drawn.to(like)
