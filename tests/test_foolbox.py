"""Our projected gradient steps against Foolbox's, on the same gradients."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import CONV, TANH_MLP, Problem
from eagerpy.astensor import astensor
from eagerpy.tensor.tensor import Tensor as EagerTensor
from torch import Tensor

from midstream import Budget, level_k_attack, level_k_defense, mixed_derivative, validation_gradient
from midstream.mathematics.budget import Norm

with warnings.catch_warnings():
    # One of its attacks imports a function by the name that scipy had for it earlier.
    warnings.filterwarnings("ignore", message="Please import `gaussian_filter`", category=DeprecationWarning)
    from foolbox.attacks import L2PGD, LinfPGD
    from foolbox.criteria import Misclassification
    from foolbox.models.pytorch import PyTorchModel

RATE = 0.1
WIDE = (-100.0, 100.0)  # where a clamp acts, Foolbox keeps its perturbation clamped; we do not

Field = Callable[[Tensor], Tensor]
every_norm = pytest.mark.parametrize("norm", ["l2", "linf"])


def uphill(p: Problem) -> Field:
    """Return `x → g(x) = -η B_x v`, the gradient that level k follows."""
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    return lambda x: -RATE * mixed_derivative(p.model, x, p.labels, v)


def theirs(p: Problem, field: Field, budget: Budget, sizes: list[float], *, raw: bool) -> Tensor:
    """Return Foolbox's perturbations, up a field; its steps are along `g` if raw, else along `e(g)`."""
    kind: Any = L2PGD if budget.norm == "l2" else LinfPGD
    left = iter(sizes)

    class Ascent(kind):  # type: ignore[misc]
        def value_and_grad(self, loss_fn: object, x: EagerTensor) -> tuple[EagerTensor, EagerTensor]:  # noqa: ARG002
            return x.sum(), astensor(field(x.raw))

        def normalize(self, gradients: EagerTensor, **options: Any) -> Any:
            return next(left) * (gradients if raw else super().normalize(gradients, **options))

    model = PyTorchModel(p.model.eval(), bounds=(budget.low, budget.high), device="cpu")
    attack = Ascent(abs_stepsize=1.0, steps=len(sizes), random_start=False)
    moved = attack.run(model, p.inputs, Misclassification(p.labels), epsilon=budget.epsilon)
    perturbation: Tensor = moved - p.inputs
    return perturbation


def ours(p: Problem, side: str, budget: Budget, *, steps: int, step_size: float, share: float) -> Tensor:
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    if side == "defense":
        return level_k_defense(
            p.model,
            p.inputs,
            p.labels,
            validation_gradient=v,
            budget=budget,
            steps=steps,
            learning_rate=RATE,
            step_size=step_size,
            share=share,
        )
    return level_k_attack(
        p.model,
        p.inputs,
        p.labels,
        validation_gradient=v,
        budget=budget,
        opponent=Budget(0.0, budget.norm, budget.low, budget.high),  # one that answers nothing
        steps=steps,
        learning_rate=RATE,
        step_size=step_size,
        share=share,
    )


@every_norm
@pytest.mark.parametrize("side", ["attack", "defense"])
@pytest.mark.parametrize(
    ("epsilon", "step_size", "at_the_border"),
    [(50.0, 0.5, {0}), (0.5, 2.0, {1, 2, 3, 4, 5, 6}), (0.3, 1e4, {6})],
)
def test_finite_steps(
    norm: Norm, side: str, epsilon: float, step_size: float, at_the_border: set[int]
) -> None:
    p, budget = CONV.build(), Budget(epsilon, norm, *WIDE)
    field = uphill(p)
    towards = field if side == "attack" else lambda x: -field(x)
    expected = theirs(p, towards, budget, 5 * [step_size], raw=True)
    found = ours(p, side, budget, steps=5, step_size=step_size, share=math.inf)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)
    ended = int((budget.size(found) > epsilon * (1 - 1e-9)).sum())
    assert ended in at_the_border


@every_norm
@pytest.mark.parametrize("side", ["attack", "defense"])
@pytest.mark.parametrize("share", [math.inf, 0.25])
def test_infinite_steps_are_the_limit_of_theirs(norm: Norm, side: str, share: float) -> None:
    p, budget = TANH_MLP.build(), Budget(0.5, norm, *WIDE)  # smooth: no pixel's gradient is exactly zero
    field = uphill(p)
    towards = field if side == "attack" else lambda x: -field(x)
    later = 1e8 if math.isinf(share) else share * budget.epsilon
    expected = theirs(p, towards, budget, [1e8, later, later], raw=False)
    found = ours(p, side, budget, steps=3, step_size=math.inf, share=share)
    assert torch.allclose(found, expected, atol=1e-6)


@every_norm
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_projection_alone(norm: Norm, scale: float) -> None:
    perturbation = scale * torch.randn(40, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    attack: Any = (L2PGD if norm == "l2" else LinfPGD)()
    origin = astensor(torch.zeros_like(perturbation))
    expected = attack.project(astensor(perturbation), origin, 1.7).raw
    assert torch.allclose(Budget(1.7, norm).project(perturbation), expected, rtol=1e-12, atol=0)
