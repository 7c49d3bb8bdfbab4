"""The two derivatives that every strategy uses: `v` and `B_x v`.

Both are evaluated at the model's present parameters. Neither changes the model, its mode, or the `.grad` of a
parameter. While one of them runs, the model holds other tensors, so only one thread at a time may use a
model.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.batch_statistics import as_trained, refuse_other_coupling
from midstream.mathematics.derivatives.by_formula import differentiable
from midstream.mathematics.derivatives.chunk_size import chunk_size_of
from midstream.mathematics.derivatives.functional import DerivativeError as DerivativeError
from midstream.mathematics.derivatives.functional import called, holding, warn_of_random_layers
from midstream.mathematics.derivatives.functional import functional_call as functional_call
from midstream.mathematics.derivatives.functional import refuse_coupled_examples as refuse_coupled_examples
from midstream.mathematics.derivatives.functional import trainable as trainable
from midstream.mathematics.derivatives.known_orders import order_of
from midstream.mathematics.derivatives.orders import Order, Vector, mixed
from midstream.mathematics.derivatives.parts import CHUNK as CHUNK
from midstream.mathematics.derivatives.parts import chunks as chunks
from midstream.mathematics.derivatives.parts import of_set
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.mathematics.sharing.registry import sharing_of
from midstream.mathematics.stacks.recognised import stack_of
from midstream.mathematics.stacks.stack import Stack

Gradient = Mapping[str, Tensor]
"""A vector in parameter space: name of a trainable parameter → tensor shaped like it."""


def validation_gradient(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: Loss = cross_entropy,
    chunk_size: int | None = None,
) -> Gradient:
    """Return `v = Σ_{z∈Dval} ∇θ L_θ(z)`, the validation gradient (paper eq. 7): a sum.

    The gradients of chunks of the set are summed, so the memory needed does not depend on the number of
    examples. Whatever layers write into their buffers during the call is discarded. Call it in evaluation
    mode: in training mode, layers such as dropout draw new random numbers for each chunk, so `v` differs from
    call to call (`RandomLayersWarning`).

    Args:
        model: any module; `v` is taken over its parameters that require a gradient.
        inputs: the validation inputs, `(examples, *input)`; uint8 is converted to pixels, x/255, per chunk.
        labels: their targets, `(examples,)`.
        loss: a loss that sums over its batch.
        chunk_size: examples at a time; other values round differently in the last bits. None takes the
            number that `choose_chunk_size` set for the model, or else 250, or 500 if an input has at most
            1,024 values.

    Raises:
        DerivativeError: the model has batch norm over batch statistics, which couples the examples; or it
            does not return a tensor; or it is a wrapper around another model.
        ValueError: the model has no trainable parameter, or the numbers of inputs and labels differ or are 0.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> v = validation_gradient(model, torch.eye(2), torch.tensor([0, 1]))
    >>> v["weight"].shape
    torch.Size([2, 2])
    """
    warn_of_random_layers(model)
    return _loss_and_gradient(model, inputs, labels, loss, chunk_size_of(model, chunk_size))[1]


def loss_and_gradient(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: Loss = cross_entropy,
    chunk_size: int | None = None,
) -> tuple[Tensor, Gradient]:
    """Return `Σ_z L_θ(z)`, a scalar, and its gradient; see `validation_gradient`."""
    warn_of_random_layers(model)
    return _loss_and_gradient(model, inputs, labels, loss, chunk_size_of(model, chunk_size))


def _loss_and_gradient(
    model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss, chunk_size: int | None
) -> tuple[Tensor, Gradient]:
    if loss is cross_entropy:
        sharing = sharing_of(model)
        if sharing is not None and (found := sharing.loss_and_gradient(inputs, labels, chunk_size)):
            return found
        if (stack := stack_of(model, inputs, labels)) is not None:
            return _by_stack(model, stack, inputs, labels, chunk_size)
    refuse_other_coupling(model)
    parameters = trainable(model)
    leaves = list(parameters.values())
    total = torch.zeros((), device=leaves[0].device, dtype=leaves[0].dtype)
    gradient = {name: torch.zeros_like(value) for name, value in parameters.items()}
    with of_set(model, inputs, labels, chunk_size) as parts:
        for part_inputs, part_labels in parts:

            def taken(
                x: Tensor = part_inputs, y: Tensor = part_labels
            ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
                value = loss(called(model, x), y)
                return value, torch.autograd.grad(value, leaves, allow_unused=True)

            with torch.enable_grad(), differentiable(model):
                value, part = holding(model, parameters, taken)
            total += value.detach()
            for accumulated, term in zip(gradient.values(), part, strict=True):
                if term is not None:
                    accumulated += term
    return total, gradient


def _by_stack(
    model: nn.Module, stack: Stack, inputs: Tensor, labels: Tensor, chunk_size: int | None
) -> tuple[Tensor, Gradient]:
    with torch.no_grad(), differentiable(model):
        terms = (stack.loss_and_gradient(x, y) for x, y in chunks(inputs, labels, chunk_size))
        total, sums = next(terms)
        for loss, gradients in terms:
            torch._foreach_add_([total, *sums], [loss, *gradients])
    return total, dict(zip(stack.names(), sums, strict=True))


def mixed_derivative(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    vector: Gradient,
    *,
    loss: Loss = cross_entropy,
    chunk_size: int | None = None,
    order: Order | None = None,
) -> Tensor:
    """Return `B_x v = ∇x ⟨∇θ L_θ(x), v⟩`, one per example (paper eq. 7 and B.4).

    `⟨∇θ L_θ(x), v⟩` is the derivative of the loss along `v`. One forward-mode pass computes it exactly, and
    one backward pass computes its gradient. This order is the cheapest of three, since it computes neither
    `∇θ L` nor `∇x L`. It is wrong for layers such as layer norm, so the cheapest order that is correct for
    this model is used. `midstream.check_derivatives` finds it at the first call and after each change of the
    model's layers or modes. Finite differences along `v` would not give `B_x v`: they step across the kinks
    of ReLU and pooling. To first order in the step size η, `∇x U_t = -η B_x v`.

    Call it in evaluation mode: while layers such as dropout draw random numbers, each call differentiates a
    different function (`RandomLayersWarning`). If the model has batch norm that trains, L is the loss of the
    whole minibatch with its own statistics, and is differentiated at once; `midstream.use_batch_statistics`
    says which models do.

    Args:
        model: any module.
        inputs: `(batch, *input)`.
        labels: their targets, `(batch,)`.
        vector: `v`, from `validation_gradient`; it is treated as a constant.
        loss: a loss that sums over its batch.
        chunk_size: examples at a time; None as in `validation_gradient`.
        order: the order of the two derivatives, which is not checked; None uses the cheapest correct one.

    Returns:
        A tensor shaped like `inputs`.

    Raises:
        DerivativeError: the model's derivatives are correct in no order; the message names the layer.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> x, y = torch.eye(2), torch.tensor([0, 1])
    >>> mixed_derivative(model, x, y, validation_gradient(model, x, y)).shape
    torch.Size([2, 2])
    """
    refuse_other_coupling(model)
    warn_of_random_layers(model)
    chunk_size = chunk_size_of(model, chunk_size)
    if order is None and loss is cross_entropy:
        if (sharing := sharing_of(model)) is not None:
            found = sharing.mixed_derivative(inputs.detach(), labels, vector, chunk_size)
            if found is not None:
                return found
        if (stack := stack_of(model, inputs, labels)) is not None:
            return _mixed_by_stack(model, stack, inputs, labels, vector, chunk_size)
    parameters = {name: value.detach() for name, value in trainable(model).items()}
    tangents = along(vector, parameters)

    def chunk_derivative(x: Tensor, y: Tensor) -> Tensor:
        def chunk_loss(at: Vector, z: Tensor) -> Tensor:
            return loss(functional_call(model, at, (z,)), y)

        chosen = order_of(model, x, y, loss=loss) if order is None else order
        return mixed(chosen, chunk_loss, parameters, tangents, x, within=partial(holding, model))

    with (
        as_trained(model),
        of_set(model, inputs.detach(), labels, chunk_size) as parts,
        differentiable(model),
    ):
        return torch.cat([chunk_derivative(x, y) for x, y in parts])


def _mixed_by_stack(
    model: nn.Module, stack: Stack, inputs: Tensor, labels: Tensor, vector: Gradient, chunk_size: int | None
) -> Tensor:
    vector = along(vector, dict(model.named_parameters()))

    def chunk_derivative(x: Tensor, y: Tensor) -> Tensor:
        order_of(model, x, y)  # refuses a point that has no derivatives, such as an infinite loss
        with torch.no_grad():
            return stack.mixed(x, y, vector)

    with differentiable(model):
        parts = [chunk_derivative(x, y) for x, y in chunks(inputs.detach(), labels, chunk_size)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def mixed_derivative_by_double_backward(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    vector: Gradient,
    *,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return `B_x v` as `mixed_derivative` does, by double backward, without checking the order.

    It is slower, and holds the graphs of both derivatives in memory.
    """
    return mixed_derivative(
        model, inputs, labels, vector, loss=loss, chunk_size=len(inputs), order="double-backward"
    )


def along(vector: Gradient, parameters: Gradient) -> dict[str, Tensor]:
    """Return a vector as constants in the parameters' memory layout, so that it uses the same kernels.

    A tensor that is already one is returned as it is, not copied.
    """
    return {name: _laid_out(vector[name], like) for name, like in parameters.items()}


def _laid_out(value: Tensor, like: Tensor) -> Tensor:
    same = value.dtype == like.dtype and value.device == like.device and value.shape == like.shape
    if same and value.stride() == like.stride() and not value.requires_grad:
        return value
    return torch.empty_like(like).copy_(value.detach()).detach()
