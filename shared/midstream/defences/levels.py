"""R2T2's defenders by level: no defence, level 1, and level k by PGD."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from midstream.defences.along_gradient import GradientDefender
from midstream.mathematics.level_1 import level_0
from midstream.mathematics.level_k import descent, level_k_defense
from midstream.mathematics.objective import Objective
from midstream.players.interface import Batch, View
from midstream.players.r2t2.exact_utility import UtilityOption, exact_gradient
from midstream.players.r2t2.level_k_options import LevelKOptions


class NoDefense:
    """Train on what arrives (the null strategy, section 4; Table 1: level 0)."""

    fixed = True

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)


@dataclass(kw_only=True)
class Level1(UtilityOption, GradientDefender):
    """`σ = e(B_x' v)`: the step lowers the validation loss, to first order (Theorem 1; Table 1: level 1)."""

    @property
    def fixed(self) -> bool:
        """Whether the move is a fixed program; see `midstream.players.fixed`."""
        return self.utility == "linearised"

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the level-1 correction at the live parameters."""
        if self.utility == "linearised":
            return super().perturb(batch, view)
        return descent(_uphill(batch, view), batch.inputs, budget=view.budget, steps=1)


@dataclass(kw_only=True)
class LevelK(LevelKOptions):
    """PGD on the utility, starting from the received inputs (Remark 2; Table 1: level k)."""

    @property
    def fixed(self) -> bool:
        """Whether the move is a fixed program, which it is once the number of steps is known."""
        return self.utility == "linearised" and (self.steps > 0 or self.smoothness > 0)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the level-k correction at the live parameters."""
        if self.utility == "exact":
            return descent(
                _uphill(batch, view),
                batch.inputs,
                budget=view.budget,
                steps=self.count(self.k, view),
                step_size=self.step_size,
                share=self.share,
            )
        return level_k_defense(
            view.model,
            batch.inputs,
            batch.labels,
            validation_gradient=view.validation_gradient(),
            budget=view.budget,
            steps=self.count(self.k, view),
            learning_rate=view.learning_rate,
            step_size=self.step_size,
            share=self.share,
            loss=view.loss,
        )


def _uphill(batch: Batch, view: View) -> Callable[[Tensor], Tensor]:
    return exact_gradient(batch, view, Objective(view.validation_inputs, view.validation_labels))
