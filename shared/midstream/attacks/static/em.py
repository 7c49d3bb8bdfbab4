"""Error-minimising perturbations: examples that a network has nothing left to learn from."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from midstream.attacks.generators.generator import descend
from midstream.attacks.static.table import Crafted
from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.input_gradient import input_gradient
from midstream.mathematics.level_k import check_steps
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.players.course import Course, Ground


def error_minimizing(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    budget: Budget,
    steps: int,
    step_size: float,
    start: Tensor,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return perturbations that lower each input's own loss, by projected gradient descent.

    Repeats `δ ← clamp(x + Proj(δ - step_size·ε·e(∇x L(x + δ)))) - x` (Huang et al. 2021, with `e` the
    sign in the L∞ ball).

    Args:
        model: the model at θ; it is not changed.
        inputs: `(batch, *input)`, within the pixel range.
        labels: their targets, `(batch,)`.
        budget: the ball and the pixel range.
        steps: number of steps, at least 1.
        step_size: length of each step, as a share of ε.
        start: the first δ, shaped like `inputs`.
        loss: a loss that sums over its batch.

    >>> model, x, y = nn.Linear(4, 3), torch.full((2, 4), 0.5), torch.tensor([0, 1])
    >>> found = error_minimizing(
    ...     model, x, y, budget=Budget(0.25), steps=5, step_size=0.5, start=torch.zeros_like(x)
    ... )
    >>> bool(cross_entropy(model(x + found), y) < cross_entropy(model(x), y))
    True
    """
    check_steps(steps, step_size)
    reached = budget.perturb(inputs, start)
    for _ in range(steps):
        downhill = -budget.direction(input_gradient(model, reached, labels, loss=loss))
        reached = budget.perturb(inputs, reached - inputs + step_size * budget.epsilon * downhill)
    return reached - inputs


@dataclass(kw_only=True)
class ErrorMinimizing(Crafted):
    """`min_δ min_θ L`: nothing is left to learn (unlearnable examples, Huang et al. 2021; not in Table 1).

    It learns on the training data, which the attacker must possess. Each round trains the surrogate for some
    minibatches on `x + δ`, and then lowers the loss of each example by descent on δ, from its δ of the last
    round. The rounds end when the surrogate errs on at most 1 % of the perturbed examples.

    Paper: "Unlearnable Examples: Making Personal Data Unexploitable"; this is its sample-wise form. The
    authors' code (HanxunH/Unlearnable-Examples) trains a ResNet-18 by SGD, in training mode, and has no limit
    of rounds. Here the surrogate is the run's own network, trained by Adam at the run's learning rate on the
    sum of the losses, in evaluation mode, and the rounds are limited. In the L2 game a step follows the
    normalised gradient. Published class-wise perturbations play as `replay,path=FILE,by=class`.

    Args:
        rounds: maximum number of rounds.
        train_steps: minibatches of the surrogate's training in each round; the authors take 10.
        steps: steps on each δ in each round; the authors take 20.
        step_size: length of each step, as a share of ε; the authors take a tenth.
    """

    rounds: int = 30
    train_steps: int = 10
    steps: int = 20
    step_size: float = 0.1

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)
        for name in ("rounds", "train_steps"):
            check_steps(getattr(self, name), called=name)
        if not math.isfinite(self.step_size):
            raise ValueError(f"step_size is a finite share of ε, not {self.step_size}")

    def course(self, ground: Ground) -> Course:
        """Return the rounds, one step each; a step returns the share of errors on the perturbed examples."""
        table, surrogate, trainer, parts = self.prepared(ground)
        inputs, labels = ground.train()

        def error() -> float:
            with torch.no_grad():
                wrong = surrogate(inputs + table.rows).argmax(1) != labels
            return float(wrong.float().mean())

        def step(number: int) -> float:
            if number and (found := error()) <= _ENOUGH:
                return found
            for rows in self._minibatches(len(inputs), ground.batch_size):
                moved = self.adverse(
                    surrogate, inputs[rows] + table.rows[rows], labels[rows], budget=ground.budget
                )
                descend(trainer, cross_entropy(surrogate(moved), labels[rows]))
            self.craft_all(table, surrogate, ground)
            return error()

        return Course(repr(self), parts, self.rounds, step)

    def _minibatches(self, size: int, batch_size: int) -> list[Tensor]:
        found: list[Tensor] = []
        while len(found) < self.train_steps:
            found += torch.split(torch.randperm(size), batch_size)
        return found[: self.train_steps]

    def adverse(self, model: nn.Module, inputs: Tensor, labels: Tensor, *, budget: Budget) -> Tensor:  # noqa: ARG002
        """Return the inputs as the surrogate is trained on them: unchanged."""
        return inputs

    def craft(
        self, surrogate: nn.Module, inputs: Tensor, labels: Tensor, start: Tensor, budget: Budget
    ) -> Tensor:
        """Return the perturbations after this round's steps."""
        return error_minimizing(
            surrogate,
            inputs,
            labels,
            budget=budget,
            steps=self.steps,
            step_size=self.step_size,
            start=start,
        )


_ENOUGH = 0.01
"""The share of errors at which the authors stop."""
