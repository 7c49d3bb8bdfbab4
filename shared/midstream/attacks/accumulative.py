"""Accumulative poisoning: prepare the model unseen, then strike with one batch."""

from dataclasses import dataclass

from torch import Tensor

from midstream.attacks.gradient_matching import combined, dot
from midstream.gradients import Gradient, validation_gradient
from midstream.hessian import hessian_vector_product
from midstream.players import Batch, View
from midstream.strategies import level_1_attack


@dataclass(kw_only=True)
class Accumulative:
    """Prepare unseen, then strike (accumulative poisoning, Pang et al. 2021; not in Table 1: level 2).

    A strike at θ changes the validation loss by `-η ⟨v, g⟩`, g the gradient of the struck batch: level 1 at
    the batch. In between, each batch is moved so that the coming steps lower the validation loss, which
    whoever watches sees, and lower `⟨v, g⟩`, which makes the strike worse:
    `ε e(-B_x u)`, `u = -v/‖v‖ - weight·w/‖w‖`, `w = ∇θ ⟨v, g⟩ = H g + H_batch v`. The batch of the strike to
    come is unknown in a stream; the one in hand stands for it, its gradient taken after level 1.

    Args:
        period: every how many batches it strikes.
        weight: of preparing, against staying unseen.
    """

    period: int = 50
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(
                f"period is the batches from one strike to the next, at least 1, not {self.period}"
            )
        if self.weight < 0:
            raise ValueError(f"weight must be at least 0, not {self.weight}")

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the strike at every period's last batch, and the preparation at the others."""
        v = view.validation_gradient()
        strike = _along(batch, view, v)
        if (batch.seq + 1) % self.period == 0:
            return strike
        struck = view.budget.perturb(batch.inputs, strike)
        g = validation_gradient(view.model, struck, batch.labels, loss=view.loss)
        w = combined(
            1.0,
            hessian_vector_product(
                view.model, view.validation_inputs, view.validation_labels, g, loss=view.loss
            ),
            1.0,
            hessian_vector_product(view.model, struck, batch.labels, v, loss=view.loss),
        )
        return _along(batch, view, combined(-_over_length(v, 1.0), v, -_over_length(w, self.weight), w))


def _over_length(vector: Gradient, factor: float) -> float:
    length = dot(vector, vector) ** 0.5
    return factor / length if length else 0.0


def _along(batch: Batch, view: View, vector: Gradient) -> Tensor:
    return level_1_attack(
        view.model,
        batch.inputs,
        batch.labels,
        validation_gradient=vector,
        budget=view.budget,
        loss=view.loss,
    )
