"""M, the constant of the paper's step-size rule, estimated from the model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from midstream.level_k import check_steps, constant_of_rule, steps_by_rule
from midstream.loss import Loss, cross_entropy
from midstream.players import View
from midstream.utility import utility


@dataclass(frozen=True)
class Smoothness:
    """What training on a white image tells of M.

    Attributes:
        by_class: `√N |U_t(1, …, 1)|` for each label that the image was given.
    """

    by_class: tuple[float, ...]

    @property
    def value(self) -> float:
        """The estimate of M: the smallest, since each is a lower bound and the rule is exponential in M."""
        return min(self.by_class)


def estimate_smoothness(
    model: nn.Module,
    validation_inputs: Tensor,
    validation_labels: Tensor,
    *,
    learning_rate: float,
    high: float = 1.0,
    loss: Loss = cross_entropy,
) -> Smoothness:
    """Estimate `M ≥ √N |U_t(1, …, 1)|`, N pixels (paper B.3.2).

    `U_t(1, …, 1)` is the change of the validation loss, a sum, when the model takes one training step on a
    single white image. The paper gives that image no label; labels differ by a factor of ten and more, so
    the first ten classes are each tried. M grows with the validation set and with η. With the paper's 5,000
    examples of MNIST the smallest is 0.22 to 0.41 from seed to seed, the paper's estimate 0.203.

    Args:
        model: the model at θ_t; it is not changed.
        validation_inputs: `(examples, *input)`.
        validation_labels: `(examples,)`; the first ten classes among them are tried.
        learning_rate: η, against the sum of the batch's losses.
        high: the value of a white pixel.
        loss: a loss that sums over its batch.

    >>> model = nn.Linear(4, 3)
    >>> x, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> len(estimate_smoothness(model, x, y, learning_rate=0.01).by_class)
    3
    """
    white = torch.full_like(validation_inputs[:1], high, dtype=torch.float32)
    if validation_inputs.is_floating_point():
        white = white.to(validation_inputs)
    changes = [
        utility(
            model,
            white,
            validation_labels.new_tensor([label]),
            validation_inputs,
            validation_labels,
            learning_rate=learning_rate,
            loss=loss,
        )
        for label in sorted(set(validation_labels.tolist()))[:10]
    ]
    return Smoothness(tuple(math.sqrt(white.numel()) * abs(float(change)) for change in changes))


@dataclass(kw_only=True)
class StepRule:
    """How many PGD steps a player of level k takes: the options, and the estimate of M they may need.

    Args:
        steps: PGD steps; 0 takes them from the paper's rule, `n_k = max(k, ⌈c/Δ_k⌉)` (B.3.2).
        smoothness: M of the rule; 0 estimates it at the first batch, on a white image. The paper's are
            0.203 (MNIST), 0.351 (CIFAR-10) and 1.04 (256×256 photos).
        c: c of the rule; by default the paper's for images of this size, 2 (up to 28×28, MNIST), 0.5
            (CIFAR-10) or 0.01 (from 128×128 on, its photos).
        max_steps: steps that the rule may ask for; the most in the paper is 16.
    """

    steps: int = 0
    smoothness: float = 0.0
    c: float | None = None
    max_steps: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.smoothness < math.inf:
            raise ValueError(
                f"smoothness must be above 0 and finite, or 0 to estimate it, not {self.smoothness}"
            )
        if self.c is not None and not 0 < self.c < math.inf:
            raise ValueError(f"c must be above 0 and finite, not {self.c}")
        check_steps(self.steps or 1)
        check_steps(self.max_steps)

    def count(self, k: int, view: View) -> int:
        """Return n_k for this run, and put it, M and c into the metrics."""
        if self.steps:
            return self.steps
        if not self.smoothness:
            self.smoothness = estimate_smoothness(
                view.model,
                view.validation_inputs,
                view.validation_labels,
                learning_rate=view.learning_rate,
                high=view.budget.white,
                loss=view.loss,
            ).value
        # A model that a white image teaches nothing needs no more than k steps.
        c = constant_of_rule(view.validation_inputs.shape[1:]) if self.c is None else self.c
        rule = steps_by_rule(k, smoothness=self.smoothness, epsilon=view.budget.epsilon, c=c)
        steps = min(rule, max(k, self.max_steps))
        view.report("smoothness", self.smoothness)
        view.report("rule_c", c)
        view.report("pgd_steps", steps)
        return steps

    def state_dict(self) -> dict[str, Tensor]:
        """Return M, as estimated."""
        return {"smoothness": torch.tensor(self.smoothness, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up M."""
        self.smoothness = float(state["smoothness"])
