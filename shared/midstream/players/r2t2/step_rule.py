"""How many PGD steps a level-k player takes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.derivatives.batch_statistics import Statistics
from midstream.mathematics.level_k import check_steps
from midstream.mathematics.level_k_rules import constant_of_rule, steps_by_rule
from midstream.mathematics.smoothness import estimate_smoothness
from midstream.players.interface import View


@dataclass(kw_only=True)
class StepRule:
    """The number of PGD steps of a level-k player: its options, and the estimate of M that they may need.

    Args:
        steps: PGD steps; 0 computes the number by the paper's rule, `n_k = max(k, ⌈c/Δ_k⌉)` (B.3.2).
        smoothness: M in the rule; 0 estimates it at the first batch, on a white image. The paper's values
            are 0.203 (MNIST), 0.351 (CIFAR-10) and 1.04 (256×256 photos).
        c: c in the rule. By default the paper's value for images of this size: 2 (up to 28×28, MNIST), 0.5
            (CIFAR-10) or 0.01 (from 128×128, its photos).
        max_steps: upper limit on the rule's number; the largest in the paper is 16.
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

    def against_batch_norm(self, statistics: Statistics) -> str | None:  # noqa: ARG002
        """Return why M cannot be estimated for batch norm that trains; None if it need not be."""
        if self.steps or self.smoothness:
            return None
        return (
            "the number of steps would follow from M, which is estimated by a training step on a single "
            "image; give steps=…, or smoothness=…"
        )

    def count(self, k: int, view: View) -> int:
        """Return n_k for this run; if the rule gives it, report it, M and c in the metrics."""
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
        # If a step on a white image changes no loss, M is 0 and the rule gives k steps.
        c = constant_of_rule(view.validation_inputs.shape[1:]) if self.c is None else self.c
        rule = steps_by_rule(k, smoothness=self.smoothness, epsilon=view.budget.epsilon, c=c)
        steps = min(rule, max(k, self.max_steps))
        view.report("smoothness", self.smoothness)
        view.report("rule_c", c)
        view.report("pgd_steps", steps)
        return steps

    def state_dict(self) -> dict[str, Tensor]:
        """Return the estimate of M."""
        return {"smoothness": torch.tensor(self.smoothness, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore M."""
        self.smoothness = float(state["smoothness"])
