"""The gradient that a training step descends."""

from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_statistics import as_trained
from midstream.mathematics.derivatives.gradients import Gradient, validation_gradient
from midstream.mathematics.loss import Loss, cross_entropy


def batch_gradient(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: Loss = cross_entropy,
    chunk_size: int | None = None,
) -> Gradient:
    """Return `Σ_j ∇θ L_θ(x_j)` over a minibatch, the gradient that a training step descends.

    It is `midstream.validation_gradient` of the minibatch, except for a model whose batch norm trains: there
    it is taken with the statistics of the whole minibatch (`midstream.use_batch_statistics`). Arguments and
    errors are those of `midstream.validation_gradient`.

    >>> import torch, midstream
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    >>> midstream.use_batch_statistics(model)
    >>> list(batch_gradient(model.eval(), torch.eye(2), torch.tensor([0, 1])))
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """
    with as_trained(model):
        return validation_gradient(model, inputs, labels, loss=loss, chunk_size=chunk_size)
