"""The training optimizer's step as a differentiable function.

The paper's step is plain SGD (eq. 3); its experiments train with Adam (A.1). Here each optimizer is a value:
its settings and its moments. `stepped` returns the parameters and the optimizer after a step,
computed by operations that autograd can differentiate. `live_step`, in this folder, creates these values from
a live torch optimizer; `momentum_sgd` and `rmsprop` are those that the paper does not use.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from torch import Tensor

from midstream.mathematics.derivatives.gradients import Gradient

Moments = Mapping[str, Gradient]
"""An optimizer's moments: name of the moment → a tensor per parameter; no tensors before the first step."""


class TrainingStep(Protocol):
    """An optimizer between two steps."""

    @property
    def moments(self) -> Moments:
        """Return the moments, which summarise the steps so far."""

    def with_moments(self, moments: Moments) -> Self:
        """Return this optimizer with the given moments."""

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return the parameters after one step along `gradient`, and the optimizer after it."""


@dataclass(frozen=True)
class Sgd:
    """Plain gradient descent, `θ' = θ - η g` (paper eq. 3).

    Attributes:
        learning_rate: η, for the **sum** of the batch's losses.

    >>> import torch
    >>> Sgd(0.1).stepped({"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)})[0]["w"].item()
    0.800000011920929
    """

    learning_rate: float

    @property
    def moments(self) -> Moments:
        """Return no moments: plain SGD has none."""
        return {}

    def with_moments(self, moments: Moments) -> Self:  # noqa: ARG002
        """Return this optimizer unchanged."""
        return self

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return `θ - η g`, and this optimizer unchanged."""
        after = {name: value - self.learning_rate * gradient[name] for name, value in parameters.items()}
        return after, self


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015), as `torch.optim.Adam` computes it.

    With `t = count + 1`, `m' = β₁ m + (1 - β₁) g` and `s' = β₂ s + (1 - β₂) g²`,

        θ' = θ - η m̂ / (√ŝ + epsilon),  m̂ = m' / (1 - β₁ᵗ),  ŝ = s' / (1 - β₂ᵗ).

    Each parameter's step depends only on its own gradient, so the derivative of `θ'` with respect to `g` is
    diagonal. If `s' = 0`, which requires `g = 0`, its entry is `-η (1 - β₁) / ((1 - β₁ᵗ) epsilon)`: finite
    but large.

    With `weight_decay`, λ, the step is AdamW's (Loshchilov and Hutter, 2019) if it is `decoupled`: θ is
    multiplied by `1 - η λ` first. Otherwise `g + λ θ` takes the place of `g`, as in `torch.optim.Adam`.

    Attributes:
        learning_rate: η.
        beta1: β₁, the decay of the first moment.
        beta2: β₂, the decay of the second moment.
        epsilon: added to the root of the second moment.
        count: steps taken so far.
        first: m, one tensor per parameter; an absent one is 0.
        second: s, one tensor per parameter; an absent one is 0.
        counts: the number of steps of each parameter for which it differs from `count`: torch skips a
            parameter without a gradient.
        weight_decay: λ; if it is not decoupled, that of the sum of the batch's losses.
        decoupled: whether weight decay acts on θ itself.

    >>> import torch
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
    counts: Mapping[str, int] = field(default_factory=dict)
    weight_decay: float = 0.0
    decoupled: bool = False

    @property
    def moments(self) -> Moments:
        """Return `first` and `second`."""
        return {"first": self.first, "second": self.second}

    def with_moments(self, moments: Moments) -> Self:
        """Return this optimizer with `first` and `second` replaced."""
        return replace(self, first=moments["first"], second=moments["second"])

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return `θ'`, and the optimizer after the step."""
        kept = 1.0
        if self.weight_decay and self.decoupled:
            kept -= self.learning_rate * self.weight_decay
        elif self.weight_decay:
            gradient = {name: g + self.weight_decay * parameters[name] for name, g in gradient.items()}
        first = averaged(self.first, gradient, self.beta1)
        second = averaged(self.second, {name: g.square() for name, g in gradient.items()}, self.beta2)
        after = {}
        for name, value in parameters.items():
            count = self.counts.get(name, self.count) + 1
            size = self.learning_rate / (1 - self.beta1**count)
            unbiased = (1 - self.beta2**count) ** 0.5
            start = value if kept == 1 else kept * value
            after[name] = start - size * first[name] / (root(second[name]) / unbiased + self.epsilon)
        counts = {name: count + 1 for name, count in self.counts.items()}
        return after, replace(self, count=self.count + 1, first=first, second=second, counts=counts)


@dataclass(frozen=True)
class Grouped:
    """An optimizer with separate settings for each group of parameters; it does not change the others.

    Attributes:
        groups: the names of each group's parameters, and the group's optimizer.

    >>> import torch
    >>> one, two = torch.tensor(1.0), torch.tensor(2.0)
    >>> after, _ = Grouped(((("w",), Sgd(0.5)),)).stepped({"w": one, "b": one}, {"w": two, "b": two})
    >>> after["w"].item(), after["b"].item()
    (0.0, 1.0)
    """

    groups: tuple[tuple[tuple[str, ...], TrainingStep], ...]

    @property
    def moments(self) -> Moments:
        """Return the moments of all groups."""
        found: dict[str, dict[str, Tensor]] = {}
        for _, step in self.groups:
            for moment, values in step.moments.items():
                found.setdefault(moment, {}).update(values)
        return found

    def with_moments(self, moments: Moments) -> Self:
        """Return this optimizer with the given moments in each group."""

        def of(names: tuple[str, ...]) -> Moments:
            return {key: {n: values[n] for n in names if n in values} for key, values in moments.items()}

        return replace(
            self, groups=tuple((names, step.with_moments(of(names))) for names, step in self.groups)
        )

    def stepped(self, parameters: Gradient, gradient: Gradient) -> tuple[Gradient, Self]:
        """Return all parameters, with each group's after its step, and the optimizer after the step."""
        after, groups = dict(parameters), []
        for names, step in self.groups:
            moved, next_step = step.stepped(
                {name: parameters[name] for name in names}, {name: gradient[name] for name in names}
            )
            after.update(moved)
            groups.append((names, next_step))
        return after, replace(self, groups=tuple(groups))


def averaged(old: Gradient, new: Gradient, beta: float) -> Gradient:
    """Return the moving average `(1 - β) new + β old`; an absent old value is 0."""
    return {
        name: (1 - beta) * value + (beta * old[name] if name in old else 0.0) for name, value in new.items()
    }


def root(second: Tensor) -> Tensor:
    """Return the square root of a second moment, with a derivative of 0 where the moment is 0."""
    # The root has no derivative at 0. There `g` is 0 as well, so a slope of 0 makes the chain rule correct.
    positive = second > 0
    return second.where(positive, 1.0).sqrt().where(positive, 0.0)
