"""`v` and `B_x v` of a stack of torch's own layers, computed layer by layer instead of by autograd.

The loss is the cross-entropy. With z the logits, p the probabilities and a dot for the derivative along v,

    λ = ∇z L = p - onehot(y),    μ = ∇z ⟨∇z L, ż⟩ = p ∘ (ż - ⟨p, ż⟩)

go back through the layers, λ as in a backward pass, and μ together with what λ gives through the tangent of
each weight. What arrives at the inputs as μ is `B_x v`. This is reverse over forward mode, written out: it
computes what autograd computes, with a third of the operations and none of its copies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from midstream.mathematics.stacks.layers import Fixed, Weighted

_aten = torch.ops.aten
_SUM = 2  # torch's number for the reduction of a loss by its sum
_IGNORED = -100  # torch's label of an example that does not count


@dataclass(frozen=True)
class Stack:
    """Layers, one after the other, at fixed parameters; at least one of them is weighted.

    Call its methods under `torch.no_grad`.
    """

    layers: Sequence[Fixed | Weighted]

    def names(self) -> Iterator[str]:
        """Yield the parameters' names, in the order of the layers."""
        for layer in self.layers:
            if isinstance(layer, Weighted):
                yield from layer.names

    def loss_and_gradient(self, x: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return `Σ L(x)`, and its gradients by the parameters, in the order of `names`.

        Args:
            x: `(examples, *input)`.
            labels: class indices, `(examples,)`.
        """
        logits, kept, _ = self._forward(x, None)
        log_p = torch.log_softmax(logits, 1)
        loss, weight = _aten.nll_loss_forward(log_p, labels, None, _SUM, _IGNORED)
        by_log_p = _aten.nll_loss_backward(self._one, log_p, labels, None, _SUM, _IGNORED, weight)
        gradient: Tensor = _aten._log_softmax_backward_data(by_log_p, log_p, 1, log_p.dtype)
        first = self._first
        found: list[Tensor] = []
        for place in range(len(self.layers) - 1, first - 1, -1):
            layer = self.layers[place]
            if isinstance(layer, Weighted):
                onward, found[:0] = layer.backward(gradient, kept[place], further=place > first)
                gradient = gradient if onward is None else onward
            else:
                gradient = layer.transposed(gradient, kept[place])
        return loss, found

    def mixed(self, x: Tensor, labels: Tensor, vector: Mapping[str, Tensor]) -> Tensor:
        """Return `B_x v`, shaped like `x`.

        Args:
            x: `(examples, *input)`.
            labels: class indices, `(examples,)`.
            vector: v, a tensor for each of `names`.
        """
        logits, kept, tangent = self._forward(x, vector)
        first = self._first
        by_tangent, by_value = _cross_entropy(logits, tangent, labels)
        for place in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[place]
            if not isinstance(layer, Weighted):
                by_value = layer.transposed(by_value, kept[place])
                if place > first:
                    by_tangent = layer.transposed(by_tangent, kept[place])
                continue
            along = vector[layer.names[0]]
            by_value = layer.both_transposed(by_value, by_tangent, along, kept[place])
            if place > first:
                by_tangent = layer.transposed(by_tangent, layer.weight, kept[place])
        return by_value

    @cached_property
    def _first(self) -> int:
        """The place of the first layer with parameters."""
        return next(place for place, layer in enumerate(self.layers) if isinstance(layer, Weighted))

    @cached_property
    def _one(self) -> Tensor:
        layer = self.layers[self._first]
        assert isinstance(layer, Weighted)
        return layer.weight.new_ones(())

    def _forward(
        self, x: Tensor, vector: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, list[Any], Tensor | None]:
        """Return the logits, what each layer keeps, and the tangent of the logits along a vector."""
        kept: list[Any] = []
        tangent: Tensor | None = None
        for layer in self.layers:
            if isinstance(layer, Weighted):
                kept.append(x)
                if vector is not None:
                    tangent = layer.along(x, tangent, vector)
                x = layer.applied(x, layer.weight, layer.bias)
            else:
                x, one = layer.value(x)
                kept.append(one)
                if tangent is not None:
                    tangent = layer.along(tangent, one)
        return x, kept, tangent


def _cross_entropy(logits: Tensor, tangent: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return λ and μ.

    Both cancel where an example is learned, since `p` is then close to onehot(y). The differences are taken
    from the other classes' probabilities, which keeps their digits in single precision.
    """
    assert tangent is not None
    ignored = (labels == _IGNORED)[:, None]
    at = labels[:, None].masked_fill(ignored, 0)
    p = torch.log_softmax(logits, 1).exp_().masked_fill_(ignored, 0)
    others = p.scatter(1, at, 0.0)
    first = others.scatter(1, at, others.sum(1, keepdim=True).neg_())
    moved = tangent - tangent.gather(1, at)  # μ does not change if all logits move alike
    second = p.mul_(moved - (others * moved).sum(1, keepdim=True))
    return first, second
