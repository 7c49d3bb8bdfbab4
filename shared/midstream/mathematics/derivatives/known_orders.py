"""The order in which each model's derivatives are taken: checked at first use, and remembered."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from types import FunctionType
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from midstream.mathematics.derivatives.check import check_derivatives
from midstream.mathematics.derivatives.functional import DerivativeError
from midstream.mathematics.derivatives.orders import ORDERS, Order
from midstream.mathematics.loss import Loss, cross_entropy

_KEPT = 16
"""Circumstances of one model that are remembered."""

_known: WeakKeyDictionary[nn.Module, OrderedDict[Hashable, Order]] = WeakKeyDictionary()


def order_of(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: Loss = cross_entropy,
    orders: Sequence[Order] = ORDERS,
) -> Order:
    """Return the order for a model as it is: the one known, or what `check_derivatives` finds now.

    It is checked anew where the layers, their modes, what is trainable, the loss, or the shape or type of an
    input are others than before.

    Raises:
        DerivativeError: its derivatives are right in none.
    """
    known = _known.setdefault(model, OrderedDict())
    key = _circumstances(model, inputs, loss, orders)
    if key not in known:
        found = check_derivatives(model, inputs, labels, loss=loss, orders=orders)
        _keep(known, key, found)
    return known[key]


def remember(model: nn.Module, inputs: Tensor, order: Order, *, loss: Loss = cross_entropy) -> None:
    """Have the order be taken for a model from now on, in the circumstances that it is in.

    Args:
        model: the model.
        inputs: like those that derivatives will be asked for.
        order: the order, checked elsewhere.
        loss: the loss.
    """
    _keep(_known.setdefault(model, OrderedDict()), _circumstances(model, inputs, loss, ORDERS), order)


def agreed_order(model: nn.Module, inputs: Tensor, labels: Tensor, theirs: str | None) -> Order:
    """Return the order that another process takes for the same model, having checked that it is right here.

    Args:
        model: the model as it is here.
        inputs: a few, floating point.
        labels: their targets.
        theirs: the other's order; None where it does not tell, and the one found here is taken.

    Raises:
        DerivativeError: it is not known here, or not right.
    """
    if theirs is None:
        return check_derivatives(model, inputs, labels)
    known = [order for order in ORDERS if order == theirs]
    if not known:
        raise DerivativeError(
            f"the server takes derivatives {theirs!r}, which is none of {', '.join(ORDERS)}"
        )
    try:
        return check_derivatives(model, inputs, labels, orders=known)
    except DerivativeError as error:
        raise DerivativeError(f"the server takes derivatives {theirs}, not right here: {error}") from error


def _keep(known: OrderedDict[Hashable, Order], key: Hashable, order: Order) -> None:
    known[key] = order
    while len(known) > _KEPT:
        known.popitem(last=False)


def _circumstances(model: nn.Module, inputs: Tensor, loss: Loss, orders: Sequence[Order]) -> Hashable:
    layers = tuple((type(layer), layer.training) for layer in model.modules())
    parameters = tuple((p.requires_grad, p.dtype) for p in model.parameters())
    # A lambda written in a call is another function each time, but the same code.
    plain = isinstance(loss, FunctionType) and loss.__closure__ is None and not loss.__defaults__
    same = loss.__code__ if plain else loss
    return layers, parameters, inputs.shape[1:], inputs.dtype, inputs.device, same, tuple(orders)
