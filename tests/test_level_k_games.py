"""Level k in games that can be solved: Theorem 3 on quadratic utilities, and a game in the plane on a grid.

Their loss is linear in θ, so that the utility of a step is exactly `U_t(x) = η q(x)`, for any function q.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from midstream import (
    Budget,
    Gradient,
    level_1_attack,
    level_1_defense,
    level_k_attack,
    level_k_defense,
    utility,
)
from midstream.mathematics.level_k import INFINITE, SHARE

RATE = 0.25
V: Gradient = {"theta": torch.tensor(1.0).double()}
Quality = Callable[[Tensor], Tensor]


class LinearInTheta(nn.Module):
    """`-θ q(x)`, the sum of which is the loss."""

    def __init__(self, q: Quality) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
        self.q = q

    def forward(self, x: Tensor) -> Tensor:
        return -self.theta * self.q(x)


def total(outputs: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    return outputs.sum()


def ball(epsilon: float) -> Budget:
    return Budget(epsilon, low=-100.0, high=100.0)


def no_labels(x: Tensor) -> Tensor:
    return torch.zeros(len(x))


def test_the_utility_of_these_games_is_what_they_say() -> None:
    model = LinearInTheta(lambda x: (x[:, 0] - 2 * x[:, 1]).sin())
    x, z = torch.rand(1, 2).double(), torch.rand(4, 2).double()
    v = -model.q(z).sum()
    found = utility(model, x, no_labels(x), z, no_labels(z), learning_rate=RATE, loss=total)
    assert found.item() == pytest.approx(RATE * model.q(x).item() * v.item())


EIGENVALUES = torch.tensor([4.0, 1.0, 0.5, 0.25], dtype=torch.float64)
EPSILON = 0.7


def convex(multiplier: float, length: float, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return A, c, x' and σ* where `½(x - c)ᵀA(x - c)` is least at `x' + σ*` in the ball round x'.

    `multiplier` is what the constraint ‖σ‖ ≤ ε costs there: A (x' + σ* - c) = -multiplier σ*.
    """
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    matrix = rotation @ EIGENVALUES.diag() @ rotation.T
    arrived, best = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    best = length * best / best.norm()
    return matrix, arrived + best + torch.linalg.solve(matrix, multiplier * best), arrived, best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("multiplier", "length"), [(0.0, 0.5), (0.0, EPSILON), (0.05, EPSILON), (3.0, EPSILON)]
)
def test_the_defenders_pgd_converges_as_theorem_3_says(multiplier: float, length: float, seed: int) -> None:
    matrix, centre, arrived, best = convex(multiplier, length, seed)
    model = LinearInTheta(lambda x: ((x - centre) @ matrix * (x - centre)).sum(dim=1) / 2)
    smoothness, convexity = RATE * float(EIGENVALUES[0]), RATE * float(EIGENVALUES[-1])
    step_size = 1 / smoothness
    lowest = RATE * float(model.q((arrived + best)[None]))
    x, errors = arrived[None], []
    for i in (1, 2, 3, 5, 9, 30):
        answer = level_k_defense(
            model,
            x,
            no_labels(x),
            validation_gradient=V,
            budget=ball(EPSILON),
            steps=i,
            learning_rate=RATE,
            step_size=step_size,
            loss=total,
        )
        error = RATE * float(model.q(x + answer)) - lowest
        assert -1e-12 < error <= 2 * EPSILON**2 / (step_size * i)
        distance = float((answer[0] - best).norm()) / EPSILON
        assert distance <= math.exp(-convexity * step_size * i)
        errors.append(error)
    assert errors[-1] < errors[0]


def plane(x: Tensor) -> Tensor:
    """Return a saddle on a slope: its gradient turns with `x`, and vanishes nowhere near [0, 1]²."""
    return x[:, 0] + 0.5 * x[:, 1] + x[:, 0] * x[:, 1]


ATTACKER, DEFENDER = ball(0.6), ball(0.2)
START = torch.cartesian_prod(torch.linspace(0, 1, 3), torch.linspace(0, 1, 3)).double()


def disc(radius: float, rings: int, directions: int) -> Tensor:
    angles = torch.linspace(0, 2 * math.pi, directions + 1)[:-1].double()
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    lengths = torch.linspace(0, radius, rings).double()
    return (lengths[:, None, None] * circle).reshape(-1, 2)


def everywhere(x: Tensor, moves: Tensor, value: Quality) -> Tensor:
    """Return the value after each move of each input, `(inputs, moves)`."""
    return value((x[:, None] + moves).reshape(-1, 2)).reshape(len(x), len(moves))


def against_the_best_response(x: Tensor) -> Tensor:
    return everywhere(x, disc(DEFENDER.epsilon, 3, 180), plane).amin(dim=1)


def against_level_1(x: Tensor) -> Tensor:
    model = LinearInTheta(plane)
    answer = level_1_defense(model, x, no_labels(x), validation_gradient=V, budget=DEFENDER, loss=total)
    return plane(x + answer)


def shortfall(attack: Tensor, value: Quality) -> float:
    """Return by how much an attack falls short of the grid's best, in shares of what the best gains."""
    best = everywhere(START, disc(ATTACKER.epsilon, 4, 360), value).amax(dim=1)
    return float(((best - value(START + attack)) / (best - value(START))).max())


def level_k(steps: int, **sizes: Any) -> Tensor:
    return level_k_attack(
        LinearInTheta(plane),
        START,
        no_labels(START),
        validation_gradient=V,
        budget=ATTACKER,
        opponent=DEFENDER,
        steps=steps,
        learning_rate=RATE,
        loss=total,
        **sizes,
    )


@pytest.mark.slow
@pytest.mark.parametrize("share", [SHARE, INFINITE])
@pytest.mark.parametrize("value", [against_level_1, against_the_best_response])
def test_deeper_reasoning_comes_closer_to_the_solution_of_the_game(value: Quality, share: float) -> None:
    first = level_1_attack(
        LinearInTheta(plane),
        START,
        no_labels(START),
        validation_gradient=V,
        budget=ATTACKER,
        loss=total,
    )
    attacks = (first, level_k(2, share=share), level_k(7, share=share))
    falls_short = [shortfall(attack, value) for attack in attacks]
    assert falls_short[0] > 0.01 > falls_short[1]  # an honest linearisation, the better the deeper
    assert falls_short[2] < 0.001
    assert shortfall(level_k(100, step_size=0.2, opponent_step_size=0.2), value) < 0.001
    assert shortfall(torch.zeros_like(START), value) == pytest.approx(1)


def test_the_defenders_answer_is_the_best_response() -> None:
    model, x = LinearInTheta(plane), START
    for steps, share, allowed in ((1, SHARE, 0.02), (4, INFINITE, 1e-4), (4, SHARE, 4e-3), (30, SHARE, 1e-4)):
        answer = level_k_defense(
            model,
            x,
            no_labels(x),
            validation_gradient=V,
            budget=DEFENDER,
            steps=steps,
            learning_rate=RATE,
            share=share,
            loss=total,
        )
        best = against_the_best_response(x)
        assert ((plane(x + answer) - best) / (plane(x) - best)).max() < allowed
