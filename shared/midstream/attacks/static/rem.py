"""Robust error-minimising perturbations: nothing to learn, even for a victim that trains adversarially."""

import math
from dataclasses import dataclass, replace

from torch import Tensor, nn

from midstream.attacks.static.em import ErrorMinimizing
from midstream.mathematics.ascent import pgd
from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.input_gradient import input_gradient
from midstream.mathematics.level_k import check_steps


@dataclass(kw_only=True)
class RobustErrorMinimizing(ErrorMinimizing):
    """`min_θ min_δ max_ρ L`: error-minimising under attack (REM, Fu et al. 2022; not in Table 1).

    As `em`, but each gradient, of the surrogate and of δ, is taken at `x + δ + ρ`, where ρ raises the loss
    within a smaller ball. So δ is made for a victim that trains on adversarial examples. With `radius=0` it
    is `em`.

    Paper: "Robust Unlearnable Examples: Protecting Data Against Adversarial Learning". The authors publish
    code (fshp971/robust-unlearnable-examples), which takes its gradients over random transforms of the
    images. Here the images are not transformed, even if the run has `--augment`. The surrogate and the rounds
    are those of `em`.

    Args:
        radius: radius of ρ, as a share of ε.
        attack_steps: steps on ρ.
    """

    radius: float = 0.5
    attack_steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_steps(self.attack_steps, called="attack_steps")
        if not 0 <= self.radius < math.inf:
            raise ValueError(f"radius is a finite share of ε of at least 0, not {self.radius}")

    def adverse(self, model: nn.Module, inputs: Tensor, labels: Tensor, *, budget: Budget) -> Tensor:
        """Return `x + δ + ρ`, by projected ascent of the loss."""
        if self.radius == 0:
            return inputs
        smaller = replace(budget, epsilon=self.radius * budget.epsilon)
        steps, size = self.attack_steps, 2.5 / self.attack_steps
        return inputs + pgd(model, inputs, labels, budget=smaller, steps=steps, step_size=size)

    def craft(
        self, surrogate: nn.Module, inputs: Tensor, labels: Tensor, start: Tensor, budget: Budget
    ) -> Tensor:
        """Return the perturbations after this round's steps."""
        reached = budget.perturb(inputs, start)
        for _ in range(self.steps):
            attacked = self.adverse(surrogate, reached, labels, budget=budget)
            downhill = -budget.direction(input_gradient(surrogate, attacked, labels))
            reached = budget.perturb(inputs, reached - inputs + self.step_size * budget.epsilon * downhill)
        return reached - inputs
