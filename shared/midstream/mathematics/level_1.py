"""Level 0 and level 1 of the paper's framework, as pure functions.

Each returns perturbations of norm at most ε, in pixel units: the attacker's `ε δ`, to add to the clean
input, or the defender's `ε σ`, to add to the input that arrived. `Budget.perturb` adds and clamps them.
"""

import torch
from torch import Tensor, nn

from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.gradients import Gradient, mixed_derivative
from midstream.mathematics.loss import Loss, cross_entropy


def level_0(inputs: Tensor) -> Tensor:
    """Return zero, the null strategy of either side (paper 4.1)."""
    return torch.zeros_like(inputs)


def level_1_attack(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    validation_gradient: Gradient,
    budget: Budget,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return `ε δ¹ = -ε e(B_x v)` at the clean inputs (paper Theorem 1).

    To first order in the next training step, this raises the validation loss after the step the most.

    Args:
        model: the model at θ_t, the parameters from which the step starts.
        inputs: clean inputs, `(batch, *input)`, within the budget's pixel range.
        labels: their targets, `(batch,)`.
        validation_gradient: `v`, from `midstream.validation_gradient` at the same θ_t.
        budget: the attacker's ball.
        loss: a loss that sums over its batch.

    Returns:
        Perturbations shaped like `inputs`, each of norm ε, or 0 where `B_x v` is 0.

    >>> from midstream import Budget, validation_gradient
    >>> model = nn.Linear(4, 3)
    >>> x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> v = validation_gradient(model, x, y)
    >>> p = level_1_attack(model, x, y, validation_gradient=v, budget=Budget(epsilon=0.5))
    >>> p.norm(dim=1)
    tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
    """
    uphill = -mixed_derivative(model, inputs, labels, validation_gradient, loss=loss)
    return budget.epsilon * budget.direction(uphill)


def level_1_defense(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    validation_gradient: Gradient,
    budget: Budget,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return `ε σ¹ = ε e(B_x' v)` at the inputs that arrived (paper Theorem 1).

    This is `level_1_attack` with the opposite sign, at the attacked inputs: it lowers the validation
    loss after the next step. Arguments and result are those of `level_1_attack`.

    >>> from midstream import Budget, validation_gradient
    >>> model = nn.Linear(4, 3)
    >>> x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> v = validation_gradient(model, x, y)
    >>> options = {"validation_gradient": v, "budget": Budget(epsilon=0.5)}
    >>> torch.equal(level_1_defense(model, x, y, **options), -level_1_attack(model, x, y, **options))
    True
    """
    downhill = mixed_derivative(model, inputs, labels, validation_gradient, loss=loss)
    return budget.epsilon * budget.direction(downhill)
