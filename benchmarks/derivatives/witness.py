"""What judges the derivatives: first-order backward passes of the plain model, and nothing of midstream.

Finite differences: `∇θ L` and `∇x L` at `θ + h u` and `θ - h u`, in double precision, give `B_x u` and `H u`
up to `h²` where the loss is smooth. It is, but for a step that crosses a kink of ReLU or max pooling, which a
small `h` hardly ever does: `h` falls until two sizes agree. The first-order gradients are themselves held
against differences of the loss. Where sizes do not agree the witness says so, and the case fails.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.derivatives.case import Problem
from midstream.mathematics.loss import Loss

SIZES = (1e-5, 1e-6, 1e-7, 1e-8)
"""`h`, in the order in which they are tried."""

SOUND = 1e-6
"""How far apart two sizes may be that agree; the smaller is far nearer to the truth than that."""


class UnsoundWitness(Exception):
    """The witness cannot judge this case."""


@dataclass(frozen=True)
class Derivatives:
    """`v`, `B_x u` and `H u` of a problem, each as one vector."""

    gradient: Tensor
    mixed: Tensor
    product: Tensor

    def errors(self, other: "Derivatives") -> tuple[float, float, float]:
        """Return the relative errors of the other's."""
        return (
            relative(other.gradient, self.gradient),
            relative(other.mixed, self.mixed),
            relative(other.product, self.product),
        )


def relative(actual: Tensor, expected: Tensor) -> float:
    """Return `‖actual - expected‖ / ‖expected‖`; NaN counts as infinite."""
    difference = float((actual.double() - expected.double()).norm() / expected.double().norm())
    return difference if difference == difference else float("inf")


def finite_differences(problem: Problem, loss: Loss) -> Derivatives:
    """Return the derivatives by central differences of first-order gradients along `u`."""
    moved = _Moved(problem, loss)
    _, slope, gradient = moved.at(0.0)
    larger = _differences(moved, SIZES[0])
    for h in SIZES[1:]:
        smaller = _differences(moved, h)
        apart = max(relative(a, b) for a, b in zip(smaller[1:], larger[1:], strict=True))
        if apart <= SOUND:
            break
        larger = smaller
    else:
        raise UnsoundWitness(f"the differences do not settle: the last two are {apart:.0e} apart")
    _agree("∇θ L", smaller[0], gradient, moved.u)
    w = 0.1 * torch.randn(slope.shape, generator=torch.Generator().manual_seed(2), dtype=slope.dtype)
    along_w = (moved.at(0.0, h * w)[0] - moved.at(0.0, -h * w)[0]) / (2 * h)
    _agree("∇x L", along_w, slope, w)
    return Derivatives(gradient, smaller[1], smaller[2])


def _differences(moved: "_Moved", h: float) -> tuple[float, Tensor, Tensor]:
    """Return the slope of the loss along `u`, `B_x u` and `H u`."""
    above, below = moved.at(h), moved.at(-h)
    return (above[0] - below[0]) / (2 * h), (above[1] - below[1]) / (2 * h), (above[2] - below[2]) / (2 * h)


class _Moved:
    """The loss and its two gradients at `θ + t u`, by the plain model's own backward pass."""

    def __init__(self, problem: Problem, loss: Loss) -> None:
        self.problem, self.loss = problem, loss
        self.leaves = {n: p for n, p in problem.model.named_parameters() if p.requires_grad}
        self.start = {n: p.detach().clone() for n, p in self.leaves.items()}
        self.buffers = {n: b.clone() for n, b in problem.model.named_buffers()}
        self.u = _flat([problem.direction[n] for n in self.leaves])

    def at(self, t: float, shift: Tensor | None = None) -> tuple[float, Tensor, Tensor]:
        with torch.no_grad():
            for name, p in self.leaves.items():
                p.copy_(self.start[name] + t * self.problem.direction[name])
            for name, b in self.problem.model.named_buffers():
                b.copy_(self.buffers[name])
        x = self.problem.inputs.clone()
        x = (x if shift is None else x + shift.reshape(x.shape)).requires_grad_()
        value = self.loss(self.problem.model(x), self.problem.labels)
        slope, *gradient = torch.autograd.grad(value, [x, *self.leaves.values()], materialize_grads=True)
        return float(value.detach()), slope.flatten(), _flat(gradient)


def _agree(name: str, found: float, gradient: Tensor, along: Tensor) -> None:
    expected = float(gradient @ along)
    if not abs(found - expected) <= 1e-5 * float(gradient.norm() * along.norm()):
        raise UnsoundWitness(
            f"{name} is {expected:.6g} along a direction where the loss differs by {found:.6g}"
        )


def _flat(parts: "list[Tensor] | tuple[Tensor, ...]") -> Tensor:
    return torch.cat([part.detach().flatten() for part in parts])
