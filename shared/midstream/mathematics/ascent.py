"""Projected gradient ascent of each input's own loss."""

from torch import Tensor, nn

from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.input_gradient import input_gradient
from midstream.mathematics.level_k import check_steps
from midstream.mathematics.loss import Loss, cross_entropy


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
