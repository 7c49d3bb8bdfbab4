"""Adversarial training: each batch is replaced by its adversarial examples."""

from dataclasses import dataclass, replace

from torch import Tensor

from midstream.mathematics.ascent import pgd
from midstream.mathematics.level_1 import level_0
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View
from midstream.players.random_start import inside


@dataclass(kw_only=True)
class AdversarialTraining:
    """Train on the batch's worst neighbours (Madry et al. 2018, as Tao et al. 2021 defend; not in Table 1).

    `min_θ Σ max_{‖ρ‖ ≤ r} L_θ(x' + ρ)`: the step is taken on `x' + ρ`, with ρ from PGD at the live
    parameters. If r is at least the attacker's ε, the clean example lies within the ball around x', so its
    loss is at most the maximum, which PGD approximates from below. The batch replaces the corrected one; the
    defender's budget sets r only.

    Papers: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks"; Tao et al.
    2021, "Better Safe Than Sorry: Preventing Delusive Adversaries with Adversarial Training".

    Args:
        radius: r, as a share of the defender's ε.
        steps: steps of PGD.
        step_size: length of each step, as a share of r; by default 2.5 / steps.
        random_start: start at a random point of the ball.
    """

    radius: float = 1.0
    steps: int = 7
    step_size: float | None = None
    random_start: bool = True

    def __post_init__(self) -> None:
        check_steps(self.steps, 1.0 if self.step_size is None else self.step_size)
        if not 0 <= self.radius < float("inf"):
            raise ValueError(f"radius is a finite share of ε of at least 0, not {self.radius}")

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return zeros."""
        return level_0(batch.inputs)

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return the adversarial examples of the batch."""
        budget = replace(view.budget, epsilon=self.radius * view.budget.epsilon)
        found = pgd(
            view.model,
            batch.inputs,
            batch.labels,
            budget=budget,
            steps=self.steps,
            step_size=2.5 / self.steps if self.step_size is None else self.step_size,
            start=inside(replace(view, budget=budget), batch) if self.random_start else None,
            loss=view.loss,
        )
        return replace(batch, inputs=(batch.inputs + found).clamp(budget.low, budget.high))
