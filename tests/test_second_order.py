"""Level 2 in closed form, optimal contraction and influence functions against dense formulas and autograd."""

import pytest
import torch
from cases import CASES, CONV, LOGISTIC, NAMES, TANH_MLP, Case, Problem, ScalarRegression, squares
from dense import batch_gradient, flat, hessian, utility_gradient
from torch import Tensor

from midstream import (
    Budget,
    Gradient,
    influence_vector,
    level_1_attack,
    level_1_defense,
    level_2_vector,
    mixed_derivative,
    optimal_contraction_vector,
    utility,
    validation_gradient,
)
from midstream.mathematics.derivatives.hessian import Solution

every_case = pytest.mark.parametrize("case", CASES, ids=NAMES)
DAMPING = 0.05


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    assert expected.norm() > 0
    assert (actual - expected).norm() <= tolerance * expected.norm()


def gradient(p: Problem) -> Gradient:
    return validation_gradient(p.model, p.validation_inputs, p.validation_labels)


def level_2(p: Problem, learning_rate: float) -> Gradient:
    return level_2_vector(
        p.model,
        p.inputs,
        p.labels,
        p.validation_inputs,
        p.validation_labels,
        learning_rate=learning_rate,
        validation_gradient=gradient(p),
    )


def influence(p: Problem, *, cap: int = 100) -> Solution:
    return influence_vector(
        p.model,
        p.validation_inputs,
        p.validation_labels,
        validation_gradient=gradient(p),
        damping=DAMPING,
        max_iterations=cap,
        tolerance=1e-12,
    )


def damped(p: Problem) -> Tensor:
    matrix = hessian(p)
    return matrix + DAMPING * torch.eye(len(matrix)).double()


@every_case
def test_level_2_is_its_dense_formula(case: Case) -> None:
    p = case.build()
    step = batch_gradient(p, p.inputs).detach()
    close(flat(level_2(p, 0.3)), flat(gradient(p)) - 0.3 * hessian(p) @ step)


def test_the_influence_function_is_the_dense_solution() -> None:
    p = LOGISTIC.build()
    found = influence(p)
    assert not found.negative_curvature
    assert influence(p, cap=2).iterations == 2
    close(flat(found.vector), torch.linalg.solve(damped(p), flat(gradient(p))), 1e-9)


def test_optimal_contraction_is_the_dense_solution_less_the_step() -> None:
    p = LOGISTIC.build()
    found = optimal_contraction_vector(p.model, p.inputs, p.labels, influence(p).vector, learning_rate=0.3)
    step = batch_gradient(p, p.inputs).detach()
    close(flat(found), torch.linalg.solve(damped(p), flat(gradient(p))) - 0.3 * step, 1e-9)


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("case", [LOGISTIC, TANH_MLP], ids=lambda case: case.name)
def test_contraction_and_influence_differ_by_half_the_gradient_of_the_squared_norm(
    case: Case, batch: int
) -> None:
    p = case.build(batch=batch)
    h = {name: torch.ones_like(value) for name, value in p.model.named_parameters()}  # any vector will do
    contraction = optimal_contraction_vector(p.model, p.inputs, p.labels, h, learning_rate=0.3)
    moved = mixed_derivative(p.model, p.inputs, p.labels, contraction)
    x = p.inputs.clone().requires_grad_()
    slope = torch.autograd.grad(batch_gradient(p, x).square().sum(), x)[0]
    close(mixed_derivative(p.model, p.inputs, p.labels, h) - moved, 0.3 / 2 * slope, 1e-10)


@every_case
def test_level_2_follows_the_gradient_of_the_utility_to_second_order(case: Case) -> None:
    p, rate = case.build(), 0.3
    v, matrix = flat(gradient(p)), hessian(p)
    x = p.inputs.clone().requires_grad_()
    step = -rate * batch_gradient(p, x)
    expected = torch.autograd.grad(v @ step + step @ matrix @ step / 2, x)[0]
    close(-rate * mixed_derivative(p.model, p.inputs, p.labels, level_2(p, rate)), expected, 1e-11)


def direction_error(p: Problem, vector: Gradient, rate: float) -> float:
    ball = Budget(epsilon=1.0)
    exact = ball.direction(utility_gradient(p, rate))
    move = level_1_attack(p.model, p.inputs, p.labels, validation_gradient=vector, budget=ball)
    return float((exact - move).norm())


