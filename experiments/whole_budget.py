"""`midstream play --attacker experiments/whole_budget.py:WholeBudget`: level 1 at the whole budget.

Momentum blends are usually shorter than ε, and `Proj` leaves them so (paper A.1.1). Here the blend is scaled
to the whole budget, `δ ← e(β δᴴ(x) + (1 - β) δ*)`, another reading of the paper's game.
"""

from dataclasses import dataclass

from torch import Tensor

from midstream import Batch, Budget, View
from midstream.attacks.levels import Level1


@dataclass(frozen=True)
class Sphere(Budget):
    """A budget that must be used fully: `Proj(p) = ε e(p)`."""

    def project(self, perturbation: Tensor) -> Tensor:
        """Return the nearest perturbation of norm ε, or 0 if `p` is 0."""
        return self.epsilon * self.direction(perturbation)


@dataclass(kw_only=True)
class WholeBudget(Level1):
    """Level 1 whose blend of past and fresh directions is scaled to the whole budget."""

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `ε e(β δᴴ(x) + (1 - β) δ*)`, in pixel units."""
        budget = view.budget
        sphere = Sphere(budget.epsilon, budget.norm, budget.low, budget.high)
        return self.history.blend(batch.inputs, self.fresh(batch, view), sphere)
