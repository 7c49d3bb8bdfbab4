"""The step that the training optimizer really takes, as a function that can be differentiated.

The paper's step is plain SGD (eq. 3), its experiments train with Adam (A.1). Each optimizer is here a value:
its settings and, for Adam, its moments. `stepped` returns the parameters after a step together with the
optimizer after it, in operations that autograd can pass through.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from midstream.gradients import Gradient

Moments = Mapping[str, Gradient]
"""What an optimizer remembers: name of the moment → a tensor for each parameter, none before a first step."""


class TrainingStep(Protocol):
    """An optimizer between two steps."""

    @property
    def moments(self) -> Moments:
        """Return what it remembers of the steps so far."""

    def with_moments(self, moments: Moments) -> Self:
        """Return this optimizer with other memories."""

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return the parameters after one step along `gradient`, and the optimizer after it."""


@dataclass(frozen=True)
class Sgd:
    """Plain gradient descent, `θ' = θ - η g` (paper eq. 3).

    Attributes:
        learning_rate: η, against the **sum** of the batch's losses.

    >>> Sgd(0.1).stepped({"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)})[0]["w"].item()
    0.800000011920929
    """

    learning_rate: float

    @property
    def moments(self) -> Moments:
        """Return nothing: it has no memory."""
        return {}

    def with_moments(self, moments: Moments) -> Self:  # noqa: ARG002
        """Return itself."""
        return self

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return `θ - η g`, and itself."""
        after = {name: value - self.learning_rate * gradient[name] for name, value in parameters.items()}
        return after, self


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015), as `torch.optim.Adam` computes it.

    With `t = count + 1`, `m' = β₁ m + (1 - β₁) g` and `s' = β₂ s + (1 - β₂) g²`,

        θ' = θ - η m̂ / (√ŝ + epsilon),  m̂ = m' / (1 - β₁ᵗ),  ŝ = s' / (1 - β₂ᵗ).

    Each parameter moves by its own gradient alone, so the derivative of `θ'` by `g` is diagonal. Where
    `s' = 0`, which needs `g = 0`, it is `-η (1 - β₁) / ((1 - β₁ᵗ) epsilon)`, finite but large.

    Attributes:
        learning_rate: η.
        beta1: β₁, the decay of the first moment.
        beta2: β₂, the decay of the second moment.
        epsilon: added to the root of the second moment.
        count: steps taken so far.
        first: m, a tensor for each parameter; an absent one is 0.
        second: s, likewise.

    >>> after, adam = Adam(0.1).stepped({"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)})
    >>> round(after["w"].item(), 6), adam.count, round(adam.first["w"].item(), 6)
    (0.9, 1, 0.2)
    """

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    count: int = 0
    first: Gradient = field(default_factory=dict)
    second: Gradient = field(default_factory=dict)

    @property
    def moments(self) -> Moments:
        """Return `first` and `second`."""
        return {"first": self.first, "second": self.second}

    def with_moments(self, moments: Moments) -> Self:
        """Return this optimizer with `first` and `second` replaced."""
        return replace(self, first=moments["first"], second=moments["second"])

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return `θ'`, and the optimizer with one step more."""
        count = self.count + 1
        first = _averaged(self.first, gradient, self.beta1)
        second = _averaged(self.second, {name: g.square() for name, g in gradient.items()}, self.beta2)
        size = self.learning_rate / (1 - self.beta1**count)
        unbiased = (1 - self.beta2**count) ** 0.5
        after = {
            name: value - size * first[name] / (_root(second[name]) / unbiased + self.epsilon)
            for name, value in parameters.items()
        }
        return after, replace(self, count=count, first=first, second=second)


def training_step(optimizer: torch.optim.Optimizer, model: nn.Module) -> TrainingStep:
    """Return the step that a live optimizer would take next, its moments by the model's parameter names.

    The moments are the optimizer's own tensors, not copies of them.

    Args:
        optimizer: a plain `torch.optim.SGD`, or a `torch.optim.Adam`, with one group of parameters.
        model: the model it trains.

    Raises:
        ValueError: the optimizer is another one, or has an option that is not modelled here.

    >>> model = nn.Linear(2, 2)
    >>> training_step(torch.optim.SGD(model.parameters(), lr=0.1), model)
    Sgd(learning_rate=0.1)
    """
    kind = type(optimizer).__name__
    if len(optimizer.param_groups) != 1:
        raise ValueError(
            f"this {kind} has {len(optimizer.param_groups)} groups of parameters; give it a single one"
        )
    group = optimizer.param_groups[0]
    if refused := [name for name in _NOT_MODELLED if group.get(name)]:
        settings = ", ".join(f"{name}={group[name]}" for name in refused)
        raise ValueError(f"a {kind} step with {settings} is not modelled; leave these options off")
    learning_rate = float(group["lr"])
    if type(optimizer) is torch.optim.SGD:
        return Sgd(learning_rate)
    if type(optimizer) is not torch.optim.Adam:
        raise ValueError(f"a step of {kind} is not modelled; train with SGD or Adam")
    states = {name: optimizer.state[p] for name, p in model.named_parameters() if optimizer.state.get(p)}
    beta1, beta2 = group["betas"]
    return Adam(
        learning_rate,
        float(beta1),
        float(beta2),
        group["eps"],
        count=max((int(state["step"]) for state in states.values()), default=0),
        first={name: state["exp_avg"] for name, state in states.items()},
        second={name: state["exp_avg_sq"] for name, state in states.items()},
    )


_NOT_MODELLED = ("momentum", "nesterov", "weight_decay", "amsgrad", "maximize")


def _averaged(old: Gradient, new: Gradient, beta: float) -> Gradient:
    return {
        name: (1 - beta) * value + (beta * old[name] if name in old else 0.0) for name, value in new.items()
    }


def _root(second: Tensor) -> Tensor:
    # The root has no derivative at 0, where `g` is 0 too: with a slope of 0 the chain rule comes out right.
    positive = second > 0
    return second.where(positive, 1.0).sqrt().where(positive, 0.0)
