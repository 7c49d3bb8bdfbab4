"""The strategies that use the Hessian, each as a vector `u` in parameter space.

A strategy that is linear in the perturbation moves each input along `B_x u`. With `u = v` this is level 1;
the vectors here give level 2, optimal contraction and the influence function. Pass the vector to
`midstream.level_1_attack` or `midstream.level_1_defense` in place of `v`.
"""

from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_gradient import batch_gradient
from midstream.mathematics.derivatives.gradients import Gradient
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
    """Return `u = v - η H Σ_j ∇θ L_θ(x_j)`; level 2 is `∓e(B_x u)` (paper Theorem 2, Corollary 3).

    It is the validation gradient that level 2 expects after the next step: `v` with its second-order
    correction.

    Args:
        model: the model at θ_t; it is not changed.
        inputs: the batch as this player sees it, `(batch, *input)`.
        labels: its targets, `(batch,)`.
        validation_inputs: `(examples, *input)`.
        validation_labels: `(examples,)`.
        learning_rate: η, for the sum of the batch's losses.
        validation_gradient: `v` at θ_t.
        sign: sign of the validation loss in the objective whose gradient is `v`; -1 if the attacker lowers
            it.
        loss: a loss that sums over its batch.

    >>> import torch, midstream
    >>> model = nn.Linear(4, 3)
    >>> x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> v = midstream.validation_gradient(model, x, y)
    >>> u = level_2_vector(model, x, y, x, y, learning_rate=0.01, validation_gradient=v)
    >>> midstream.level_1_attack(model, x, y, validation_gradient=u, budget=midstream.Budget(0.5)).shape
    torch.Size([5, 4])
    """
    step = batch_gradient(model, inputs, labels, loss=loss)
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
    """Return `u = H⁻¹ v`; the influence function strategy is `∓e(B_x u)` (paper eq. 8).

    `damping` is added to the diagonal of `H`. See
    `midstream.mathematics.derivatives.hessian.conjugate_gradients` for the options and the fields of the
    solution.
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
    """Return `u = H⁻¹ v - η Σ_j ∇θ L_θ(x_j)`; optimal contraction is `∓e(B_x u)` (paper Corollary 1).

    It differs from the influence function only in the term `η B_x ∇θ L = (η/2) ∇x ‖∇θ L‖²`.

    Args:
        model: the model at θ_t; it is not changed.
        inputs: the batch as this player sees it, `(batch, *input)`.
        labels: its targets, `(batch,)`.
        influence: `H⁻¹ v`, from `influence_vector`.
        learning_rate: η, for the sum of the batch's losses.
        loss: a loss that sums over its batch.
    """
    step = batch_gradient(model, inputs, labels, loss=loss)
    return {name: h - learning_rate * step[name] for name, h in influence.items()}
