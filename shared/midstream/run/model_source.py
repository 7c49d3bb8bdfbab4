"""The models of one run: the live one, and others of the same architecture."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.chunk_size import choose_chunk_size
from midstream.mathematics.derivatives.known_orders import remember
from midstream.mathematics.derivatives.orders import Order
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.mathematics.seeds import seeded
from midstream.protocol.specification import Specification
from midstream.run.models import build_model
from midstream.run.process.precision import computing


class ModelSource:
    """Makes models of a run's architecture, on one side of the game.

    Args:
        specification: batch norm, batch size, and the model unless `model` is given.
        input_shape: shape of one input.
        classes: how many classes there are.
        device: where the models are.
        model: name of the model; None takes the specification's.
        allowed: the dotted paths and files that the name may lead to; None allows all.
    """

    def __init__(
        self,
        specification: Specification,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        device: torch.device,
        model: str | None = None,
        allowed: Collection[str] | None = None,
    ) -> None:
        self._specification = specification
        self._input_shape = input_shape
        self._classes = classes
        self._device = device
        self._name = specification.model if model is None else model
        self._allowed = allowed

    def new(self) -> nn.Module:
        """Return a model in its factory's mode, initialized from torch's global generator.

        Raises:
            midstream.plugins.PluginError: there is no such model, or it cannot be trained; see `build_model`.
        """
        model = build_model(
            self._name,
            self._input_shape,
            self._classes,
            batch_norm=self._specification.batch_norm,
            batch_size=self._specification.batch_size,
            allowed=self._allowed,
        )
        return model.to(self._device)

    def first(self) -> nn.Module:
        """Return the `new` model that the run starts with; torch's global random numbers stay as they are."""
        with seeded(torch.device("cpu"), self._specification.seed, "model"):
            return self.new()

    def another(
        self, example: Tensor, *, order: Order, chunk_size: int | None, loss: Loss = cross_entropy
    ) -> nn.Module:
        """Return a `new` model in evaluation mode, whose derivatives are taken as the live model's are.

        Args:
            example: a few inputs, by whose shape the order is remembered.
            order: the live model's order of differentiation.
            chunk_size: how many examples are differentiated at a time; None leaves it to the derivatives.
            loss: the loss that is differentiated.
        """
        model = computing(self.new().eval())
        remember(model, example, order, loss=loss)
        choose_chunk_size(model, chunk_size)
        return model
