"""The strategies that know the Hessian, each as a vector `u` in parameter space.

A strategy that is linear in the perturbation moves each input along `B_x u`: with `u = v` it is level 1, and
with the vectors here it is level 2, optimal contraction and the influence function. Give the vector to
`midstream.level_1_attack` or `midstream.level_1_defense` in the place of `v`.
"""

from torch import Tensor, nn

from midstream.mathematics.derivatives.gradients import Gradient, validation_gradient
from midstream.mathematics.derivatives.hessian import Solution, conjugate_gradients, hessian_vector_product
from midstream.mathematics.loss import Loss, cross_entropy


def level_2_vector(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    validation_inputs: Tensor,
    validation_labels: Tensor,
    *,
    learning_rate: float,
    validation_gradient: Gradient,
    sign: float = 1.0,
    loss: Loss = cross_entropy,
) -> Gradient:
    """Return `v - η H Σ_j ∇θ L_θ(x_j)`, of which `∓e(B_x ·)` is level 2 (paper Theorem 2, Corollary 3).

    It is the validation gradient as level 2 expects it after the coming step, to second order.

    Args:
        model: the model at θ_t; it is not changed.
        inputs: the batch as this player sees it, `(batch, *input)`.
        labels: its targets, `(batch,)`.
        validation_inputs: `(examples, *input)`.
        validation_labels: `(examples,)`.
        learning_rate: η, against the sum of the batch's losses.
        validation_gradient: `v` at θ_t.
        sign: of the validation loss in the objective that `v` is the gradient of; -1 where it is lowered.
        loss: a loss that sums over its batch.

    >>> import torch, midstream
    >>> model = nn.Linear(4, 3)
    >>> x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> v = midstream.validation_gradient(model, x, y)
    >>> u = level_2_vector(model, x, y, x, y, learning_rate=0.01, validation_gradient=v)
    >>> midstream.level_1_attack(model, x, y, validation_gradient=u, budget=midstream.Budget(0.5)).shape
    torch.Size([5, 4])
    """
    step = _batch_gradient(model, inputs, labels, loss)
    curved = hessian_vector_product(model, validation_inputs, validation_labels, step, loss=loss)
    return {name: v - sign * learning_rate * curved[name] for name, v in validation_gradient.items()}


def influence_vector(
    model: nn.Module,
    validation_inputs: Tensor,
    validation_labels: Tensor,
    *,
    validation_gradient: Gradient,
    damping: float,
    max_iterations: int = 20,
    tolerance: float = 1e-3,
    loss: Loss = cross_entropy,
) -> Solution:
    """Return `H⁻¹ v`, of which `∓e(B_x ·)` is the influence function strategy (paper eq. 8).

    `damping` is added to `H`'s diagonal; see
    `midstream.mathematics.derivatives.hessian.conjugate_gradients`, which also says what
    the solution reports.
    """
    return conjugate_gradients(
        lambda u: hessian_vector_product(model, validation_inputs, validation_labels, u, loss=loss),
        validation_gradient,
        damping=damping,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )


def optimal_contraction_vector(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    influence: Gradient,
    *,
    learning_rate: float,
    loss: Loss = cross_entropy,
) -> Gradient:
    """Return `H⁻¹ v - η Σ_j ∇θ L_θ(x_j)`, of which `∓e(B_x ·)` is optimal contraction (paper Corollary 1).

    It differs from the influence function only by the term `η B_x ∇θ L = (η/2) ∇x ‖∇θ L‖²`.

    Args:
        model: the model at θ_t; it is not changed.
        inputs: the batch as this player sees it, `(batch, *input)`.
        labels: its targets, `(batch,)`.
        influence: `H⁻¹ v`, from `influence_vector`.
        learning_rate: η, against the sum of the batch's losses.
        loss: a loss that sums over its batch.
    """
    step = _batch_gradient(model, inputs, labels, loss)
    return {name: h - learning_rate * step[name] for name, h in influence.items()}


def _batch_gradient(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss) -> Gradient:
    return validation_gradient(model, inputs, labels, loss=loss)
