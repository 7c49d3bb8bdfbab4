"""What surrounds an optimizer's step: clipping of the gradient, and a schedule of the learning rate."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.optimizers.training_step import Moments, TrainingStep

_KEPT_FROM_ZERO = 1e-6  # torch.nn.utils.clip_grad_norm_ adds it to the norm


@dataclass(frozen=True)
class Clipped:
    """A step along a gradient that was scaled down to a norm, as `torch.nn.utils.clip_grad_norm_` does it.

    The optimizer gets `g min(1, most / (‖g‖ + 1e-6))`, with the L2 norm over all parameters together.

    Attributes:
        step: the optimizer.
        most: the largest norm, for the gradient of the **sum** of the batch's losses.

    >>> from midstream import Sgd
    >>> after, _ = Clipped(Sgd(1.0), 0.5).stepped({"w": torch.zeros(())}, {"w": torch.tensor(-9.0)})
    >>> round(after["w"].item(), 6)
    0.5
    """

    step: TrainingStep
    most: float

    @property
    def moments(self) -> Moments:
        """Return the optimizer's moments."""
        return self.step.moments

    def with_moments(self, moments: Moments) -> Self:
        """Return this step with the optimizer's moments replaced."""
        return replace(self, step=self.step.with_moments(moments))

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return the parameters after the step, and the step after this one."""
        sizes = torch.stack([g.square().sum() for g in gradient.values()])
        scale = (self.most / (sizes.sum().sqrt() + _KEPT_FROM_ZERO)).clamp(max=1.0)
        if sizes.sum() > 0:  # at 0 the root has no derivative, and there is nothing to scale
            gradient = {name: g * scale for name, g in gradient.items()}
        after, step = self.step.stepped(parameters, gradient)
        return after, replace(self, step=step)


@dataclass(frozen=True)
class Scheduled:
    """A step after which the learning rate changes.

    Attributes:
        step: the optimizer, at the learning rate of the step to come; a dataclass with a `learning_rate`.
        rate: returns η of a step by its number.
        number: the number of the step to come.

    >>> from midstream import Sgd
    >>> one = {"w": torch.ones(())}
    >>> after, step = Scheduled(Sgd(0.5), lambda number: 0.5 / (number + 1), 0).stepped(one, one)
    >>> step.step
    Sgd(learning_rate=0.25)
    """

    step: TrainingStep
    rate: Callable[[int], float]
    number: int

    @property
    def moments(self) -> Moments:
        """Return the optimizer's moments."""
        return self.step.moments

    def with_moments(self, moments: Moments) -> Self:
        """Return this step with the optimizer's moments replaced."""
        return replace(self, step=self.step.with_moments(moments))

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return the parameters after the step, and the step after this one at its own learning rate."""
        after, step = self.step.stepped(parameters, gradient)
        next_one: Any = step
        number = self.number + 1
        return after, replace(self, step=replace(next_one, learning_rate=self.rate(number)), number=number)
