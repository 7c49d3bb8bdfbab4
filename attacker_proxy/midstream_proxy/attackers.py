"""The attackers, as thin, stateful shells round the strategies."""

from collections.abc import Mapping

from torch import Tensor

from midstream.momentum import MomentumHistory
from midstream.players import Batch, View
from midstream.strategies import level_0, level_1_attack


class NoAttack:
    """Let every batch pass (level 0)."""

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)


class Level1:
    """`x' = x + ε δ`, `δ ← Proj(β δᴴ(x) - (1 - β) e(B_x v))`: Theorem 1 with the momentum of A.1.1.

    Args:
        beta: weight of what was last done to the same input; 0 forgets.
    """

    def __init__(self, *, beta: float = 0.95) -> None:
        self.history = MomentumHistory(beta)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the level-1 attack at the live parameters, blended with each input's last one."""
        fresh = level_1_attack(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=view.validation_gradient(),
            budget=view.budget,
            loss=view.loss,
        )
        return self.history.blend(batch.inputs, fresh, view.budget)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the history."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a history."""
        self.history.load_state_dict(state)
