"""The base of R2T2's defenders."""

from torch import Tensor

from midstream.mathematics.level_1 import level_1_defense
from midstream.players.followed import FollowsGradient
from midstream.players.interface import Batch, View


class GradientDefender(FollowsGradient):
    """A defender that moves each input along `B_x' u`, for some vector `u` in parameter space."""

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `ε e(B_x' u)` at the live parameters."""
        return level_1_defense(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=self.vector(batch, view),
            budget=view.budget,
            loss=view.loss,
        )
