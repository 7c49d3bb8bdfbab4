"""Cache of the order in which each model's derivatives are taken; it is checked at first use."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from types import FunctionType
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_statistics import as_trained
from midstream.mathematics.derivatives.checking.check import check_derivatives
from midstream.mathematics.derivatives.functional import DerivativeError
from midstream.mathematics.derivatives.orders import ORDERS, Order
from midstream.mathematics.loss import Loss, cross_entropy

_KEPT = 16
"""Upper limit on cached circumstances per model."""

_known: WeakKeyDictionary[nn.Module, OrderedDict[Hashable, Order]] = WeakKeyDictionary()


def order_of(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: Loss = cross_entropy,
    orders: Sequence[Order] = ORDERS,
) -> Order:
    """Return the cached order for a model, or the one that `check_derivatives` finds now.

    The derivatives are checked again whenever the layers, their modes, the trainable parameters, the loss,
    the choice of orders, or the shape, dtype or device of the inputs change.

    Raises:
        DerivativeError: the model's derivatives are correct in none of the orders.
    """
    known = _known.setdefault(model, OrderedDict())
    key = _circumstances(model, inputs, loss, orders)
    if key not in known:
        found = check_derivatives(model, inputs, labels, loss=loss, orders=orders)
        _keep(known, key, found)
    return known[key]


def remember(model: nn.Module, inputs: Tensor, order: Order, *, loss: Loss = cross_entropy) -> None:
    """Cache an order for a model in its present circumstances.

    Args:
        model: the model.
        inputs: examples of the inputs at which derivatives will be taken.
        order: the order, checked elsewhere.
        loss: the loss.
    """
    known = _known.setdefault(model, OrderedDict())
    _keep(known, _circumstances(model, inputs, loss, ORDERS), order)
    with as_trained(model) as trained:
        if trained:  # the order is correct in both modes
            _keep(known, _circumstances(model, inputs, loss, ORDERS), order)


def agreed_order(model: nn.Module, inputs: Tensor, labels: Tensor, theirs: str | None) -> Order:
    """Return the order that the server uses for the same model, after checking that it is correct here.

    Args:
        model: this process's copy of the model.
        inputs: a few inputs, floating point.
        labels: their targets.
        theirs: the server's order; None if it does not say, in which case the order found here is returned.

    Raises:
        DerivativeError: the order is unknown or incorrect here.
    """
    if theirs is None:
        return check_derivatives(model, inputs, labels)
    known = [order for order in ORDERS if order == theirs]
    if not known:
        raise DerivativeError(
            f"the server's order of derivatives is {theirs!r}, which is none of {', '.join(ORDERS)}"
        )
    try:
        return check_derivatives(model, inputs, labels, orders=known)
    except DerivativeError as error:
        raise DerivativeError(
            f"the server's order of derivatives, {theirs}, is wrong here: {error}"
        ) from error


def _keep(known: OrderedDict[Hashable, Order], key: Hashable, order: Order) -> None:
    known[key] = order
    while len(known) > _KEPT:
        known.popitem(last=False)


def _circumstances(model: nn.Module, inputs: Tensor, loss: Loss, orders: Sequence[Order]) -> Hashable:
    layers = tuple((type(layer), layer.training) for layer in model.modules())
    parameters = tuple((p.requires_grad, p.dtype) for p in model.parameters())
    # A lambda written in a call is a new function each time, but has the same code.
    plain = isinstance(loss, FunctionType) and loss.__closure__ is None and not loss.__defaults__
    same = loss.__code__ if plain else loss
    return layers, parameters, inputs.shape[1:], inputs.dtype, inputs.device, same, tuple(orders)
