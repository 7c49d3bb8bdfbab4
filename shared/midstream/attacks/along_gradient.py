"""What the attackers of R2T2 have in common: a memory, and a loss that they raise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.level_1 import level_1_attack
from midstream.mathematics.momentum import MomentumHistory
from midstream.mathematics.objective import Goal, Objective, check_goal, objective
from midstream.players.followed import FollowsGradient
from midstream.players.interface import Batch, View


@dataclass(kw_only=True)
class GradientAttacker(FollowsGradient):
    """What every attacker along a gradient has in common: a memory, and a loss that it raises.

    Args:
        beta: weight of the last perturbation of the same input (paper A.1.1); 0 forgets.
        validation: `public`, the run's validation set, or `minibatch`, for an attacker that has none and puts
            the clean batch in its place (paper A.2.4).
        goal: `untargeted`; `conversion` of other classes to the target, or `evasion` of it (paper 6.4).
        target: index of the target class; -1 for none.
    """

    beta: float = 0.95
    validation: Literal["public", "minibatch"] = "public"
    goal: Goal = "untargeted"
    target: int = -1
    history: MomentumHistory = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_goal(self.goal, self.target)
        self.history = MomentumHistory(self.beta)

    @property
    def remembers(self) -> bool:
        """Whether there is a history: without momentum each move is made afresh."""
        return self.beta > 0

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the attack as it would be without memory."""
        return level_1_attack(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=self.vector(batch, view),
            budget=view.budget,
            loss=view.loss,
        )

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `Proj(β δᴴ(x) + (1 - β) δ*)`, in pixel units."""
        return self.history.blend(batch.inputs, self.fresh(batch, view), view.budget)

    def validation_set(self, batch: Batch, view: View) -> tuple[Tensor, Tensor]:
        """Return the examples that stand for Dval, inputs and labels."""
        if self.validation == "minibatch":
            return batch.inputs, batch.labels
        return view.validation_inputs, view.validation_labels

    def objective(self, batch: Batch, view: View) -> Objective:
        """Return the loss that is raised."""
        found = objective(self.goal, *self.validation_set(batch, view), target=self.target)
        if self.validation == "public" and len(found.labels) == 0:
            raise ValueError(f"no validation example is there for {self.goal} of class {self.target}")
        return found

    def gradient(self, batch: Batch, view: View) -> Gradient:
        """Return v of the loss that is raised."""
        if self.validation == "public" and self.goal == "untargeted":
            return view.validation_gradient()  # common knowledge, which the server may have computed
        return self.objective(batch, view).gradient(view.model, loss=view.loss)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the history."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a history."""
        self.history.load_state_dict(state)
