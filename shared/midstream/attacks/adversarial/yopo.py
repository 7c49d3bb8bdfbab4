"""YOPO: several steps through the first layer for each pass through the network."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from midstream.attacks.adversarial.first_layer import costate_of, ends_in_activation, first_layer
from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.gradients import CHUNK, chunks, refuse_coupled_examples
from midstream.mathematics.derivatives.input_gradient import gradient_at
from midstream.mathematics.level_k import check_steps
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.players.interface import Batch, View
from midstream.players.r2t2.momentum_option import MomentumOption

STEP_SIZE = 1 / 4
"""Step size as a share of ε: 2/255 of 8/255, the usual choice for YOPO-5-3 on CIFAR-10.

With `2.5 / 15`, YOPO would repeat FGSM-PGD: if the first layer is linear, such as a convolution followed by
batch norm, the Hamiltonian's gradient is the same in all inner steps, so three inner steps equal one step of
three times the length.
"""


def yopo(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    budget: Budget,
    outer: int,
    inner: int,
    step_size: float,
    loss: Loss = cross_entropy,
    chunk_size: int = CHUNK,
) -> Tensor:
    """Return perturbations that raise each input's own loss, as YOPO-m-n does (Zhang et al. 2019).

    By Pontryagin's principle, the perturbation acts only through the first layer `f₀`. The attack ascends the
    Hamiltonian `H(x) = ⟨p, f₀(x)⟩` at a fixed co-state `p = ∇_{f₀} L`. Each of the `outer` iterations
    computes p by a pass through the whole network and then takes `inner` steps
    `x ← clamp(x₀ + Proj(x - x₀ + step_size·ε·e(∇x H)))`, which evaluate only the first layer. With `inner=1`
    the attack is PGD.

    Args:
        model: the model at θ; `f₀` is everything up to and including the first called module that has
            parameters of its own, and the activation after it; see `ends_in_activation`.
        inputs: `(batch, *input)`, within the budget's pixel range.
        labels: their targets, `(batch,)`.
        budget: the ball and the pixel range.
        outer: m, the number of passes through the network.
        inner: n, the number of steps after each pass.
        step_size: length of each step, as a share of ε.
        loss: a loss that sums over its batch.
        chunk_size: examples per chunk.

    Returns:
        Perturbations shaped like `inputs`, within the ball and the range.

    Raises:
        ValueError: the model calls no layer with parameters.

    >>> model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    >>> x, y, ball = torch.full((2, 4), 0.5), torch.tensor([0, 1]), Budget(0.25)
    >>> yopo(model, x, y, budget=ball, outer=5, inner=3, step_size=0.5).shape
    torch.Size([2, 4])
    """
    check_steps(min(outer, inner), step_size)
    refuse_coupled_examples(model)
    moved, activated = [], ends_in_activation(model, inputs[:1], labels[:1], loss)
    for x, y in chunks(inputs.detach(), labels, chunk_size):
        at = x
        for _ in range(outer):
            costate = costate_of(model, at, y, activated=activated, loss=loss)
            for _ in range(inner):
                uphill = gradient_at(partial(_hamiltonian, model, costate, activated), at)
                at = budget.perturb(x, at - x + step_size * budget.epsilon * budget.direction(uphill))
        moved.append(at - x)
    return torch.cat(moved)


def _hamiltonian(model: nn.Module, costate: Tensor, activated: bool, inputs: Tensor) -> Tensor:
    return (costate * first_layer(model, inputs, activated=activated)).sum()


@dataclass(kw_only=True)
class Yopo(MomentumOption):
    """YOPO-5-3: steps up the Hamiltonian of the first layer (Zhang et al. 2019; not in Table 1).

    The first layer is the first module with parameters and the activation after it, as in the authors' code
    for MNIST (a1600012888/YOPO-You-Only-Propagate-Once). Unlike that code, the attack starts at the input and
    not at a random point of the ball. The authors attack in the L∞ game; in the L2 game a step follows the
    unit vector.

    Args:
        outer: m, the number of passes through the whole network.
        inner: n, the number of steps through the first layer after each pass.
        step_size: length of each step, as a share of ε; a quarter is usual for YOPO-5-3. If the first layer
            is linear, that is, has no activation, the inner steps add up to one long PGD step.
    """

    outer: int = 5
    inner: int = 3
    step_size: float = STEP_SIZE

    def __post_init__(self) -> None:
        super().__post_init__()
        check_steps(min(self.outer, self.inner), self.step_size)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations after the last step."""
        fresh = yopo(
            view.model,
            batch.inputs,
            batch.labels,
            budget=view.budget,
            outer=self.outer,
            inner=self.inner,
            step_size=self.step_size,
            loss=view.loss,
        )
        return self.blended(fresh, batch, view)
