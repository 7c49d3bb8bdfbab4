"""The exact gradient of the utility, through the training step itself and through later steps.

This goes beyond the paper: its strategies are first order in the step (Theorem 1), and it leaves this to
future work. The chain rule is applied backwards, one step at a time. Each factor is a derivative over one
batch, taken in chunks, so memory does not grow with the validation set. With the number of steps it grows by
one copy of the parameters and moments per step.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import vjp

from midstream.mathematics.derivatives.batch_gradient import batch_gradient
from midstream.mathematics.derivatives.batch_statistics import as_trained
from midstream.mathematics.derivatives.functional import T, holding, trainable
from midstream.mathematics.derivatives.gradients import (
    CHUNK,
    Gradient,
    along,
    mixed_derivative,
    validation_gradient,
)
from midstream.mathematics.derivatives.hessian import hessian_vector_product
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.mathematics.optimizers.training_step import Moments, TrainingStep


def unrolled_utility_gradient(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    validation_inputs: Tensor,
    validation_labels: Tensor,
    *,
    step: TrainingStep,
    upcoming: Sequence[tuple[Tensor, Tensor]] = (),
    sign: float = 1.0,
    loss: Loss = cross_entropy,
    chunk_size: int = CHUNK,
) -> Tensor:
    """Return `∇x Σ_{z∈Dval} L_{θ_{t+1+n}}(z)`, the gradient of the utility through n + 1 training steps.

    `θ_{t+1} = step(θ_t, Σ_x ∇θ L(x))` is the step that the optimizer takes on this batch; the n other steps
    are on the `upcoming` batches. With `v'` the validation gradient at the last parameters, the chain rule
    applied backwards is

        λ ← v',  then for each step, the last first:  c ← (∂θ'/∂g)ᵀ λ,  λ ← (∂θ'/∂θ)ᵀ λ + H_batch c.

    `∂θ'/∂θ` at a given gradient is the identity, unless the optimizer has weight decay. The moments have
    adjoints of their own. The result is `B_x c` of the first step. For a single step of plain SGD it is
    `-η B_x v'`: level 1 with the validation gradient after the step, and level 1 itself as η goes to 0.

    Cost, in forward passes F over one example: 3F per validation example, 7F per example of the batch and 9F
    per example of an upcoming batch; level 1 costs 3F and 4F. Unlike level 1's `v`, `v'` depends on the
    inputs, so it is computed again for each point at which the gradient is requested.

    If the model's batch norm trains, `v'` has to be taken with the statistics of validation batches
    (`midstream.use_batch_statistics`): the running statistics after the step depend on the inputs, too, and
    are treated as constants here.

    Args:
        model: the model at θ_t; it is not changed.
        inputs: the batch as the model would train on it, `(batch, *input)`.
        labels: its targets, `(batch,)`.
        validation_inputs: `(examples, *input)`.
        validation_labels: `(examples,)`.
        step: the optimizer before the step; see `midstream.training_step`.
        upcoming: the n batches after this one, as pairs of inputs and labels.
        sign: sign of the validation loss in the utility; -1 if the attacker lowers it.
        loss: a loss that sums over its batch.
        chunk_size: examples at a time.

    Returns:
        A tensor shaped like `inputs`: the gradient of `sign` times the validation loss.

    Raises:
        DerivativeError: the model's derivatives are correct in no order; see `midstream.check_derivatives`.

    >>> from midstream import Sgd
    >>> model = nn.Linear(4, 3)
    >>> x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> unrolled_utility_gradient(model, x, y, x, y, step=Sgd(0.1), upcoming=[(x, y)]).shape
    torch.Size([5, 4])
    """
    laid_out = trainable(model)

    def at(values: Gradient, derivative: Callable[..., T], *arguments: Tensor | Gradient) -> T:
        placed = {name: value.requires_grad_() for name, value in along(values, laid_out).items()}
        return holding(model, placed, lambda: derivative(model, *arguments, loss=loss, chunk_size=chunk_size))

    batches = [(inputs.detach(), labels), *upcoming]
    parameters: Gradient = {name: value.detach().clone() for name, value in laid_out.items()}
    taken: list[tuple[TrainingStep, Gradient, Gradient]] = []
    for x, y in batches:
        gradient = at(parameters, batch_gradient, x, y)
        taken.append((step, parameters, gradient))
        parameters, step = step.stepped(parameters, gradient)

    v = at(parameters, validation_gradient, validation_inputs, validation_labels)
    adjoint: Gradient = {name: sign * value for name, value in v.items()}
    remembered: Moments = {
        key: {name: torch.zeros_like(m) for name, m in moment.items()} for key, moment in step.moments.items()
    }
    for (x, y), (step, parameters, gradient) in zip(batches[:0:-1], taken[:0:-1], strict=True):
        adjoint, pulled, remembered = _pull_back(step, parameters, gradient, adjoint, remembered)
        with as_trained(model):
            curved = at(parameters, hessian_vector_product, x, y, pulled)
        adjoint = {name: value + curved[name] for name, value in adjoint.items()}

    (x, y), (step, parameters, gradient) = batches[0], taken[0]
    _, pulled, _ = _pull_back(step, parameters, gradient, adjoint, remembered)
    return at(parameters, mixed_derivative, x, y, pulled)


def _pull_back(
    step: TrainingStep, parameters: Gradient, gradient: Gradient, adjoint: Gradient, moments: Moments
) -> tuple[Gradient, Gradient, Moments]:
    """Return the adjoints of the parameters, the gradient and the moments before a step."""

    def after(theta: Gradient, g: Gradient, remembered: Moments) -> tuple[Gradient, Moments]:
        arrived, next_step = step.with_moments(remembered).stepped(theta, g)
        return arrived, next_step.moments

    pull = vjp(after, dict(parameters), dict(gradient), step.moments)[1]
    adjoints: tuple[Gradient, Gradient, Moments] = pull((adjoint, moments))
    return adjoints
