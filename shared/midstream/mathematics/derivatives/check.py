"""Whether a model's derivatives are right, and the cheapest order that they are right in.

Two derivatives that torch takes by different rules, and that agree in double precision to eight digits, are
not wrong in the same way by chance. Finite differences are a third opinion, which knows of no rule at all:
they are asked of the gradient itself, which is what a training step moves along.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.by_formula import differentiable
from midstream.mathematics.derivatives.culprit_layer import offending_layer
from midstream.mathematics.derivatives.evidence import FaultError, Trial, said
from midstream.mathematics.derivatives.functional import (
    DRAWS,
    DerivativeError,
    RandomLayersWarning,
    functional_call,
    random_layer,
    refuse_coupled_examples,
    trainable,
)
from midstream.mathematics.derivatives.orders import ORDERS, Order
from midstream.mathematics.loss import Loss, cross_entropy

FEW = 2
"""Examples that a model is tried on: enough for one to be coupled with another."""


def check_derivatives(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: Loss = cross_entropy,
    orders: Sequence[Order] = ORDERS,
) -> Order:
    """Return the cheapest order in which `v`, `B_x u` and `H u` are right for this model.

    Tried at a point near the model's parameters and the first inputs, with u drawn at random:

    - Called again, the model gives the same loss. In training mode it may draw random numbers, with a
      warning; it is then tried with the same ones.
    - The loss and `v` over the inputs are the sums of what each input gives by itself, and so is `B_x u`.
    - `v` is the slope of the loss, by finite differences in double precision, where these cross no kink: to
      1e-4.
    - `B_x u` and `H u` in this order are those in another, to 1e-8 in double precision; a model that
      computes in single precision inside, to 1e-3. Finite differences decide where no other order runs, and
      between two that differentiate the same backward passes.
    - In the model's own precision they are the same to 1e-2: other kernels may be at work there.

    Args:
        model: any module, in the mode that it is used in; it is not changed.
        inputs: `(examples, *input)`, floating point; the first two are used.
        labels: their targets, `(examples,)`.
        loss: a loss that sums over its batch.
        orders: the orders to choose from, the cheapest first.

    Raises:
        DerivativeError: the derivatives are right in none of them; it names the layer and what to do.

    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> x, y = torch.rand(2, 4), torch.tensor([0, 1])
    >>> check_derivatives(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), x, y)
    'reverse-over-forward'
    >>> check_derivatives(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), x, y)
    'double-backward'
    """
    refuse_coupled_examples(model)
    trainable(model)
    if not inputs.is_floating_point():
        raise DerivativeError(
            f"the inputs are {inputs.dtype}, which have no derivative; where they are indices, let the model "
            f"begin behind its embedding, and give it what that looks up"
        )
    x, y = _few(inputs, labels)
    with differentiable(model):
        _refuse_uncallable(model, x, y, loss)
        try:
            trial = Trial(model, x, y, loss)
            trial.check_repeatable()
            trial.check_examples()
            trial.check_gradient()
            right = trial.right_order(orders)
        except FaultError as fault:
            where = offending_layer(model, x, fault.kind, orders)
            raise DerivativeError(f"{where} {fault}") from fault
    if trial.random and random_layer(model) is None:  # of one that is known, the functions warn by themselves
        warnings.warn(DRAWS.format(f"model {type(model).__name__}"), RandomLayersWarning, stacklevel=2)
    return right


def _few(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if len(inputs) != len(labels) or len(inputs) == 0:
        raise ValueError(f"{len(inputs)} inputs and {len(labels)} labels: as many of each, and at least one")
    rows = torch.arange(FEW) % len(inputs)
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
