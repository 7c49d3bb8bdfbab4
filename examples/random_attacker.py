"""An attacker in one file: random directions at the full budget, the baseline that any attack must beat.

midstream play --dataset digits --attacker examples/random_attacker.py:RandomAttacker
"""

import torch
from torch import Tensor

from midstream import Batch, View


class RandomAttacker:
    """Perturbs each input by `share` of the budget, in a random direction."""

    def __init__(self, *, share: float = 1.0) -> None:
        self.share = share

    def perturb(self, batch: Batch, view: View) -> Tensor:
        noise = torch.randn(batch.inputs.shape, generator=view.generator(batch.seq))
        direction = view.budget.direction(noise.to(batch.inputs))
        return self.share * view.budget.epsilon * direction