@every_case
def test_the_error_is_of_first_order_in_the_step_at_level_1_and_of_second_at_level_2(case: Case) -> None:
    p, large, small = case.build(), 1e-5, 1e-6
    first = [direction_error(p, gradient(p), rate) for rate in (large, small)]
    second = [direction_error(p, level_2(p, rate), rate) for rate in (large, small)]
    assert first[0] / first[1] == pytest.approx(10, rel=0.05)
    assert second[0] / second[1] == pytest.approx(100, rel=0.05)
    assert second[0] < first[0] / 100
    assert second[1] < 1e-7


THETA, TARGET, Z, RATE = -10.0, 20.0, 50.0, 0.2
BALL = Budget(epsilon=0.1, low=0.0, high=2.0)


def regression(x: float, rate: float = RATE) -> tuple[ScalarRegression, Tensor, Tensor, Gradient, Gradient]:
    """Return the model, the batch of one, Dval, `v`, and `v` as level 2 expects it."""
    model, z = ScalarRegression(THETA, TARGET), torch.tensor([[Z]]).double()
    inputs, y = torch.tensor([[x]], dtype=torch.float64), torch.ones(1)
    v = validation_gradient(model, z, y, loss=squares)
    u = level_2_vector(model, inputs, y, z, y, learning_rate=rate, validation_gradient=v, loss=squares)
    return model, inputs, z, v, u


INPUTS = [0.05, 0.7, 1.5, 1.58, 1.59, 1.9]  # the step overshoots past √(1 / 2η) = 1.5811


@pytest.mark.parametrize("x", INPUTS)
def test_the_vectors_of_scalar_regression_are_their_closed_forms(x: float) -> None:
    model, inputs, z, v, u = regression(x)
    shrunk = 1 - 2 * RATE * x**2
    assert u["theta"].item() == pytest.approx(2 * (THETA - TARGET) * Z**2 * shrunk)
    solved = influence_vector(model, z, torch.ones(1), validation_gradient=v, damping=0.0, loss=squares)
    assert solved.vector["theta"].item() == pytest.approx(THETA - TARGET)  # θ - H⁻¹v is θ*, one Newton step
    contraction = optimal_contraction_vector(
        model, inputs, torch.ones(1), solved.vector, learning_rate=RATE, loss=squares
    )
    assert contraction["theta"].item() == pytest.approx((THETA - TARGET) * shrunk)


@pytest.mark.parametrize("x", INPUTS)
def test_in_scalar_regression_level_2_differs_from_level_1_exactly_where_the_step_overshoots(
    x: float,
) -> None:
    model, inputs, z, v, u = regression(x)
    y = torch.ones(1)

    def gain(perturbation: Tensor) -> float:
        moved = inputs + perturbation
        return float(utility(model, moved, y, z, y, learning_rate=RATE, loss=squares))

    undershoots = 1 if 2 * RATE * x**2 < 1 else -1
    for level_1, sign in ((level_1_attack, -1), (level_1_defense, 1)):
        first, second = (
            level_1(model, inputs, y, validation_gradient=w, budget=BALL, loss=squares) for w in (v, u)
        )
        assert first.item() == pytest.approx(sign * 0.1)
        assert second.item() == pytest.approx(sign * undershoots * 0.1)
        # In the limit of small moves only level 2 moves the right way.
        assert gain(1e-4 * second) * sign < gain(torch.zeros(1, 1).double()) * sign
        assert (gain(1e-4 * first) * sign < gain(torch.zeros(1, 1).double()) * sign) == (undershoots == 1)


def test_on_the_brink_of_overshooting_there_is_nothing_to_gain() -> None:
    model, inputs, _, _, u = regression(1.0, rate=0.5)
    assert u["theta"].item() == 0
    move = level_1_attack(model, inputs, torch.ones(1), validation_gradient=u, budget=BALL, loss=squares)
    assert move.item() == 0


def test_validation_bytes_are_read_as_pixels() -> None:
    p = CONV.build(torch.float32)
    stored = (255 * p.validation_inputs).to(torch.uint8)
    of_bytes, of_pixels = (
        level_2(Problem(p.model, p.inputs, p.labels, z, p.validation_labels), 0.1)
        for z in (stored, stored / 255)
    )
    close(flat(of_bytes), flat(of_pixels), 1e-6)
