"""The gradients of a training step, and the step along them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.functional import random_layer
from midstream.mathematics.graphs.capturing import switched_on
from midstream.mathematics.graphs.program import Programs
from midstream.mathematics.loss import cross_entropy
from midstream.mathematics.modes import layers_in_training_mode, switched
from midstream.mathematics.seeds import seeded
from midstream.mathematics.stacks.recognised import stack_of
from midstream.players.interface import Batch


class Descent:
    """A model that is in training mode during a step only.

    Args:
        model: the model, in training mode; afterwards it is in evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._layers = layers_in_training_mode(model)
        model.eval()

    def seeded_gradients(
        self, batch: Batch, programs: Programs, seed: int, *purpose: int | str
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return the gradients of a batch with layer randomness seeded by `seed` and `purpose`.

        A program computes them if the step is `fixed`: then a replay changes no buffer and draws nothing.
        """
        device = batch.inputs.device
        with seeded(device, seed, batch.seq, *purpose):
            if not switched_on() or not self.fixed:
                return self.gradients(batch.inputs, batch.labels)

            def body(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
                loss, gradients = self.gradients(x, y)
                return loss, *(gradient for gradient in gradients if gradient is not None)

            loss, *gradients = programs("training step", body, batch.inputs, batch.labels)
            return loss, list(gradients)

    def gradients(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """Return the summed loss of a batch, and its gradient at each trained parameter, or None.

        A gradient has the memory layout of its parameter. On a CPU, a plain stack of layers is differentiated
        layer by layer, to the same bits as by autograd.

        Args:
            inputs: `(batch, *input)`, float32.
            labels: class indices, or shares of the classes.
        """
        wanted = self._trained()
        if not wanted:
            raise RuntimeError("no parameter of the model requires a gradient, so there is nothing to train")
        with switched(self._layers, training=True):
            if (stack := stack_of(self._model, inputs, labels)) is not None:
                with torch.no_grad():
                    loss, found = stack.loss_and_gradient(inputs, labels)
                return loss, [_laid_out(one, like) for one, like in zip(found, wanted, strict=True)]
            with torch.enable_grad():
                loss = cross_entropy(self._model(inputs), labels)
                gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
        return loss.detach(), [
            None if one is None else _laid_out(one, like) for one, like in zip(gradients, wanted, strict=True)
        ]

    @property
    def fixed(self) -> bool:
        """Whether the next step is the same operations as the last one.

        It is not if the model has buffers, random layers, or a parameter that had no gradient.
        """
        if any(parameter.grad is None for parameter in self._trained()):
            return False
        with switched(self._layers, training=True):
            return random_layer(self._model) is None and not any(True for _ in self._model.buffers())

    def point(self, gradients: Sequence[Tensor | None]) -> None:
        """Give each trained parameter its gradient; a parameter without one is not stepped."""
        for parameter, gradient in zip(self._trained(), gradients, strict=True):
            parameter.grad = gradient

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self._model.parameters() if parameter.requires_grad]


def _laid_out(gradient: Tensor, like: Tensor) -> Tensor:
    return gradient if gradient.stride() == like.stride() else torch.empty_like(like).copy_(gradient)
