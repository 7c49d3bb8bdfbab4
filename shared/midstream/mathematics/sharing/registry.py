"""Models whose derivatives several processes compute together, each process for a part of the examples."""

from collections.abc import Callable, Mapping
from typing import Protocol
from weakref import WeakKeyDictionary

from torch import Tensor, nn

StepGradients = tuple[Tensor, list[Tensor | None]]
"""The summed loss of a batch, and its gradient at each trained parameter, or None."""


class Sharing(Protocol):
    """Computes the derivatives of one model together with other processes.

    Each method returns None if the caller must compute the derivative alone.
    """

    def loss_and_gradient(
        self, inputs: Tensor, labels: Tensor, chunk_size: int | None
    ) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Return `Σ_z L_θ(z)` and its gradient; see `midstream.validation_gradient`."""

    def mixed_derivative(
        self, inputs: Tensor, labels: Tensor, vector: Mapping[str, Tensor], chunk_size: int | None
    ) -> Tensor | None:
        """Return `B_x v`; see `midstream.mixed_derivative`."""

    def step_gradients(
        self, alone: Callable[[Tensor, Tensor], StepGradients], inputs: Tensor, labels: Tensor
    ) -> StepGradients | None:
        """Return the gradients of a training step.

        Args:
            alone: computes them in this process, for any part of the batch.
            inputs: the batch, `(batch, *input)`.
            labels: class indices, or shares of the classes.
        """


_shared: WeakKeyDictionary[nn.Module, Sharing] = WeakKeyDictionary()


def share(model: nn.Module, sharing: Sharing) -> None:
    """Have the derivatives of a model computed together with other processes from now on.

    It applies to losses that are midstream's own cross-entropy.
    """
    _shared[model] = sharing


def sharing_of(model: nn.Module) -> Sharing | None:
    """Return what `share` was given for a model, or None.

    >>> sharing_of(nn.Linear(2, 2)) is None
    True
    """
    return _shared.get(model)
