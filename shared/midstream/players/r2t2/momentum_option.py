"""The paper's momentum as an option of the attacks that it compares with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from midstream.mathematics.momentum import MomentumHistory
from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class MomentumOption:
    """An attacker that can blend each perturbation with the last one of the same input.

    The paper gives momentum to its own attacks. It motivates it by training-time attacks in general, whose
    changing perturbations keep the model from converging (A.1.1), and does not say whether the attacks that
    it compares with have it. Without it, some of them keep the model from learning at all.

    Args:
        beta: weight of the last perturbation of the same input, as for `level-1`; 0 turns momentum off.
    """

    beta: float = 0.0
    history: MomentumHistory = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.history = MomentumHistory(self.beta)

    @property
    def remembers(self) -> bool:
        """Whether the player has state: without momentum, each move is independent."""
        return self.beta > 0

    def blended(self, fresh: Tensor, batch: Batch, view: View) -> Tensor:
        """Return `Proj(β δᴴ(x) + (1 - β) δ*)` of a new perturbation, in pixel units; itself if β is 0."""
        keys = batch.content_keys() if self.beta else None
        return self.history.blend(batch.inputs, fresh, view.budget, keys=keys)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the momentum history."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the momentum history."""
        self.history.load_state_dict(state)
