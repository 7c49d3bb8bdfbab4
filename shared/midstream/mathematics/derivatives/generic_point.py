"""A model's loss at a generic point near its own parameters and inputs, in double precision or its own.

A new network is no place to try derivatives at: weights that are 0 make many of them 0, and biases that are 0
leave others on a kink. The point lies a little off, the same way each time.
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
"""One of θ that no model has: with it the second derivatives by the inputs alone are among those tried."""


@dataclass(frozen=True)
class First:
    """The loss, its gradient by the parameters, and by the inputs."""

    loss: Tensor
    by_parameters: Vector
    by_inputs: Tensor

    def finite(self) -> bool:
        """Return whether all of it is."""
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
        loss: sums over its examples.
        parameters: θ, of all that is trained.
        held: the other parameters and the buffers; those that are not here keep their own values.
        inputs: x.
        labels: the targets.
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
        """Return the point with some of its examples."""
        rows = slice(start, end)
        return replace(self, inputs=self.inputs[rows], labels=self.labels[rows], _directions={})

    def value(self, theta: Vector, x: Tensor, *, seed: int = 0) -> Tensor:
        """Return L at θ and x, with the same random numbers for the same seed."""
        with seeded(x.device, seed, "check"):
            return self.within(theta, lambda: self.loss(called(self.model, x + theta[OFFSET]), self.labels))

    def within(self, parameters: Vector, work: Callable[[], T]) -> T:
        """Return what `work` returns while the model is at θ."""
        return holding(self.model, {**self.held, **parameters}, work, buffers=self.held)

    def loss_there(self, *, step: float = 0.0, direction: int = 0, seed: int = 0) -> Tensor:
        """Return L, here or a step away along a direction."""
        with torch.no_grad():
            return self.value(*self._there(step, direction), seed=seed)

    def first(self, *, step: float = 0.0, direction: int = 0) -> First:
        """Return L and its gradients, here or a step away along a direction."""
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
        """Return both second derivatives in one order."""
        product = curved(order, self.value, self.parameters, self.along, self.inputs, within=self.within)
        return Second(self.by_inputs(order), product)

    def by_inputs(self, order: Order) -> Tensor:
        """Return `B_x u` in one order."""
        return mixed(order, self.value, self.parameters, self.along, self.inputs, within=self.within).detach()

    def direction(self, number: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return how far θ and x go along a direction of this number."""
        if number not in self._directions:
            self._directions[number] = _direction(self.parameters, self.inputs, number)
        return self._directions[number]

    def _there(self, step: float, direction: int) -> tuple[Vector, Tensor]:
        if not step:
            return self.parameters, self.inputs
        theta, x = self.direction(direction)
        return {n: p + step * theta[n] for n, p in self.parameters.items()}, self.inputs + step * x

    def rounded(self) -> "GenericPoint":
        """Return the point in the types and layouts that the model has."""
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
    """Return a point near a model and a few inputs, and the coarsest type that is computed in there.

    It is in double precision where the model can be computed so, else in the model's own; and it is the
    model's own place where the loss is not finite beside it.

    Raises:
        ArithmeticError: the loss or a gradient is not finite.
        Exception: what the model raises.
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
        x = x + 0.1 * (drawn - x)  # within the range of the inputs: there may be a logarithm
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
    """Notes the floating-point types of all that is computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[torch.dtype] = {torch.float64}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and value.is_floating_point():
                self.seen.add(value.dtype)
        return result
