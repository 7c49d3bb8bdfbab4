"""The gradient of a batch's own loss with respect to its inputs, which test-time attacks ascend."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.gradients import CHUNK, chunks, refuse_coupled_examples
from midstream.mathematics.loss import Loss, cross_entropy


def input_gradient(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, loss: Loss = cross_entropy, chunk_size: int = CHUNK
) -> Tensor:
    """Return `∇x L_θ(x)` of each input, shaped like `inputs`.

    Args:
        model: the model at θ; neither it nor its gradients are changed.
        inputs: `(batch, *input)`.
        labels: their targets, `(batch,)`.
        loss: a loss that sums over its batch.
        chunk_size: examples per chunk.

    Raises:
        ValueError: the model couples the examples by batch norm over batch statistics.

    >>> model = nn.Linear(4, 3)
    >>> input_gradient(model, torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])).shape
    torch.Size([5, 4])
    """
    refuse_coupled_examples(model)
    parts = chunks(inputs.detach(), labels, chunk_size)
    return torch.cat([gradient_at(_loss_of(model, y, loss), x) for x, y in parts])


def _loss_of(model: nn.Module, labels: Tensor, loss: Loss) -> Callable[[Tensor], Tensor]:
    return lambda inputs: loss(model(inputs), labels)


def gradient_at(value: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Return the gradient of a scalar function at `inputs`."""
    with torch.enable_grad():
        at = inputs.detach().clone().requires_grad_()
        gradient: Tensor = torch.autograd.grad(value(at), at, materialize_grads=True)[0]
    return gradient
