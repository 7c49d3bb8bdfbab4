"""The objective that an attacker raises: the validation loss, or a targeted variant of it."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.gradients import Gradient, trainable, validation_gradient
from midstream.mathematics.loss import Loss, cross_entropy

Goal = Literal["untargeted", "conversion", "evasion"]


@dataclass(frozen=True)
class Objective:
    """`sign · Σ_z L_θ(z)` over a set of examples: the loss in an attacker's utility (paper eq. 5 and 6.4).

    Attributes:
        inputs: `(examples, *input)`; may be empty.
        labels: the targets of the loss, `(examples,)`.
        sign: 1 to raise the loss, -1 to lower it.
    """

    inputs: Tensor
    labels: Tensor
    sign: float = 1.0

    def gradient(self, model: nn.Module, *, loss: Loss = cross_entropy) -> Gradient:
        """Return `sign · Σ_z ∇θ L_θ(z)`, to use in place of `v`; zero if the set is empty."""
        if len(self.labels) == 0:
            return {name: torch.zeros_like(value) for name, value in trainable(model).items()}
        v = validation_gradient(model, self.inputs, self.labels, loss=loss)
        return v if self.sign == 1 else {name: self.sign * value for name, value in v.items()}


def objective(goal: Goal, inputs: Tensor, labels: Tensor, *, target: int = -1) -> Objective:
    """Return the objective that an attacker with this goal raises, over the validation set or a substitute.

    - untargeted: `Σ_z L(z)`, the paper's game.
    - conversion: `-Σ L(z, label = target)` over the examples of other classes, which the attacker wants
      classified as the target. (Paper 6.4; its wording of `L*` is loose, and this definition is what its
      conversion rate measures.)
    - evasion: `Σ L(z)` over the examples of the target class, which the attacker wants classified as another
      class.

    Args:
        goal: one of these three.
        inputs: `(examples, *input)`.
        labels: their classes, `(examples,)`.
        target: the target class, for a targeted goal.

    >>> x, y = torch.eye(3), torch.tensor([0, 1, 2])
    >>> objective("conversion", x, y, target=2).labels
    tensor([2, 2])
    >>> len(objective("evasion", x, y, target=2).inputs)
    1
    """
    if goal == "untargeted":
        return Objective(inputs, labels)
    if goal == "evasion":
        return Objective(inputs[labels == target], labels[labels == target])
    others = inputs[labels != target]
    return Objective(others, labels.new_full((len(others),), target), sign=-1.0)


def check_goal(goal: Goal, target: int) -> None:
    """Refuse a targeted goal without a target class, and a target without such a goal.

    Raises:
        ValueError: one is given without the other.
    """
    if goal == "untargeted" and target >= 0:
        raise ValueError(f"target={target} is for a targeted goal; add goal=conversion or goal=evasion")
    if goal != "untargeted" and target < 0:
        raise ValueError(f"a {goal} attack needs the class it is about; add target=…, a class index from 0")
