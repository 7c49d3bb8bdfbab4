"""SGD with momentum or weight decay as a differentiable step."""

from dataclasses import dataclass, field, replace
from typing import Self

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.optimizers.training_step import Moments


@dataclass(frozen=True)
class MomentumSgd:
    """SGD with momentum (Sutskever et al., 2013) and weight decay, as `torch.optim.SGD` computes it.

    With `d = g + weight_decay θ` and `m' = momentum m + (1 - dampening) d`,

        θ' = θ - η m',  or with Nesterov's momentum  θ' = θ - η (d + momentum m').

    In the first step `m' = d`.

    Attributes:
        learning_rate: η, for the **sum** of the batch's losses.
        momentum: the decay of the velocity m.
        dampening: the share of the gradient that the velocity leaves out after the first step.
        nesterov: whether to look ahead along the velocity.
        weight_decay: the factor of θ in the gradient, for the sum of the batch's losses.
        velocity: m, one tensor per parameter; an absent one means that the parameter has not moved yet.

    >>> import torch
    >>> after, sgd = MomentumSgd(0.1, momentum=0.5).stepped({"w": torch.ones(())}, {"w": torch.ones(())})
    >>> after, sgd = sgd.stepped(after, {"w": torch.ones(())})
    >>> round(after["w"].item(), 6), sgd.velocity["w"].item()
    (0.75, 1.5)
    """

    learning_rate: float
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    velocity: Gradient = field(default_factory=dict)

    @property
    def moments(self) -> Moments:
        """Return `velocity`."""
        return {"velocity": self.velocity}

    def with_moments(self, moments: Moments) -> Self:
        """Return this optimizer with `velocity` replaced."""
        return replace(self, velocity=moments["velocity"])

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return `θ'`, and the optimizer after the step."""
        downhill = decayed(parameters, gradient, self.weight_decay)
        if not self.momentum:
            return {name: p - self.learning_rate * downhill[name] for name, p in parameters.items()}, self
        share, before = 1 - self.dampening, self.velocity
        velocity = {
            name: self.momentum * before[name] + share * d if name in before else d
            for name, d in downhill.items()
        }
        along = velocity
        if self.nesterov:
            along = {name: d + self.momentum * velocity[name] for name, d in downhill.items()}
        after = {name: p - self.learning_rate * along[name] for name, p in parameters.items()}
        return after, replace(self, velocity=velocity)


def decayed(parameters: Gradient, gradient: Gradient, weight_decay: float) -> Gradient:
    """Return `g + weight_decay θ`, the gradient of the loss with an L2 penalty of half that weight."""
    if not weight_decay:
        return gradient
    return {name: g + weight_decay * parameters[name] for name, g in gradient.items()}
