"""Lets each process of the tests check the derivatives of an architecture once, not once for each model.

`check_derivatives` takes a tenth of a second, and most tests build one of the same few networks. Only models
made of torch's own layers, without hooks, share what was found. The tests of the check itself call
`midstream.check_derivatives`, which is not replaced, and every test computes in the order that was found.
"""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import midstream.mathematics.derivatives.known_orders as library
import midstream.run.training as games
from midstream.mathematics.derivatives.checking.check import check_derivatives
from midstream.mathematics.derivatives.orders import ORDERS, Order
from midstream.mathematics.loss import Loss, cross_entropy

_found: dict[Hashable, Order] = {}
_PLAIN = (bool, int, float, str, tuple, type(None))


def share() -> None:
    """Share from now on what was found for equal architectures."""
    library.check_derivatives = games.check_derivatives = _checked_once  # type: ignore[attr-defined]


def _checked_once(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: Loss = cross_entropy,
    orders: Sequence[Order] = ORDERS,
) -> Order:
    if loss is not cross_entropy or not all(map(_is_plain, model.modules())):
        return check_derivatives(model, inputs, labels, loss=loss, orders=orders)
    few = min(len(inputs), 2)
    key = architecture(model), few, inputs.shape[1:], inputs.dtype, inputs.device, tuple(orders)
    if key not in _found:
        _found[key] = check_derivatives(model, inputs, labels, loss=loss, orders=orders)
    return _found[key]


def architecture(model: nn.Module) -> Hashable:
    """Return all that a model of torch's own layers is, but for the values of its tensors."""
    layers = [
        (name, type(layer), *sorted((k, repr(v)) for k, v in vars(layer).items() if isinstance(v, _PLAIN)))
        for name, layer in model.named_modules(remove_duplicate=False)
    ]
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    first: dict[int, str] = {}  # tied weights are one tensor with two names
    described = [
        (name, first.setdefault(id(t), name), t.shape, t.dtype, t.device, t.requires_grad)
        for name, t in tensors
    ]
    return tuple(layers), tuple(described), torch.get_default_dtype()


def _is_plain(layer: nn.Module) -> bool:
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    if any(hooks) or "forward" in vars(layer):
        return False
    # Batch norm is checked for each model: how it trains is marked on its layers.
    return type(layer).__module__.startswith("torch.nn.modules.") and not isinstance(layer, _BatchNorm)
