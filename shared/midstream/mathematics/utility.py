"""The utility of the game: the change of the validation loss over one training step."""

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_statistics import as_trained, refuse_other_coupling
from midstream.mathematics.derivatives.gradients import (
    CHUNK,
    Gradient,
    functional_call,
    trainable,
)
from midstream.mathematics.derivatives.parts import of_set
from midstream.mathematics.loss import Loss, cross_entropy


def total_loss(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    parameters: Gradient | None = None,
    loss: Loss = cross_entropy,
    chunk_size: int = CHUNK,
) -> Tensor:
    """Return `Σ_z L_θ(z)` over a set, a scalar, at `parameters`; by default, at the model's own."""
    at = dict(trainable(model) if parameters is None else parameters)
    with torch.no_grad(), of_set(model, inputs, labels, chunk_size) as parts:
        losses = [loss(functional_call(model, at, (x,)), y) for x, y in parts]
    return torch.stack(losses).sum()


def utility(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    validation_inputs: Tensor,
    validation_labels: Tensor,
    *,
    learning_rate: float,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return `U_t = Σ_{z∈Dval} [L_{θ'}(z) - L_θ(z)]`, the attacker's gain (paper eq. 3–4).

    `θ' = θ - η ∇θ Σ_x L_θ(x)` is one plain SGD step on the given batch. The attacker raises `U_t` and the
    defender lowers it. Level 1 follows its gradient to first order in η, `∇x U_t = -η B_x v`. If the model's
    batch norm trains, the step is taken with the minibatch's statistics; the running statistics, which such a
    step also moves, are the same before and after it here.

    Args:
        model: the model at θ_t; it is not changed.
        inputs: the batch as the model would train on it, `(batch, *input)`.
        labels: its targets, `(batch,)`.
        validation_inputs: `(examples, *input)`.
        validation_labels: `(examples,)`.
        learning_rate: η, for the **sum** of the batch's losses.
        loss: a loss that sums over its batch.

    >>> model = nn.Linear(4, 3)
    >>> x, y = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> bool(utility(model, x, y, x, y, learning_rate=1e-3) < 0)  # training on Dval itself helps
    True
    """
    refuse_other_coupling(model)
    before = trainable(model)
    with torch.enable_grad(), as_trained(model):
        value = loss(functional_call(model, before, (inputs,)), labels)
        gradient = torch.autograd.grad(value, list(before.values()), materialize_grads=True)
    after = {
        name: p.detach() - learning_rate * g for (name, p), g in zip(before.items(), gradient, strict=True)
    }
    gained = total_loss(model, validation_inputs, validation_labels, parameters=after, loss=loss)
    return gained - total_loss(model, validation_inputs, validation_labels, loss=loss)
