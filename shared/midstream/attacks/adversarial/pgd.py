"""FGSM and PGD: ascent of the batch's own loss with unchanged labels."""

from dataclasses import dataclass

from torch import Tensor

from midstream.mathematics.ascent import pgd
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View
from midstream.players.r2t2.momentum_option import MomentumOption
from midstream.players.random_start import inside


@dataclass(kw_only=True)
class Fgsm:
    """`ε e(∇x L)`: up the batch's own loss, labels unchanged (Goodfellow et al. 2015; Table 1: level 1)."""

    fixed = True

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the step."""
        return pgd(
            view.model,
            batch.inputs,
            batch.labels,
            budget=view.budget,
            steps=1,
            step_size=1.0,
            loss=view.loss,
        )


@dataclass(kw_only=True)
class Pgd(MomentumOption):
    """Several FGSM steps, each projected onto the ball (FGSM-PGD, Madry et al. 2018; Table 1: level k).

    Args:
        steps: number of steps; the paper takes 5.
        step_size: length of each step, as a share of ε; by default 2.5 / steps, Madry's rule.
        random_start: start at a random point of the ball instead of at the input.
    """

    steps: int = 5
    step_size: float | None = None
    random_start: bool = False

    @property
    def fixed(self) -> bool:
        """Whether the move is a fixed program; see `midstream.players.fixed`."""
        return not self.random_start

    def __post_init__(self) -> None:
        super().__post_init__()
        check_steps(self.steps, 1.0 if self.step_size is None else self.step_size)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations after the last step."""
        fresh = pgd(
            view.model,
            batch.inputs,
            batch.labels,
            budget=view.budget,
            steps=self.steps,
            step_size=2.5 / self.steps if self.step_size is None else self.step_size,
            start=inside(view, batch) if self.random_start else None,
            loss=view.loss,
        )
        return self.blended(fresh, batch, view)
