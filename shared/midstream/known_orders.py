"""The order in which each model's derivatives are taken: checked at first use, and remembered."""

from collections import OrderedDict
from collections.abc import Hashable
from types import FunctionType
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from midstream.check_derivatives import check_derivatives
from midstream.loss import Loss, cross_entropy
from midstream.orders import Order

_KEPT = 16
"""Circumstances of one model that are remembered."""

_known: WeakKeyDictionary[nn.Module, OrderedDict[Hashable, Order]] = WeakKeyDictionary()


def order_of(model: nn.Module, inputs: Tensor, labels: Tensor, *, loss: Loss = cross_entropy) -> Order:
    """Return the order for a model as it is: the one known, or what `check_derivatives` finds now.

    It is checked anew where the layers, their modes, what is trainable, the loss, or the shape or type of an
    input are others than before.

    Raises:
        DerivativeError: its derivatives are right in none.
    """
    orders = _known.setdefault(model, OrderedDict())
    key = _circumstances(model, inputs, loss)
    if key not in orders:
        remember(model, inputs, check_derivatives(model, inputs, labels, loss=loss), loss=loss)
    return orders[key]


def remember(model: nn.Module, inputs: Tensor, order: Order, *, loss: Loss = cross_entropy) -> None:
    """Have the order be taken for a model from now on, in the circumstances that it is in.

    Args:
        model: the model.
        inputs: like those that derivatives will be asked for.
        order: the order, checked elsewhere.
        loss: the loss.
    """
    orders = _known.setdefault(model, OrderedDict())
    orders[_circumstances(model, inputs, loss)] = order
    while len(orders) > _KEPT:
        orders.popitem(last=False)


def _circumstances(model: nn.Module, inputs: Tensor, loss: Loss) -> Hashable:
    layers = tuple((type(layer), layer.training) for layer in model.modules())
    parameters = tuple((p.requires_grad, p.dtype) for p in model.parameters())
    # A lambda written in a call is another function each time, but the same code.
    plain = isinstance(loss, FunctionType) and loss.__closure__ is None and not loss.__defaults__
    same = loss.__code__ if plain else loss
    return layers, parameters, inputs.shape[1:], inputs.dtype, inputs.device, same
