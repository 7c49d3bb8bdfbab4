"""The base of R2T2's defenders."""

from torch import Tensor

from midstream.mathematics.level_1 import level_1_defense
from midstream.players.interface import Batch, View
from midstream.players.r2t2.followed import FollowsGradient


class GradientDefender(FollowsGradient):
    """A defender that moves each input along `B_x' u`, for some vector `u` in parameter space."""

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `ε e(B_x' u)` at the live parameters."""
        followed = self.vector(batch, view)

        def defend(x: Tensor, y: Tensor, *u: Tensor) -> tuple[Tensor]:
            vector = dict(zip(followed, u, strict=True))
            return (
                level_1_defense(
                    view.model, x, y, validation_gradient=vector, budget=view.budget, loss=view.loss
                ),
            )

        given = view.model, view.budget, view.loss, *followed
        inputs = batch.inputs, batch.labels, *followed.values()
        return view.programs("level-1 defence", defend, *inputs, given=given)[0]
