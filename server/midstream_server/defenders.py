"""The defenders, as thin shells round the strategies."""

from torch import Tensor

from midstream.players import Batch, View
from midstream.strategies import level_0, level_1_defense


class NoDefense:
    """Train on what arrives (level 0)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)


class Level1:
    """`x'' = x' + ε e(B_x' v)`: move each input so that the step lowers the validation loss (Theorem 1)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the level-1 correction at the live parameters."""
        return level_1_defense(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=view.validation_gradient(),
            budget=view.budget,
            loss=view.loss,
        )
