"""Optimal contraction and the influence function as players, against a dense Hessian; what they report."""

from typing import Any, Literal

import pytest
import torch
from cases import CONV, LOGISTIC, Problem
from dense import flat, hessian, shaped
from views import BUDGET, RATE, view

from midstream import Batch, Gradient, level_1_attack, level_1_defense, plugins, validation_gradient
from midstream.plugins import PluginError

Side = Literal["attackers", "defenders"]
sides = pytest.mark.parametrize("side", ["attackers", "defenders"])
EXACT = "tolerance=1e-12,max_iterations=400"


def along(side: Side, p: Problem, u: Gradient) -> torch.Tensor:
    strategy = level_1_attack if side == "attackers" else level_1_defense
    return strategy(p.model, p.inputs, p.labels, validation_gradient=u, budget=BUDGET)


def play(side: Side, text: str, p: Problem) -> tuple[torch.Tensor, dict[str, float]]:
    seen = view(p)
    player: Any = plugins.make(side, text + ",beta=0" * (side == "attackers"))
    return player.perturb(Batch(0, p.inputs, p.labels), seen), seen.reports


def solved(p: Problem, damping: float) -> Gradient:
    """Return `(H + λ|Dval| I)⁻¹ v` by a dense solve."""
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)
    dense = hessian(p)
    shift = damping * len(p.validation_labels) * torch.eye(len(dense)).double()
    return shaped(torch.linalg.solve(dense + shift, flat(v)), v)


@sides
@pytest.mark.parametrize(("case", "damping"), [(LOGISTIC, 0.01), (CONV, 4.0)])
def test_influence_is_the_damped_dense_solution(side: Side, case: Any, damping: float) -> None:
    p = case.build()
    move, reported = play(side, f"influence,damping={damping},{EXACT}", p)
    torch.testing.assert_close(move, along(side, p, solved(p, damping)), rtol=1e-6, atol=1e-8)
    assert reported["cg_residual"] < 1e-11
    assert reported["cg_negative_curvature"] == 0


@sides
@pytest.mark.parametrize("rate", [None, 0.7])
def test_optimal_contraction_takes_the_batchs_step_off(side: Side, rate: float | None) -> None:
    p = CONV.build()
    eta = RATE if rate is None else rate
    option = "" if rate is None else f",learning_rate={rate}"
    move, _ = play(side, f"optimal-contraction,damping=4,{EXACT}{option}", p)
    step = validation_gradient(p.model, p.inputs, p.labels)
    u = {name: h - eta * step[name] for name, h in solved(p, 4.0).items()}
    torch.testing.assert_close(move, along(side, p, u), rtol=1e-6, atol=1e-8)
    influence, _ = play(side, f"influence,damping=4,{EXACT}", p)
    assert not torch.allclose(move, influence, rtol=1e-3)


@sides
def test_a_solution_that_was_not_reached_is_reported(side: Side) -> None:
    p = CONV.build()
    _, capped = play(side, "influence,damping=4,max_iterations=2", p)
    assert capped["cg_iterations"] == 2
    assert capped["cg_residual"] > 1e-3
    assert torch.linalg.eigvalsh(hessian(p))[0] < -0.01  # undamped, there is a direction to fall down
    _, undamped = play(side, "influence,damping=0,max_iterations=200", p)
    assert undamped["cg_negative_curvature"] == 1


@sides
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("damping=-1", "damping must be finite and at least 0, not -1.0"),
        ("max_iterations=0", "max_iterations must be at least 1, not 0"),
        ("tolerance=1", "tolerance must be above 0 and below 1, not 1.0"),
    ],
)
def test_settings_that_cannot_be_solved_with_are_refused(side: Side, option: str, message: str) -> None:
    for name in ("influence", "optimal-contraction"):
        with pytest.raises(PluginError, match=message):
            plugins.make(side, f"{name},{option}")
