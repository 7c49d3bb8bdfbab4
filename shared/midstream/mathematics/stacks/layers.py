"""The layers of a stack: each one's value, its derivative along a tangent, and the transpose of that.

A weighted layer is linear in its input and in its weight. The others are piecewise linear: their input
decides which entries a ReLU lets pass and which ones a pooling picks. No layer has a second derivative of its
own, so these three functions are enough for `B_x v`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from midstream.mathematics.stacks.image_gradient import image_gradient, suits

_aten = torch.ops.aten

Pair = tuple[int, int]


def pair(value: Any) -> Pair:
    """Return a setting of two axes, given once or for each.

    >>> pair(2), pair((2,)), pair([2, 3])
    ((2, 2), (2, 2), (2, 3))
    """
    values = list(value) if isinstance(value, Iterable) else [value]
    one, two = values * 2 if len(values) == 1 else values
    return one, two


class Fixed(Protocol):
    """A layer without parameters."""

    def value(self, x: Tensor) -> tuple[Tensor, Any]:
        """Return the output, and what the other two functions need of it."""

    def along(self, tangent: Tensor, kept: Any) -> Tensor:
        """Return the derivative of the output along a tangent of the input."""

    def transposed(self, gradient: Tensor, kept: Any) -> Tensor:
        """Return the gradient by the input, given the one by the output."""


class Relu:
    """`max(x, 0)`, with slope 0 at 0 as in torch."""

    def value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output, twice."""
        output = torch.relu(x)
        return output, output

    def along(self, tangent: Tensor, kept: Tensor) -> Tensor:
        """Return the tangent where the output is positive, else 0."""
        passed: Tensor = _aten.threshold_backward(tangent, kept, 0)
        return passed

    transposed = along


class Flatten:
    """All axes after the first become one."""

    def value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the flat input, and the input itself for its shape and memory layout."""
        return x.flatten(1), x

    def along(self, tangent: Tensor, kept: Tensor) -> Tensor:
        """Return the flat tangent."""
        del kept
        return tangent.flatten(1)

    def transposed(self, gradient: Tensor, kept: Tensor) -> Tensor:
        """Return the gradient in the shape and memory layout of the input."""
        shaped = gradient.view(kept.shape)
        if kept.is_contiguous():
            return shaped
        if kept.is_contiguous(memory_format=torch.channels_last):
            return shaped.contiguous(memory_format=torch.channels_last)
        return torch.empty_like(kept).copy_(shaped)


@dataclass(frozen=True)
class MaxPool:
    """The largest entry of each window; the first one if several are equal, as in torch."""

    window: tuple[Pair, Pair, Pair, Pair, bool]
    """Kernel, stride, padding, dilation and whether sizes are rounded up."""

    def value(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the output, the input, and the places of the largest entries."""
        output, places = _aten.max_pool2d_with_indices(x, *self.window)
        return output, (x, places)

    def along(self, tangent: Tensor, kept: tuple[Tensor, Tensor]) -> Tensor:
        """Return the tangent at those places."""
        _, places = kept
        channels_last = places.is_contiguous(memory_format=torch.channels_last)
        if not channels_last or places.is_contiguous():
            return tangent.flatten(2).gather(2, places.flatten(2)).view(places.shape)
        rows, at = tangent.permute(0, 2, 3, 1).flatten(1, 2), places.permute(0, 2, 3, 1)
        picked = rows.gather(1, at.flatten(1, 2))  # no entry moves in memory, unlike along the last axis
        return picked.view(at.shape).permute(0, 3, 1, 2)

    def transposed(self, gradient: Tensor, kept: tuple[Tensor, Tensor]) -> Tensor:
        """Return the gradient at those places, and 0 elsewhere."""
        x, places = kept
        spread: Tensor = _aten.max_pool2d_with_indices_backward(gradient, x, *self.window, places)
        return spread


