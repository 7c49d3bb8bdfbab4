"""A model's loss at a generic point near its parameters and inputs, in double or its own precision.

The parameters of a new network are a poor place to check derivatives: zero weights make many derivatives 0,
and zero biases put others on a kink. The point is therefore shifted slightly, in the same way each time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from midstream.mathematics.derivatives.functional import T, called, holding
from midstream.mathematics.derivatives.orders import Order, Vector, curved, mixed
from midstream.mathematics.loss import Loss
from midstream.mathematics.seeds import generator, seeded

OFFSET = "an offset of the inputs"
"""An extra parameter, added to the inputs, so that the checks include second derivatives in the inputs."""


@dataclass(frozen=True)
class First:
    """The loss, and its gradients with respect to the parameters and the inputs."""

    loss: Tensor
    by_parameters: Vector
    by_inputs: Tensor

    def finite(self) -> bool:
        """Return whether the loss and both gradients are finite."""
        every = (self.loss, self.by_inputs, *self.by_parameters.values())
        return all(bool(value.isfinite().all()) for value in every)


@dataclass(frozen=True)
class Second:
    """`B_x u` and `H u`."""

    by_inputs: Tensor
    by_parameters: Vector


@dataclass(frozen=True)
class GenericPoint:
    """`L(θ, x)` near a model.

    Attributes:
        model: the model.
        loss: a loss that sums over its examples.
        parameters: θ, the trainable parameters and `OFFSET`.
        held: values of the other parameters and of the buffers; any that are absent keep the model's values.
        inputs: x.
        labels: their targets.
        along: u.
    """

    model: nn.Module
    loss: Loss
    parameters: Vector
    held: Vector
    inputs: Tensor
    labels: Tensor
    along: Vector
    _directions: dict[int, tuple[dict[str, Tensor], Tensor]] = field(default_factory=dict, repr=False)

    def some(self, end: int, *, start: int = 0) -> "GenericPoint":
        """Return the point restricted to the examples from `start` to `end`."""
        rows = slice(start, end)
        return replace(self, inputs=self.inputs[rows], labels=self.labels[rows], _directions={})

    def value(self, theta: Vector, x: Tensor, *, seed: int = 0) -> Tensor:
        """Return L at θ and x; the seed determines the random numbers."""
        with seeded(x.device, seed, "check"):
            return self.within(theta, lambda: self.loss(called(self.model, x + theta[OFFSET]), self.labels))

    def within(self, parameters: Vector, work: Callable[[], T]) -> T:
        """Call `work` while the model holds θ, and return its result."""
        return holding(self.model, {**self.held, **parameters}, work, buffers=self.held)

    def loss_there(self, *, step: float = 0.0, direction: int = 0, seed: int = 0) -> Tensor:
        """Return L at the point, or a step away from it along a direction."""
        with torch.no_grad():
            return self.value(*self._there(step, direction), seed=seed)

    def loss_apart(self) -> Tensor:
        """Return the sum of the losses of each of the model's outputs for all inputs together."""
        at = self.inputs + self.parameters[OFFSET]
        with torch.no_grad(), seeded(at.device, 0, "check"):
            outputs = self.within(self.parameters, lambda: called(self.model, at))
            return torch.stack(
                list(map(self.loss, torch.split(outputs, 1), torch.split(self.labels, 1)))
            ).sum()

    def first(self, *, step: float = 0.0, direction: int = 0) -> First:
        """Return L and its gradients at the point, or a step away from it along a direction."""
        theta, x = self._there(step, direction)
        theta = {name: value.detach().clone().requires_grad_() for name, value in theta.items()}
        x = x.detach().clone().requires_grad_()

        def taken() -> tuple[Tensor, tuple[Tensor, ...]]:
            loss = self.value(theta, x)
            return loss, torch.autograd.grad(loss, [*theta.values(), x], materialize_grads=True)

        with torch.enable_grad():
            loss, (*g, by_inputs) = self.within(theta, taken)
        return First(loss.detach(), dict(zip(theta, g, strict=True)), by_inputs)

    def second(self, order: Order) -> Second:
        """Return both second derivatives, computed in the given order."""
        product = curved(order, self.value, self.parameters, self.along, self.inputs, within=self.within)
        return Second(self.by_inputs(order), product)

    def by_inputs(self, order: Order) -> Tensor:
        """Return `B_x u`, computed in the given order."""
        return mixed(order, self.value, self.parameters, self.along, self.inputs, within=self.within).detach()

    def direction(self, number: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return the numbered direction: its components in θ and in x."""
        if number not in self._directions:
            self._directions[number] = _direction(self.parameters, self.inputs, number)
        return self._directions[number]

    def _there(self, step: float, direction: int) -> tuple[Vector, Tensor]:
        if not step:
            return self.parameters, self.inputs
        theta, x = self.direction(direction)
        return {n: p + step * theta[n] for n, p in self.parameters.items()}, self.inputs + step * x

    def elsewhere(self, number: int) -> "GenericPoint":
        """Return the numbered further point near this one, at the same inputs."""
        moved, _ = _direction(self.parameters, self.inputs, f"elsewhere {number}")
        theta = {n: p if n == OFFSET else p + moved[n] for n, p in self.parameters.items()}
        return replace(self, parameters=theta, _directions={})

    def rounded(self) -> "GenericPoint":
        """Return the point in the model's own dtype and memory layout."""
        own = dict(self.model.named_parameters())
        dtype = next(iter(own.values())).dtype
        own[OFFSET] = nn.Parameter(self.parameters[OFFSET].to(dtype))

        def laid_out(vector: Vector) -> dict[str, Tensor]:
            return {name: torch.empty_like(own[name]).copy_(value).detach() for name, value in vector.items()}

        return replace(
            self,
            parameters=laid_out(self.parameters),
            held={},
            inputs=self.inputs.to(dtype),
            labels=_cast(self.labels, dtype),
            along=laid_out(self.along),
            _directions={},
        )


def computable_point(
    model: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor
) -> tuple[GenericPoint, torch.dtype]:
    """Return a point near a model and a few inputs, and the coarsest dtype that the model computes in there.

    The point is in double precision if the model can compute in it, otherwise in the model's own precision.
    If the loss is not finite at the shifted point, the point is the model's own parameters and inputs.

    Raises:
        ArithmeticError: the loss or a gradient is not finite.
        Exception: any exception that the model raises.
    """
    error: Exception = ArithmeticError("the loss or a gradient is not finite")
    for double in (True, False):
        for exact in (False, True):
            point = _point(model, loss, inputs, labels, double=double, exact=exact)
            try:
                with _Watching() as watching:
                    found = point.first()
            except Exception as raised:
                error = raised
                break
            if found.finite():
                return point, max(watching.seen, key=lambda dtype: torch.finfo(dtype).eps)
    raise error


def _point(
    model: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor, *, double: bool, exact: bool
) -> GenericPoint:
    wanted = (lambda value: _cast(value.detach(), torch.float64)) if double else Tensor.detach
    named = dict(model.named_parameters())
    theta = {name: wanted(p) for name, p in named.items() if p.requires_grad}
    held = {name: wanted(p) for name, p in named.items() if not p.requires_grad}
    held |= {name: wanted(b) for name, b in model.named_buffers()} if double else {}
    x, labels = wanted(inputs), wanted(labels)
    if not exact:
        moved, _ = _direction(theta, x, "beside")
        theta = {name: p + moved[name] for name, p in theta.items()}
        low, high = x.min(), x.max()
        drawn = torch.rand(x.shape, generator=generator(0, "check", "inputs")).to(x)
        drawn = low + (high - low + (high == low)) * drawn
        x = x + 0.1 * (drawn - x)  # stay within the range of the inputs: the model may take their logarithm
    theta[OFFSET] = torch.zeros_like(x[0])
    along, _ = _direction(theta, x, "along")
    return GenericPoint(model, loss, theta, held if double else {}, x, labels, along)


def _direction(theta: Vector, x: Tensor, number: int | str) -> tuple[dict[str, Tensor], Tensor]:
    numbers = generator(0, "check", number)

    def drawn(like: Tensor, size: Tensor) -> Tensor:
        normal = torch.randn(like.shape, generator=numbers, dtype=torch.float64)
        return torch.empty_like(like).copy_(normal) * size.to(like.dtype)

    moved = {name: drawn(p, 0.1 * p.square().mean().sqrt() + 0.01) for name, p in theta.items()}
    return moved, drawn(x, 0.1 * (x.max() - x.min()) + 0.01)


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


class _Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the floating-point dtypes of all results that torch computes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[torch.dtype] = {torch.float64}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        del types
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and value.is_floating_point():
                self.seen.add(value.dtype)
        return result
