"""Schedules of the learning rate: functions of the step's number, so that a resume needs no state."""

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """How the learning rate goes on over a run."""

    def factor(self, step: int, *, steps: int, epoch: int) -> float:
        """Return the learning rate of a step as a multiple of the run's η.

        Args:
            step: the number of the optimizer's step, from 0.
            steps: the number of the optimizer's steps in the whole run.
            epoch: the number of the epoch that the step is in, from 0.
        """


@dataclass(frozen=True)
class Constant:
    """η in every step.

    >>> Constant().factor(7, steps=10, epoch=0)
    1.0
    """

    def factor(self, step: int, *, steps: int, epoch: int) -> float:  # noqa: ARG002
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from η down to `final` η (Loshchilov and Hutter, 2017), after a linear warm-up.

    In the warm-up of w steps, step t has `(t + 1) / w`. After it, with `p = (t - w) / (steps - w)`,

        final + (1 - final) (1 + cos(π p)) / 2,

    as `torch.optim.lr_scheduler.CosineAnnealingLR` has with `T_max = steps - w`.

    Attributes:
        warmup: w, the number of steps.
        final: the end of the cosine as a share of η, which a step after the last one would have.

    >>> [round(Cosine(warmup=2).factor(t, steps=6, epoch=0), 3) for t in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """

    warmup: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup < 0 or not 0 <= self.final <= 1:
            raise ValueError(
                f"warmup must be at least 0 and final in [0, 1], not {self.warmup} and {self.final}"
            )

    def factor(self, step: int, *, steps: int, epoch: int) -> float:  # noqa: ARG002
        """Return the share of η; see the class."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        passed = (step - self.warmup) / (steps - self.warmup)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * passed)) / 2


@dataclass(frozen=True)
class Step:
    """A factor `gamma` after every `every` epochs, `gamma^⌊epoch / every⌋`, as `StepLR` of torch has it.

    Attributes:
        every: the number of epochs between two changes.
        gamma: the factor.

    >>> [round(Step(every=2).factor(0, steps=9, epoch=epoch), 3) for epoch in range(5)]
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """

    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 < self.gamma < math.inf:
            raise ValueError(
                f"every must be at least 1 and gamma above 0 and finite, not {self.every} and {self.gamma}"
            )

    def factor(self, step: int, *, steps: int, epoch: int) -> float:  # noqa: ARG002
        """Return the share of η; see the class."""
        return float(self.gamma ** (epoch // self.every))


@dataclass(frozen=True)
class OneCycle:
    """Up from η / `start` to η, then down to η / (`start` · `end`), in half cosines (Smith and Topin, 2018).

    It is that of `torch.optim.lr_scheduler.OneCycleLR` with `max_lr = η` and a momentum that does not cycle.

    Attributes:
        warmup: the share of the steps that go up.
        start: how many times smaller the first learning rate is.
        end: how many times smaller than the first one the last learning rate is.

    >>> [round(OneCycle(warmup=0.5, start=10).factor(t, steps=6, epoch=0), 3) for t in range(6)]
    [0.1, 0.55, 1.0, 0.75, 0.25, 0.0]
    """

    warmup: float = 0.3
    start: float = 25.0
    end: float = 1e4

    def __post_init__(self) -> None:
        inside = all(1 <= times < math.inf for times in (self.start, self.end))
        if not 0 < self.warmup < 1 or not inside:
            raise ValueError(
                f"warmup must be in (0, 1), and start and end at least 1 and finite, not {self.warmup}, "
                f"{self.start} and {self.end}"
            )

    def factor(self, step: int, *, steps: int, epoch: int) -> float:  # noqa: ARG002
        """Return the share of η; see the class."""
        top, last = self.warmup * steps - 1, steps - 1
        first, final = 1 / self.start, 1 / (self.start * self.end)
        if step <= top:
            return _annealed(first, 1.0, step / top if top else 1.0)
        return _annealed(1.0, final, (step - top) / (last - top))


def _annealed(start: float, end: float, passed: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * passed))
