"""Gradient matching: turn the training step of a batch towards the direction that the attacker wants."""

from dataclasses import dataclass

from torch import Tensor, nn

from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.batch_gradient import batch_gradient
from midstream.mathematics.derivatives.gradients import Gradient, mixed_derivative
from midstream.mathematics.level_k import check_steps
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.players.interface import Batch, View


def dot(one: Gradient, other: Gradient) -> float:
    """Return `⟨a, b⟩` of two vectors in parameter space."""
    return float(sum((value * other[name]).sum() for name, value in one.items()))


def combined(first: float, one: Gradient, second: float, other: Gradient) -> Gradient:
    """Return `first·a + second·b`."""
    return {name: first * value + second * other[name] for name, value in one.items()}


def match_gradient(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    wanted: Gradient,
    *,
    budget: Budget,
    steps: int,
    step_size: float,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Return perturbations that turn the batch's gradient `g = Σ_j ∇θ L(x_j)` towards `wanted`.

    Projected ascent of `cos(g, w)`, the objective of Witches' Brew (Geiping et al. 2021), over one minibatch.
    Its derivative with respect to the input `x_j` is `B_x u` with `u = (w/‖w‖ - cos(g, w) g/‖g‖) / ‖g‖`.

    Args:
        model: the model at θ; it is not changed.
        inputs: `(batch, *input)`, within the budget's pixel range.
        labels: their targets, `(batch,)`.
        wanted: w, a vector in parameter space; the step goes along `-w`.
        budget: the ball and the pixel range.
        steps: number of steps, at least 1.
        step_size: length of each step, as a share of ε.
        loss: a loss that sums over its batch.

    Returns:
        Perturbations shaped like `inputs`, within the ball and the range.
    """
    check_steps(steps, step_size)
    reached, length = inputs, dot(wanted, wanted) ** 0.5
    for _ in range(steps):
        own = batch_gradient(model, reached, labels, loss=loss)
        size = dot(own, own) ** 0.5
        if size == 0 or length == 0:
            break
        turn = combined(1 / length, wanted, -dot(own, wanted) / (length * size**2), own)
        uphill = budget.direction(mixed_derivative(model, reached, labels, turn, loss=loss))
        reached = budget.perturb(inputs, reached - inputs + step_size * budget.epsilon * uphill)
    return reached - inputs


@dataclass(kw_only=True)
class GradientMatching:
    """Turn the batch's gradient against v (Witches' Brew, Geiping et al. 2021; not in Table 1: level k).

    It raises `cos(Σ_j ∇θ L(x_j), -v)`; level 1 raises the unnormalised inner product, to first order. The
    original matches the gradient of a few chosen test images, over a whole data set that is poisoned before
    training.

    Args:
        steps: number of steps of projected ascent.
        step_size: length of each step, as a share of ε; 2.5 / steps by default.
    """

    steps: int = 5
    step_size: float | None = None

    def __post_init__(self) -> None:
        check_steps(self.steps, 1.0 if self.step_size is None else self.step_size)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations after the last step."""
        against = {name: -value for name, value in view.validation_gradient().items()}
        return match_gradient(
            view.model,
            batch.inputs,
            batch.labels,
            against,
            budget=view.budget,
            steps=self.steps,
            step_size=2.5 / self.steps if self.step_size is None else self.step_size,
            loss=view.loss,
        )
