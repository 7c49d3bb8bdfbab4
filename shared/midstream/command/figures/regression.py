"""The paper's synthetic game (section 5, A.2.1), by closed forms and by the general strategies.

The model has one parameter θ and the loss `L_θ(x) = (θx - θ*x)²`. A minibatch is one x, uniform in (0, 2];
there is one validation point z. A step is `θ ← θ - 2η(θ - θ*)x''²`: it multiplies `θ - θ*` by `1 - 2ηx''²`,
and overshoots if `2ηx''² > 1`.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from midstream import Budget, level_1_attack, level_1_defense, level_2_vector, validation_gradient
from midstream.mathematics.seeds import generator

Side = Literal["attacker", "defender"]

RATE = 0.2
EPSILON = 0.1
TARGET = 20.0
START = -10.0
VALIDATION_INPUT = 50.0
ITERATIONS = 30
LEVELS = (0, 1, 2)

# Inputs are not clamped: x is a number, not a pixel.
BALL = Budget(EPSILON, low=float("-inf"), high=float("inf"))
_MEAN_SQUARE = 4 / 3  # of x uniform in (0, 2]


class Regression(nn.Module):
    """The residual `θx - θ*x`; the ground truth is `y(x) = θ*x`."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Return the residuals of inputs `(batch, 1)`."""
        return self.theta * x - TARGET * x


def squared_error(residuals: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    """Return `Σ_x L_θ(x)`."""
    return residuals.square().sum()


def draw(runs: int, seed: int) -> Tensor:
    """Return each run's inputs, `(runs, iterations)`, uniform in (0, 2]."""
    rows = [
        torch.rand(ITERATIONS, dtype=torch.float64, generator=generator(seed, run, "figure 3"))
        for run in range(runs)
    ]
    return 2 * (1 - torch.stack(rows))


def mean_loss(residual: Tensor) -> Tensor:
    """Return the mean of `L_θ(x)` over x uniform in (0, 2], given the residual `θ - θ*`."""
    return _MEAN_SQUARE * residual.square()


def closed_form(level: int, side: Side, x: Tensor) -> Tensor:
    """Return a player's perturbation in closed form, elementwise (A.2.1).

    Level 1 attacks with `ε e(-x)` and defends with `ε e(x)`; level 2 uses `ε e(∓(1 - 2ηx²)x)`. On the real
    line, `e` is the sign.
    """
    along = (torch.zeros_like(x), x, (1 - 2 * RATE * x.square()) * x)[level]
    return (-EPSILON if side == "attacker" else EPSILON) * along.sign()


def general(level: int, side: Side, model: Regression, x: Tensor) -> Tensor:
    """Return the same perturbation, computed by the general strategies.

    Args:
        level: 0, 1 or 2.
        side: the side that moves.
        model: the model at θ_t.
        x: the received input, `(1, 1)`.
    """
    if level == 0:
        return torch.zeros_like(x)
    z, one = torch.full((1, 1), VALIDATION_INPUT, dtype=torch.float64), torch.ones(1)
    vector = validation_gradient(model, z, one, loss=squared_error)
    if level == 2:
        vector = level_2_vector(
            model, x, one, z, one, learning_rate=RATE, validation_gradient=vector, loss=squared_error
        )
    strategy = level_1_attack if side == "attacker" else level_1_defense
    return strategy(model, x, one, validation_gradient=vector, budget=BALL, loss=squared_error)


def moved(x: Tensor, attacker: int, defender: int) -> Tensor:
    """Return `x''`, after both players in closed form."""
    attacked = x + closed_form(attacker, "attacker", x)
    return attacked + closed_form(defender, "defender", attacked)


def play_closed_form(inputs: Tensor, attacker: int, defender: int) -> Tensor:
    """Return `θ - θ*` after every iteration, `(runs, iterations)`.

    The step factors are multiplied, so residuals far below the rounding of θ stay accurate.
    """
    return (START - TARGET) * (1 - 2 * RATE * moved(inputs, attacker, defender).square()).cumprod(1)


def play_general(inputs: Tensor, attacker: int, defender: int) -> Tensor:
    """Return θ after every iteration of one run, `(iterations,)`, by the general strategies.

    Args:
        inputs: the inputs of one run, `(iterations,)`.
        attacker: the attacker's level.
        defender: the defender's level.
    """
    model, path = Regression(START), []
    for x in inputs.reshape(-1, 1, 1):
        attacked = BALL.perturb(x, general(attacker, "attacker", model, x))
        defended = BALL.perturb(attacked, general(defender, "defender", model, attacked))
        path.append(step(model, defended))
    return torch.stack(path)


def step(model: Regression, x: Tensor) -> Tensor:
    """Take the step `θ ← θ - η ∇θ L_θ(x)` on a batch `(1, 1)`; return the new θ, a scalar."""
    gradient = validation_gradient(model, x, torch.ones(1), loss=squared_error)
    with torch.no_grad():
        model.theta.sub_(RATE * gradient["theta"])
    return model.theta.detach().clone()


def expected_loss(attacker: int, defender: int) -> float:
    """Return the exact mean test loss after all iterations: `(4/3)(θ_0 - θ*)² E[(1 - 2ηx''²)²]³⁰`.

    The moves of these levels depend only on x, so the factors are independent.
    """
    return _expected((1 - 2 * RATE * moved(_grid(), attacker, defender).square()).square())


def expected_loss_of_best_response(side: Side, opponent: int) -> float:
    """Return the mean test loss if one side plays its best response to the other side's level.

    A move changes only the step's factor, so the best move of each step is also the best of the game. It is
    found by a search over a fine grid in the budget.
    """
    x = _grid(20_000)
    tries = EPSILON * torch.linspace(-1, 1, 401, dtype=torch.float64)[:, None]
    if side == "attacker":
        attacked = x + tries
        moved_inputs = attacked + closed_form(opponent, "defender", attacked)
        return _expected((1 - 2 * RATE * moved_inputs.square()).square().amax(0))
    moved_inputs = x + closed_form(opponent, "attacker", x) + tries
    return _expected((1 - 2 * RATE * moved_inputs.square()).square().amin(0))


def _expected(squared_factors: Tensor) -> float:
    start = mean_loss(torch.tensor(START - TARGET, dtype=torch.float64))
    return (start * squared_factors.mean() ** ITERATIONS).item()


def _grid(points: int = 1_000_000) -> Tensor:
    """Return the midpoints of equal subintervals of (0, 2]."""
    return (torch.arange(points, dtype=torch.float64) + 0.5) * (2 / points)
