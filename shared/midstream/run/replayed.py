"""The gradients of a training by programs, which a CUDA device may replay as graphs."""

import torch
from torch import Tensor, nn

from midstream.mathematics.capturing import switched_on
from midstream.mathematics.derivatives.functional import random_layer
from midstream.mathematics.derivatives.gradients import Gradient, validation_gradient
from midstream.mathematics.loss import cross_entropy
from midstream.mathematics.program import Programs
from midstream.players.interface import Batch


def replayed_validation_gradient(
    programs: Programs, model: nn.Module, validation: tuple[Tensor, Tensor]
) -> Gradient:
    """Return `v` of a model; see `midstream.validation_gradient`.

    Args:
        programs: the programs of the model's host.
        model: the model.
        validation: inputs and labels of the validation set.
    """
    values = programs("v", lambda: tuple(validation_gradient(model, *validation).values()))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return dict(zip(names, values, strict=True))


def loss_and_gradients(programs: Programs, model: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
    """Return the summed loss of a batch, and its gradients at the `trained` parameters if a program has them.

    Without them, the caller takes the backward pass. A program computes them unless the model has buffers,
    which a replay would change, or random layers, which a replay cannot seed, or parameters that had no
    gradient in the last step.

    Args:
        programs: the programs of the model's host.
        model: the model, in the mode of the step.
        batch: the batch to step on.
    """
    if not switched_on() or not _fixed(model):
        return (cross_entropy(model(batch.inputs), batch.labels),)
    wanted = trained(model)

    def descent(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        loss = cross_entropy(model(x), y)
        return loss.detach(), *torch.autograd.grad(loss, wanted)

    return programs("training step", descent, batch.inputs, batch.labels)


def _fixed(model: nn.Module) -> bool:
    complete = all(parameter.grad is not None for parameter in trained(model))
    return complete and not any(True for _ in model.buffers()) and random_layer(model) is None


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that a step changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
