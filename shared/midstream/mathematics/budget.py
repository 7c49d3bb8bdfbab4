"""The perturbation ball: its projection, its steepest directions, and the pixel range."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from midstream.mathematics.graphs.capturing import within_program
from midstream.mathematics.inputs.column_scale import ColumnScale

Norm = Literal["l2", "linf"]

PixelRange = Literal["valid", "unbounded"]
"""Whether moved inputs are clamped to [0, 1], or may leave it as far as the ball allows."""


def pixel_bounds(pixel_range: PixelRange) -> tuple[float, float]:
    """Return the smallest and the largest value that a pixel of a moved input may have.

    >>> Budget(1.0, "l2", *pixel_bounds("unbounded")).high
    inf
    """
    return (0.0, 1.0) if pixel_range == "valid" else (-float("inf"), float("inf"))


@dataclass(frozen=True)
class Budget:
    """How far one player may move one input: a ball of radius ε, and the valid pixel range.

    An input `x` moved by a perturbation `p` becomes `clamp(x + Proj(p), low, high)`: first the
    projection onto the ball, then the clamp (paper eq. 1–2, footnotes 3 and 10). Since `x` lies in
    the range, the clamp moves every pixel towards `x`, and the result stays in the ball.

    Attributes:
        epsilon: the radius ε ≥ 0, in pixel units: L2 over all pixels of one example, or L∞.
        norm: `"l2"` (the paper's game) or `"linf"`.
        low: smallest valid pixel value; -inf for no lower bound.
        high: largest valid pixel value; inf for no upper bound.
        scale: the unit of each column, the last dimension of an input: the ball is that of `p / scale`, so ε
            is in units of the scale, such as standard deviations. A column of scale 0 does not move. None
            for 1 everywhere.

    >>> import torch
    >>> budget = Budget(epsilon=1.0)
    >>> x = torch.full((1, 2, 2), 0.5)
    >>> (budget.perturb(x, torch.full((1, 2, 2), 9.0)) - x).norm().item()
    1.0
    """

    epsilon: float
    norm: Norm = "l2"
    low: float = 0.0
    high: float = 1.0
    scale: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < float("inf"):
            raise ValueError(f"epsilon must be finite and at least 0, not {self.epsilon}")
        if self.norm not in ("l2", "linf"):
            raise ValueError(f"norm must be 'l2' or 'linf', not {self.norm!r}")
        if not self.low < self.high:
            raise ValueError(f"the pixel range [{self.low}, {self.high}] is empty")

    @property
    def _plain(self) -> "Budget":
        return replace(self, scale=None)

    @property
    def white(self) -> float:
        """The value of a white pixel: `high`, or 1 if there is no upper bound."""
        return self.high if self.high < float("inf") else 1.0

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the point of the unit ball that lies furthest along `gradient`, one per example.

        `e(u) = u / ‖u‖₂` in the L2 game, `sign(u)` in the L∞ game (paper footnote 3). A zero
        gradient has no direction: `e(0) = 0`.

        Args:
            gradient: `(batch, *input)`; its scale does not matter, not even a very small one.
        """
        if self.scale is not None:  # the furthest point of the ball of `p / s` along u is `s e(s u)`
            unit = ColumnScale(self.scale)
            return unit.back(self._plain.direction(unit.back(gradient)))
        if self.norm == "l2":
            return _unit(gradient.flatten(1)).reshape(gradient.shape)
        return gradient.sign().where(~gradient.isnan(), gradient)

    def outward(self, perturbation: Tensor) -> Tensor:
        """Return the point of the unit ball that a perturbation points to, one per example.

        Without a scale it is `direction`, in which the scale counts twice: at the gradient, and at the move.

        Args:
            perturbation: `(batch, *input)`, in pixel units.
        """
        if self.scale is None:
            return self.direction(perturbation)
        unit = ColumnScale(self.scale)
        return unit.back(self._plain.direction(unit.units(perturbation)))

    def drawn(self, normal: Tensor) -> Tensor:
        """Return points of the unit ball that normal numbers draw: no direction is preferred, in units of ε.

        Args:
            normal: `(batch, *input)`; without a scale, the points are their `direction`.
        """
        if self.scale is None:
            return self.direction(normal)
        return self.outward(ColumnScale(self.scale).back(normal))

    def project(self, perturbation: Tensor) -> Tensor:
        """Return the nearest perturbation inside the ball of radius ε, one per example.

        `Proj(p) = e(p)·min(‖p‖₂, ε)`, or a clamp to `[-ε, ε]` in the L∞ game.

        Args:
            perturbation: `(batch, *input)`, in pixel units.
        """
        if self.scale is not None:
            unit = ColumnScale(self.scale)
            return unit.back(self._plain.project(unit.units(perturbation)))
        if self.norm == "linf":
            return perturbation.clamp(-self.epsilon, self.epsilon)
        flat = perturbation.flatten(1)
        norm = flat.norm(dim=1, keepdim=True)
        factor = (self.epsilon / norm).where(norm > self.epsilon, 1.0)
        fitted = (self.epsilon * _unit(flat)).where(norm.isinf(), flat * factor)
        return fitted.reshape(perturbation.shape)

    def beyond(self, inputs: Tensor) -> tuple[float, float] | None:
        """Return the smallest and the largest value of inputs that leave the pixel range.

        Returns:
            None if the inputs are in the range, up to rounding; two NaNs if they contain a NaN.

        >>> Budget(1.0).beyond(torch.tensor([[0.0, 1.0]])), Budget(1.0).beyond(torch.tensor([[0.0, 255.0]]))
        (None, (0.0, 255.0))
        """
        if inputs.numel() == 0:
            return None
        lowest, highest = torch.stack(inputs.detach().aminmax()).tolist()
        slack = self._slack(inputs)
        held = self.low - slack <= lowest and highest <= self.high + slack
        return None if held and math.isfinite(highest - lowest) else (lowest, highest)

    def within(self, inputs: Tensor) -> Tensor:
        """Return whether inputs are in the pixel range, up to rounding, as a tensor that need not be read.

        >>> Budget(1.0).within(torch.tensor([[0.0, 255.0]]))
        tensor(False)
        """
        if inputs.numel() == 0:
            return torch.ones((), dtype=torch.bool, device=inputs.device)
        lowest, highest = inputs.detach().aminmax()
        slack = self._slack(inputs)
        held = (lowest >= self.low - slack) & (highest <= self.high + slack)
        return held & (highest - lowest).isfinite()

    def _slack(self, inputs: Tensor) -> float:
        scale = max([1.0, *(abs(bound) for bound in (self.low, self.high) if math.isfinite(bound))])
        rounding = torch.finfo(inputs.dtype).eps if inputs.is_floating_point() else 0.0
        return scale * max(1e-5, 16 * rounding)

    def perturb(self, inputs: Tensor, perturbation: Tensor) -> Tensor:
        """Return `clamp(x + Proj(p), low, high)`, the perturbed inputs.

        Args:
            inputs: `(batch, *input)`, within the pixel range.
            perturbation: the same shape, in pixel units; it may exceed the ball.

        Raises:
            ValueError: the inputs leave the pixel range, so the clamp would move them further than ε.
        """
        self.check(inputs)
        return self.moved(inputs, perturbation)

    def check(self, inputs: Tensor) -> None:
        """Raise ValueError if inputs leave the pixel range; see `perturb`.

        Within a program, whose inputs were checked before, nothing is read back.
        """
        if not within_program() and self.beyond(inputs) is not None:
            raise self.refusal(inputs)

    def moved(self, inputs: Tensor, perturbation: Tensor) -> Tensor:
        """Return what `perturb` returns, for inputs that are known to be within the pixel range."""
        return (inputs + self.project(perturbation)).clamp(self.low, self.high)

    def refusal(self, inputs: Tensor) -> ValueError:
        """Return the error for inputs that leave the pixel range."""
        lowest, highest = self.beyond(inputs) or torch.stack(inputs.detach().aminmax()).tolist()
        return ValueError(
            f"inputs range from {lowest:g} to {highest:g}, outside of the budget's pixel range "
            f"[{self.low:g}, {self.high:g}]: its clamp would move them further than epsilon. Give the "
            f"budget their range, low and high, and epsilon in its units; or bring them to pixels first"
        )

    def size(self, perturbation: Tensor) -> Tensor:
        """Return the norm of each example's perturbation, `(batch,)`, in units of ε.

        It is infinite if a column that may not move did.
        """
        if self.scale is not None:
            unit = ColumnScale(self.scale)
            found = self._plain.size(unit.units(perturbation))
            return found.masked_fill(unit.moved_fixed(perturbation), math.inf)
        flat = perturbation.flatten(1)
        return flat.norm(dim=1) if self.norm == "l2" else flat.abs().amax(dim=1)


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """Reshape `(batch,)` values so that they broadcast over `(batch, *input)`."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def _unit(flat: Tensor) -> Tensor:
    # The squares of a well-trained model's gradients underflow, so divide by the largest entry first.
    # A NaN stays a NaN, for the host to refuse.
    largest = flat.abs().amax(dim=1, keepdim=True)
    scaled = flat / largest.masked_fill(largest == 0, 1.0)
    norm = scaled.norm(dim=1, keepdim=True)
    unit: Tensor = scaled / norm.masked_fill(norm == 0, 1.0)
    return unit
