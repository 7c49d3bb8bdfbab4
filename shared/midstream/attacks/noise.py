"""Random directions: the baseline for attacks of the same budget."""

from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class Noise:
    """`ε e(n)`, n normal: a random direction with the full budget (a reference; not in Table 1: level 0)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the directions drawn for this batch."""
        normal = torch.randn(batch.inputs.shape, generator=view.generator(batch.seq))
        return view.budget.epsilon * view.budget.drawn(normal).to(batch.inputs)
