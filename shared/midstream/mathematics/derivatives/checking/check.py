"""Checks a model's derivatives, and finds the cheapest order that computes them correctly.

Two derivatives computed by different rules of torch that agree to eight digits in double precision are not
both wrong by coincidence. Finite differences are a third, independent check that uses none of these rules:
they check the gradient, along which a training step moves, and the second derivatives where needed.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_statistics import (
    as_trained,
    couples,
    refuse_other_coupling,
    statistics_of,
)
from midstream.mathematics.derivatives.by_formula import differentiable
from midstream.mathematics.derivatives.checking.culprit_layer import offending_layer
from midstream.mathematics.derivatives.checking.evidence import FaultError, Trial, said
from midstream.mathematics.derivatives.functional import (
    DRAWS,
    DerivativeError,
    RandomLayersWarning,
    functional_call,
    random_layer,
    trainable,
)
from midstream.mathematics.derivatives.orders import ORDERS, Order
from midstream.mathematics.loss import Loss, cross_entropy

FEW = 2
"""Examples that a model is checked on: enough to detect coupling between examples."""

_COUPLED = 5
"""Examples of a batch whose statistics are used: the values of two are always 1 and -1 after batch norm."""


def check_derivatives(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: Loss = cross_entropy,
    orders: Sequence[Order] = ORDERS,
) -> Order:
    """Return the cheapest order in which `v`, `B_x u` and `H u` are correct for this model.

    The checks run at a point near the model's parameters and the first inputs, with a random u:

    - Two calls of the model give the same loss. In training mode it may draw random numbers, with a warning;
      the checks then use the same random numbers for each call.
    - The loss and `v` over several inputs are sums over the inputs, and the `B_x u` of an input does not
      depend on the others.
    - `v` is the slope of the loss: it agrees with finite differences in double precision to 1e-4, wherever
      these cross no kink.
    - `B_x u` and `H u` in this order agree with another order to 1e-8 in double precision, or to 1e-3 if the
      model computes in single precision internally. Finite differences decide if no other order runs, or if
      the two orders that agree differentiate the same backward passes.
    - `B_x u` and `H u` in the model's own precision, where torch may use different kernels, agree to 1e-2.

    If the model's batch norm trains (`midstream.use_batch_statistics`), the order must be correct in two
    modes: in evaluation mode, and for a minibatch with its own statistics. In the second the loss is one
    function of all inputs, so nothing is required of a single input.

    Args:
        model: any module, in the mode that it is used in; it is not changed.
        inputs: `(examples, *input)`, floating point; the first two are used.
        labels: their targets, `(examples,)`.
        loss: a loss that sums over its batch.
        orders: the orders to choose from, cheapest first.

    Raises:
        DerivativeError: the derivatives are correct in none of the orders; the message names the layer and
            says what to do.
        ValueError: the numbers of inputs and labels differ, or are 0.

    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> x, y = torch.rand(2, 4), torch.tensor([0, 1])
    >>> check_derivatives(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), x, y)
    'reverse-over-forward'
    >>> check_derivatives(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), x, y)
    'double-backward'
    """
    refuse_other_coupling(model)
    if statistics_of(model) is None or couples(model):
        return _checked(model, inputs, labels, loss, orders)
    with as_trained(model):
        order = _checked(model, inputs, labels, loss, orders)
    return _checked(model, inputs, labels, loss, [order])


def _checked(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss, orders: Sequence[Order]) -> Order:
    """Check a model in its present mode."""
    trainable(model)
    if not inputs.is_floating_point():
        raise DerivativeError(
            f"the inputs are {inputs.dtype}, which have no derivative; where they are indices, let the model "
            f"begin behind its embedding, and give it what that looks up"
        )
    coupled = couples(model)
    x, y = _few(inputs, labels, _COUPLED if coupled else FEW)
    with differentiable(model):
        _refuse_uncallable(model, x, y, loss)
        try:
            trial = Trial(model, x, y, loss, coupled=coupled)
            trial.check_repeatable()
            trial.check_examples()
            trial.check_gradient()
            right = trial.right_order(orders)
        except FaultError as fault:
            where = offending_layer(model, x, fault.kind, orders, coupled=coupled)
            raise DerivativeError(f"{where} {fault}") from fault
    if trial.random and random_layer(model) is None:  # the functions warn of known random layers themselves
        warnings.warn(DRAWS.format(f"model {type(model).__name__}"), RandomLayersWarning, stacklevel=2)
    return right


def _few(inputs: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    if len(inputs) != len(labels) or len(inputs) == 0:
        raise ValueError(f"{len(inputs)} inputs and {len(labels)} labels; give the same number, at least one")
    rows = torch.arange(count) % len(inputs)
    return inputs.detach()[rows.to(inputs.device)], labels[rows.to(labels.device)]


def _refuse_uncallable(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> None:
    try:
        with torch.no_grad():
            value = loss(functional_call(model, {}, (x,)), y)
    except DerivativeError:
        raise
    except Exception as error:
        raise DerivativeError(
            f"{type(model).__name__} or its loss stops at inputs of shape {tuple(x.shape)}: {said(error)}"
        ) from error
    if not isinstance(value, Tensor) or value.dim():
        found = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise DerivativeError(f"the loss is {found}, not a scalar; it must sum over its batch")
