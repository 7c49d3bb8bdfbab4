"""FGSM and PGD: ascent of the batch's own loss with unchanged labels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from midstream.attacks.input_gradient import input_gradient
from midstream.mathematics.budget import Budget
from midstream.mathematics.level_k import check_steps
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.players.interface import Batch, View


def pgd(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    budget: Budget,
    steps: int,
    step_size: float,
    start: Tensor | None = None,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return perturbations that raise each input's own loss, by projected gradient ascent.

    Starts at `p = 0` and repeats `p ← clamp(x + Proj(p + step_size·ε·e(∇x L(x + p)))) - x` `steps` times: a
    step, the projection onto the ball, and the clamp to the pixel range. One step of size 1 is FGSM
    (Goodfellow et al. 2015), which for the L2 ball follows the normalised gradient; several steps are PGD
    (Madry et al. 2018).

    Args:
        model: the model at θ; it is not changed.
        inputs: `(batch, *input)`, within the budget's pixel range.
        labels: their targets, `(batch,)`.
        budget: the ball and the pixel range.
        steps: number of steps, at least 1.
        step_size: length of each step, as a share of ε.
        start: initial perturbation, within the ball; 0 by default.
        loss: a loss that sums over its batch.

    Returns:
        Perturbations shaped like `inputs`, within the ball and the range.

    >>> model = nn.Linear(4, 3)
    >>> x, y, ball = torch.full((2, 4), 0.5), torch.tensor([0, 1]), Budget(0.25)
    >>> pgd(model, x, y, budget=ball, steps=1, step_size=1.0).norm(dim=1)
    tensor([0.2500, 0.2500])
    """
    check_steps(steps, step_size)
    reached = inputs if start is None else budget.perturb(inputs, start)
    for _ in range(steps):
        uphill = budget.direction(input_gradient(model, reached, labels, loss=loss))
        reached = budget.perturb(inputs, reached - inputs + step_size * budget.epsilon * uphill)
    return reached - inputs


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
class Pgd:
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
        check_steps(self.steps, 1.0 if self.step_size is None else self.step_size)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations after the last step."""
        return pgd(
            view.model,
            batch.inputs,
            batch.labels,
            budget=view.budget,
            steps=self.steps,
            step_size=2.5 / self.steps if self.step_size is None else self.step_size,
            start=inside(view, batch) if self.random_start else None,
            loss=view.loss,
        )


def inside(view: View, batch: Batch) -> Tensor:
    """Return points drawn uniformly from the ball, one for each input."""
    like, random = batch.inputs, view.generator(batch.seq)
    if view.budget.norm == "linf":
        drawn = 2 * torch.rand(like.shape, generator=random) - 1
    else:
        normal = torch.randn(like.shape, generator=random)
        radius = torch.rand(len(like), generator=random) ** (1 / like[0].numel())
        drawn = view.budget.direction(normal) * radius.reshape(-1, *[1] * (like.dim() - 1))
    return view.budget.epsilon * drawn.to(like)
