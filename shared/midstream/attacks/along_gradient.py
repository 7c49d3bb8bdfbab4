"""The base of R2T2's attackers: a momentum history, and a loss to raise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.level_1 import level_1_attack
from midstream.mathematics.momentum import Blend, MomentumHistory
from midstream.mathematics.objective import Goal, Objective, check_goal, objective
from midstream.players.interface import Batch, View
from midstream.players.r2t2.followed import FollowsGradient


@dataclass(kw_only=True)
class GradientAttacker(FollowsGradient):
    """An attacker that moves each input against `B_x u`, for some vector `u` in parameter space.

    Args:
        beta: weight of the last perturbation of the same input (paper A.1.1); 0 turns momentum off.
        at: where the gradient is taken. `input`: at the clean input, `-e(B_x u)` (Theorem 1). `memory`: where
            the last perturbation δᴴ has moved the input, `-e(B_{x+εδᴴ} u)`, clamped to the pixel range; PGD
            starts from δᴴ. This is another reading of the paper.
        blend: how past and new direction use the budget. `project`: `Proj(β δᴴ + (1 - β) δ*)`, which may
            use less than ε (A.1.1). `whole`: `e(β δᴴ + (1 - β) δ*)`, another reading of the paper.
        validation: `public` uses the run's validation set; `minibatch` uses the clean batch instead, for an
            attacker without a validation set (paper A.2.4).
        goal: `untargeted`; `conversion`: other classes pass as the target; `evasion`: the target passes as
            other classes (paper 6.4).
        target: index of the target class; -1 for none.
    """

    beta: float = 0.95
    at: Literal["input", "memory"] = "input"
    blend: Blend = "project"
    validation: Literal["public", "minibatch"] = "public"
    goal: Goal = "untargeted"
    target: int = -1
    history: MomentumHistory = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_goal(self.goal, self.target)
        self.history = MomentumHistory(self.beta, self.blend)
        if self.at == "memory" and self.beta == 0:
            raise ValueError("at=memory needs a memory, and beta=0 turns it off; choose a beta above 0")

    @property
    def remembers(self) -> bool:
        """Whether the player has state: without momentum, each move is independent."""
        return self.beta > 0

    def fresh(self, batch: Batch, view: View) -> Tensor:
        """Return the attack without momentum, `ε δ*`."""
        start, followed = self.start(batch), self.vector(batch, view)
        at = batch.inputs if start is None else view.budget.moved(batch.inputs, start)

        def attack(x: Tensor, y: Tensor, *u: Tensor) -> tuple[Tensor]:
            vector = dict(zip(followed, u, strict=True))
            return (
                level_1_attack(
                    view.model, x, y, validation_gradient=vector, budget=view.budget, loss=view.loss
                ),
            )

        given = view.model, view.budget, view.loss, *followed
        inputs = at, batch.labels, *followed.values()
        return view.programs("level-1 attack", attack, *inputs, given=given)[0]

    def start(self, batch: Batch) -> Tensor | None:
        """Return the perturbations at which the gradient is taken, in pixel units; None for 0."""
        if self.at == "input":
            return None
        return self.history.recall(batch.inputs, keys=batch.content_keys())

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `Proj(β δᴴ(x) + (1 - β) δ*)`, or `e(…)` of it with `blend=whole`, in pixel units."""
        fresh = self.fresh(batch, view)  # a GPU computes it while the keys are computed here
        keys = batch.content_keys() if self.beta else None
        return self.history.blend(batch.inputs, fresh, view.budget, keys=keys)

    def validation_set(self, batch: Batch, view: View) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels to use as Dval."""
        if self.validation == "minibatch":
            return batch.inputs, batch.labels
        return view.validation_inputs, view.validation_labels

    def objective(self, batch: Batch, view: View) -> Objective:
        """Return the loss to raise."""
        found = objective(self.goal, *self.validation_set(batch, view), target=self.target)
        if self.validation == "public" and len(found.labels) == 0:
            raise ValueError(f"there is no validation example for {self.goal} of class {self.target}")
        return found

    def gradient(self, batch: Batch, view: View) -> Gradient:
        """Return `v`, the gradient of the loss to raise."""
        if self.validation == "public" and self.goal == "untargeted":
            return view.validation_gradient()  # public, so the server may have computed it
        return self.objective(batch, view).gradient(view.model, loss=view.loss)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the momentum history."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the momentum history."""
        self.history.load_state_dict(state)
