"""Accumulative poisoning: prepare the model unnoticed, then strike with one batch."""

import math
from dataclasses import dataclass

from torch import Tensor

from midstream.attacks.gradient_matching import combined
from midstream.mathematics.derivatives.batch_gradient import batch_gradient
from midstream.mathematics.derivatives.batch_statistics import as_trained
from midstream.mathematics.derivatives.gradients import Gradient, mixed_derivative
from midstream.mathematics.derivatives.hessian import hessian_vector_product
from midstream.mathematics.level_k import check_steps
from midstream.players.interface import Batch, View


def layer_cosines(one: Gradient, other: Gradient) -> float:
    """Return `Σ_l cos(a_l, b_l)` over the parameter tensors l; the cosine of a zero tensor is 0.

    >>> import torch
    >>> a = {"w": torch.tensor([3.0, 0.0]), "b": torch.tensor([1.0])}
    >>> b = {"w": torch.ones(2), "b": -torch.ones(1)}
    >>> round(layer_cosines(a, b), 4)
    -0.2929
    """
    units, others = unit_layers(one), unit_layers(other)
    return float(sum((unit * others[name]).sum() for name, unit in units.items()))


def unit_layers(vector: Gradient) -> Gradient:
    """Return `a_l / ‖a_l‖` of each parameter tensor; a zero tensor stays 0."""
    lengths = {name: value.norm() for name, value in vector.items()}
    return {name: value / lengths[name].where(lengths[name] > 0, 1.0) for name, value in vector.items()}


def cosines_derivative(at: Gradient, along: Gradient) -> Gradient:
    """Return the gradient of `Σ_l ⟨â_l, b_l⟩` in a: `(b_l - ⟨â_l, b_l⟩ â_l) / ‖a_l‖`, or 0 if a_l is 0.

    `â_l = a_l / ‖a_l‖` for each parameter tensor l separately; b is a constant.
    """
    derivative = {}
    for name, unit in unit_layers(at).items():
        length = at[name].norm()
        turned = along[name] - (unit * along[name]).sum() * unit
        derivative[name] = (turned / length.where(length > 0, 1.0)).where(length > 0, 0.0)
    return derivative


@dataclass(kw_only=True)
class Accumulative:
    """Prepare unnoticed, then strike (accumulative poisoning, Pang et al. 2021; not in Table 1: level k).

    Follows the authors' code for online learning (ShawnXYang/AccumulativeAttack, `online_accu_train.py`). For
    a vector a in parameter space, let `â_l = a_l / ‖a_l‖` for each parameter tensor l separately. v is the
    validation gradient and g(X) the gradient of a batch X. The **strike** lowers the alignment of the two,

        A(θ) = Σ_l ⟨ĝ_l(X'), v̂_l⟩,

    by projected descent over X'. Each batch before the strike is moved by projected ascent of

        Σ_l ⟨ĝ_l(X'), weight ĝ_l(X) + ŝ_l⟩,  s = ∇θ A(θ).

    Its training step lowers the alignment of the coming strike, yet resembles the step of the clean batch X.
    By the chain rule `s = H_batch a + H b`, with `a_l = (v̂_l - ⟨ĝ_l, v̂_l⟩ ĝ_l) / ‖g_l‖` at the struck
    batch, and b the same with g and v exchanged. The moves follow `B_x u`, u being the derivative of the sum
    with respect to g(X').

    Differences from the authors' code:

    - v is taken over the whole validation set, not over one batch of it.
    - A stream does not show the batch of the coming strike. The current batch replaces it, struck again at
      each θ. In the authors' code that batch is fixed, or struck again with `--use_online_advtrigger`.
    - It strikes every `period` batches. The authors' code strikes once, when the error passes a threshold.
    - A step is `e(u)`: the sign in the L∞ game, which the authors play, and the unit vector in the L2 game.
    - Losses are sums, and the model is in evaluation mode, except for batch norm that the run trains; in the
      authors' code batch norm may be in training mode.

    Args:
        period: number of batches from one strike to the next.
        weight: weight of the clean batch's gradient, which hides the preparation; the authors' `gamma`.
        steps: steps of projected ascent, for the strike and for the preparation.
        step_size: length of each step, as a share of ε; 2 / steps by default, as in the authors' code.
    """

    period: int = 50
    weight: float = 1.0
    steps: int = 2
    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(
                f"period is the batches from one strike to the next, at least 1, not {self.period}"
            )
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight must be finite and at least 0, not {self.weight}")
        check_steps(self.steps, 1.0 if self.step_size is None else self.step_size)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the strike at the last batch of each period, and the preparation at all others."""
        against = unit_layers({name: -value for name, value in view.validation_gradient().items()})
        strike = self._ascend(batch, view, against)
        if (batch.seq + 1) % self.period == 0:
            return strike
        clean = unit_layers(batch_gradient(view.model, batch.inputs, batch.labels, loss=view.loss))
        sharper = unit_layers(alignment_gradient(batch, view, batch.inputs + strike))
        return self._ascend(batch, view, combined(self.weight, clean, 1.0, sharper))

    def _ascend(self, batch: Batch, view: View, along: Gradient) -> Tensor:
        """Return perturbations that raise `Σ_l ⟨ĝ_l(X'), b_l⟩`, b a constant."""
        size = 2 / self.steps if self.step_size is None else self.step_size
        reached, budget = batch.inputs, view.budget
        for _ in range(self.steps):
            own = batch_gradient(view.model, reached, batch.labels, loss=view.loss)
            turn = cosines_derivative(own, along)
            uphill = mixed_derivative(view.model, reached, batch.labels, turn, loss=view.loss)
            step = size * budget.epsilon * budget.direction(uphill)
            reached = budget.perturb(batch.inputs, reached - batch.inputs + step)
        return reached - batch.inputs


def alignment_gradient(batch: Batch, view: View, struck: Tensor) -> Gradient:
    """Return `∇θ Σ_l ⟨ĝ_l, v̂_l⟩`, g the gradient of the struck batch and v that of the validation set."""
    v = view.validation_gradient()
    g = batch_gradient(view.model, struck, batch.labels, loss=view.loss)
    by_g, by_v = cosines_derivative(g, unit_layers(v)), cosines_derivative(v, unit_layers(g))
    with as_trained(view.model):
        of_batch = hessian_vector_product(view.model, struck, batch.labels, by_g, loss=view.loss)
    return combined(
        1.0,
        of_batch,
        1.0,
        hessian_vector_product(
            view.model, view.validation_inputs, view.validation_labels, by_v, loss=view.loss
        ),
    )
