"""One rank's part of a derivative. Rank 0 and the others compute it by the same functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Literal

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.gradients import loss_and_gradient, mixed_derivative
from midstream.mathematics.derivatives.known_orders import remember
from midstream.mathematics.derivatives.orders import Order
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.modes import BatchNorm
from midstream.mathematics.seeds import seeded
from midstream.mathematics.sharing.registry import StepGradients
from midstream.mathematics.sharing.spans import Span
from midstream.run.models import build_model
from midstream.run.process.precision import computing
from midstream.run.ranks.adding import is_channels_last
from midstream.run.ranks.wire import packed

Task = Literal["sum", "rows", "step"]
"""A sum of gradients over a set, `B_x v` of a batch, or the gradients of a training step."""


@dataclass(frozen=True)
class Description:
    """What a rank builds a model from.

    Attributes:
        model: the model's name and options.
        input_shape: shape of one input.
        classes: number of classes.
        batch_norm: how batch norm is treated.
        batch_size: examples of a minibatch.
        seed: the run's seed.
        order: order of the second derivatives.
    """

    model: str
    input_shape: tuple[int, ...]
    classes: int
    batch_norm: BatchNorm
    batch_size: int
    seed: int
    order: Order

    def built(self, device: torch.device, allowed: frozenset[str] | None) -> nn.Module:
        """Return the model in the mode in which its factory leaves it; a host sets its parameters."""
        with seeded(torch.device("cpu"), self.seed, "model"):
            return build_model(
                self.model,
                self.input_shape,
                self.classes,
                batch_norm=self.batch_norm,
                batch_size=self.batch_size,
                allowed=allowed,
            ).to(device)

    def settle(self, model: nn.Module, device: torch.device) -> None:
        """Give a built model, now in evaluation mode, the run's precision and order of derivatives."""
        remember(computing(model), torch.zeros(1, *self.input_shape, device=device), self.order)

    def written(self) -> dict[str, Any]:
        """Return the description as JSON values."""
        return asdict(self)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Description":
        """Return what `written` has made of a description."""
        return cls(**{**values, "input_shape": tuple(values["input_shape"])})


@dataclass(frozen=True)
class Kind:
    """Shape, dtype and memory layout of a tensor that another rank sends."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool

    @classmethod
    def of(cls, tensor: Tensor) -> "Kind":
        """Return the kind of a tensor."""
        return cls(tuple(tensor.shape), tensor.dtype, is_channels_last(tensor))

    def written(self) -> list[Any]:
        """Return the kind as JSON values."""
        return [list(self.shape), str(self.dtype).removeprefix("torch."), self.channels_last]

    @classmethod
    def read(cls, values: Sequence[Any]) -> "Kind":
        """Return what `written` has made of a kind."""
        shape, dtype, channels_last = values
        return cls(tuple(shape), getattr(torch, dtype), channels_last)


def state(model: nn.Module) -> list[Tensor]:
    """Return all that a model computes with: its parameters and buffers."""
    return [*model.parameters(), *model.buffers()]


def sums(
    model: nn.Module, inputs: Tensor, labels: Tensor, span: Span, *, chunk_size: int, apart: bool
) -> list[list[Tensor]]:
    """Return this rank's terms of a sum over a set: the loss and its gradients, for each of its parts.

    Args:
        model: the model.
        inputs: the whole set.
        labels: its labels.
        span: the examples of this rank.
        chunk_size: examples at a time.
        apart: whether each chunk is a term of its own; otherwise there is one term for all.
    """
    start, stop = span
    step = chunk_size if apart else max(stop - start, 1)
    found = []
    for first in range(start, stop, step):
        part = slice(first, min(first + step, stop))
        loss, gradient = loss_and_gradient(model, inputs[part], labels[part], chunk_size=chunk_size)
        found.append([loss, *gradient.values()])
    return found


def rows(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    vector: Mapping[str, Tensor],
    span: Span,
    *,
    chunk_size: int,
) -> Tensor:
    """Return this rank's rows of `B_x v`."""
    start, stop = span
    if start == stop:
        return torch.empty_like(pixels(inputs[:0]))
    part = slice(start, stop)
    return mixed_derivative(model, inputs[part], labels[part], vector, chunk_size=chunk_size)


def step(
    alone: Callable[[Tensor, Tensor], StepGradients],
    inputs: Tensor,
    labels: Tensor,
    span: Span,
    likes: Sequence[Tensor],
) -> list[list[Tensor]]:
    """Return this rank's term of a training step, `[loss, used, *gradients]`.

    `used` is 1 for each parameter that has a gradient; one that has none counts as zero.

    Args:
        alone: computes the gradients of any part of the batch.
        inputs: the batch.
        labels: its labels.
        span: the examples of this rank.
        likes: the trained parameters.
    """
    start, stop = span
    if start == stop:
        return []
    loss, gradients = alone(inputs[start:stop], labels[start:stop])
    used = loss.new_tensor([gradient is not None for gradient in gradients])
    filled = [
        torch.zeros_like(like) if one is None else one for one, like in zip(gradients, likes, strict=True)
    ]
    return [[loss, used, *filled]]


def digest(model: nn.Module, description: Description, device: torch.device) -> str:
    """Return a digest of a model's parameters and of a gradient that is computed at them.

    Ranks with equal digests hold the same parameters, and compute the same bits from them.
    """
    few = 4
    drawn = torch.rand(few, *description.input_shape, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(few) % description.classes
    _, gradient = loss_and_gradient(model, drawn.to(device), labels.to(device), chunk_size=few)
    content = packed([*state(model), *gradient.values()])
    return sha256(content.cpu().numpy().tobytes()).hexdigest()
