"""An attacker that knows the checker: it gives up utility for a lower suspicion."""

from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.budget import per_example
from midstream.players.checking import Checker
from midstream.players.interface import Batch, View
from midstream.players.scores.scored import Scoring
from midstream.players.wrappers.wrapper import Wrapper


@dataclass(kw_only=True)
class Stealth(Wrapper):
    """Any attacker, whose perturbations are bent so that a checker finds them less suspicious.

    With the attacker's perturbation δ₀ and the checker's score s, each example's perturbation starts at δ₀
    and takes T steps within the budget,

        δ ← Proj(δ + α_t ((1 - w) e(δ₀) - w e(∇s(x + δ, y)))), α_t = (4 ε / T) (1 - t / T)

    The first direction keeps the utility: for level 1 it is the utility's gradient. The second lowers the
    suspicion. Both are normalised, so that the weight w means the same for all checkers. A weight of 0
    leaves the attacker as it is, a weight of 1 only hides. An example that the attacker does not move stays
    unmoved.

    The attacker knows the model and Dval, so it computes the score itself. A checker that learns before the
    game, as `reconstruction` does, learns on the attacker's side too.

    Cost: `stealth_steps` derivatives of the checker's score.

    Args:
        inner: the attacker.
        checker: the checker, which must be differentiable.
        stealth: the weight w, from 0 to 1.
        stealth_checker: name of the checker: one with a score, such as `loss` or `knn`.
        stealth_steps: number of steps.
    """

    checker: Checker | None = None
    stealth: float = 0.5
    stealth_checker: str = "loss"
    stealth_steps: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.stealth <= 1:
            raise ValueError(f"stealth is a weight, from 0 to 1, not {self.stealth}")
        if self.stealth_steps < 1:
            raise ValueError(f"stealth_steps is at least 1, not {self.stealth_steps}")
        if not isinstance(self.checker, Scoring):
            raise ValueError(
                f"stealth_checker={self.stealth_checker} cannot be differentiated; use one that scores each "
                f"example by itself, such as loss, confidence, gradient-norm, knn or reconstruction"
            )

    @property
    def parts(self) -> tuple[object, ...]:
        """The attacker and the checker, so that `learners` finds what they must learn before the game."""
        return (self.inner, self.checker)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's perturbations, bent towards a lower suspicion."""
        wanted = self.inner.perturb(batch, view)
        if not isinstance(wanted, Tensor) or wanted.shape != batch.inputs.shape or self.stealth == 0:
            return wanted  # for the host to refuse or to project
        assert isinstance(self.checker, Scoring)
        wanted = view.budget.project(wanted.detach().to(batch.inputs))
        moved = wanted.flatten(1).any(1)
        if not moved.any():
            return wanted
        along, delta, steps = view.budget.outward(wanted), wanted, self.stealth_steps
        for step in range(steps):
            at = (batch.inputs + delta).requires_grad_()
            (slope,) = torch.autograd.grad(self.checker.score(at, batch.labels, view).sum(), at)
            way = (1 - self.stealth) * along - self.stealth * view.budget.direction(slope)
            delta = view.budget.project(delta + 4 * view.budget.epsilon / steps * (1 - step / steps) * way)
            delta = view.budget.perturb(batch.inputs, delta) - batch.inputs
        return torch.where(per_example(moved, delta), delta, torch.zeros_like(delta))


OPTIONS = ("stealth", "stealth_checker", "stealth_steps")
"""Options that every attacker accepts; an attacker's own option of the same name takes precedence."""