@dataclass(frozen=True)
class AvgPool:
    """The mean of each window."""

    window: tuple[Pair, Pair, Pair, bool, bool, int | None]
    """Kernel, stride, padding, whether sizes are rounded up, whether padding counts, and the divisor."""

    def value(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the input."""
        return self.along(x, x), x

    def along(self, tangent: Tensor, kept: Tensor) -> Tensor:
        """Return the means of the tangent."""
        del kept
        pooled: Tensor = _aten.avg_pool2d(tangent, *self.window)
        return pooled

    def transposed(self, gradient: Tensor, kept: Tensor) -> Tensor:
        """Return each entry's share of the gradients of its windows."""
        spread: Tensor = _aten.avg_pool2d_backward(gradient, kept, *self.window)
        return spread


@dataclass(frozen=True)
class Weighted:
    """A layer with a weight, and perhaps a bias: `A(x, weight) + bias`, with A linear in both."""

    weight: Tensor
    bias: Tensor | None
    names: tuple[str, ...]
    """The parameters' names in the model."""

    def applied(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return `A(x, weight) + bias`."""
        raise NotImplementedError

    def transposed(self, gradient: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Return the gradient by `x` of `⟨gradient, A(x, weight)⟩`; only the shape of `x` matters."""
        raise NotImplementedError

    def both_transposed(self, one: Tensor, other: Tensor, along: Tensor, x: Tensor) -> Tensor:
        """Return `transposed(one, weight) + transposed(other, along)`."""
        return self.transposed(one, self.weight, x) + self.transposed(other, along, x)

    def backward(self, gradient: Tensor, x: Tensor, *, further: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Return the gradients by `x`, if the pass goes further, and by the parameters in their order."""
        raise NotImplementedError

    def along(self, x: Tensor, tangent: Tensor | None, vector: Mapping[str, Tensor]) -> Tensor:
        """Return the derivative of the output along a tangent of the input and a vector of parameters."""
        weight, *bias = (vector[name] for name in self.names)
        moved = self.applied(x, weight, bias[0] if bias else None)
        return moved if tangent is None else moved.add_(self.applied(tangent, self.weight, None))


class Linear(Weighted):
    """`x Wᵀ + b`."""

    def applied(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return `x weightᵀ + bias`."""
        across = self._across if weight is self.weight else weight.t()
        return x @ across if bias is None else torch.addmm(bias, x, across)

    def along(self, x: Tensor, tangent: Tensor | None, vector: Mapping[str, Tensor]) -> Tensor:
        """Return the derivative of the output along a tangent of the input and a vector of parameters."""
        moved = super().along(x, None, vector)
        return moved if tangent is None else moved.addmm_(tangent, self._across)

    @cached_property
    def _across(self) -> Tensor:
        return self.weight.t()

    def transposed(self, gradient: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Return `gradient · weight`."""
        del x
        return gradient @ weight

    def both_transposed(self, one: Tensor, other: Tensor, along: Tensor, x: Tensor) -> Tensor:
        """Return `one · weight + other · along`."""
        del x
        return (one @ self.weight).addmm_(other, along)

    def backward(self, gradient: Tensor, x: Tensor, *, further: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Return `gradient · W` if asked for, `gradientᵀ x`, and the sum of the gradient over the batch."""
        by_weight = gradient.t() @ x
        by_parameters = [by_weight] if self.bias is None else [by_weight, gradient.sum(0)]
        return gradient @ self.weight if further else None, by_parameters


@dataclass(frozen=True)
class Convolution(Weighted):
    """A two-dimensional convolution with zeros as padding."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def applied(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of x with the weight, plus the bias."""
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def transposed(self, gradient: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Return the transposed convolution of the gradient."""
        if self._of_image(x):
            return image_gradient([gradient], [weight], self.padding)
        found: Tensor = self._backward(gradient, x, weight, (True, False, False))[0]
        return found

    def both_transposed(self, one: Tensor, other: Tensor, along: Tensor, x: Tensor) -> Tensor:
        """Return the sum of both transposed convolutions; it is itself one over twice the channels."""
        if self._of_image(x):
            return image_gradient([one, other], [self.weight, along], self.padding)
        if self.groups != 1:
            return super().both_transposed(one, other, along, x)
        return self.transposed(torch.cat([one, other], 1), torch.cat([self.weight, along]), x)

    def backward(self, gradient: Tensor, x: Tensor, *, further: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Return the gradients by the input, if asked for, the weight and the bias."""
        by_x, *rest = self._backward(gradient, x, self.weight, (further, True, self.bias is not None))
        return by_x, [value for value in rest if value is not None]

    def _of_image(self, x: Tensor) -> bool:
        plain = self.stride == self.dilation == (1, 1) and self.groups == 1
        return plain and suits(self.weight, self.padding, x)

    def _backward(self, gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Any:
        how = self.stride, self.padding, self.dilation, False, (0, 0), self.groups, wanted
        return _aten.convolution_backward(gradient, x, weight, [weight.shape[0]], *how)
