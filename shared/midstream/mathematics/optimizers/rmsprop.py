"""RMSprop as a differentiable step."""

from dataclasses import dataclass, field, replace
from typing import Self

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.optimizers.momentum_sgd import decayed
from midstream.mathematics.optimizers.training_step import Moments, averaged, root


@dataclass(frozen=True)
class Rmsprop:
    """RMSprop (Tieleman and Hinton, 2012), not centered, as `torch.optim.RMSprop` computes it.

    With `d = g + weight_decay θ`, `s' = alpha s + (1 - alpha) d²` and
    `m' = momentum m + d / (√s' + epsilon)`,

        θ' = θ - η m'.

    Attributes:
        learning_rate: η.
        alpha: the decay of the second moment.
        epsilon: added to the root of the second moment.
        momentum: the decay of the velocity m.
        weight_decay: the factor of θ in the gradient, for the sum of the batch's losses.
        second: s, one tensor per parameter; an absent one is 0.
        velocity: m, one tensor per parameter if there is momentum; an absent one is 0.

    >>> import torch
    >>> after, _ = Rmsprop(0.1, alpha=0.75).stepped({"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)})
    >>> round(after["w"].item(), 6)
    0.8
    """

    learning_rate: float
    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0
    second: Gradient = field(default_factory=dict)
    velocity: Gradient = field(default_factory=dict)

    @property
    def moments(self) -> Moments:
        """Return `second` and `velocity`."""
        return {"second": self.second, "velocity": self.velocity}

    def with_moments(self, moments: Moments) -> Self:
        """Return this optimizer with `second` and `velocity` replaced."""
        return replace(self, second=moments["second"], velocity=moments["velocity"])

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return `θ'`, and the optimizer after the step."""
        downhill = decayed(parameters, gradient, self.weight_decay)
        second = averaged(self.second, {name: d.square() for name, d in downhill.items()}, self.alpha)
        along = {name: d / (root(second[name]) + self.epsilon) for name, d in downhill.items()}
        velocity = self.velocity
        if self.momentum:
            velocity = along = {
                name: a + (self.momentum * velocity[name] if name in velocity else 0.0)
                for name, a in along.items()
            }
        after = {name: p - self.learning_rate * along[name] for name, p in parameters.items()}
        return after, replace(self, second=second, velocity=velocity)
