"""Conjugate gradients against dense solves and against SciPy, and what they say where they fail."""

import math
from collections.abc import Callable

import pytest
import torch
from cases import CASES, LOGISTIC, Case
from dense import flat, hessian, shaped
from scipy.sparse.linalg import cg
from torch import Tensor

from midstream import Gradient, conjugate_gradients, influence_vector, validation_gradient
from midstream.mathematics.derivatives.hessian import Solution

SIZE = 12
LIKE = {"weight": torch.zeros(2, 3), "bias": torch.zeros(SIZE - 6)}
INDEFINITE = [case for case in CASES if case is not LOGISTIC]


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive_definite(condition: float, seed: int) -> Tensor:
    """Return a matrix with eigenvalues from 1 to `condition`."""
    rotation: Tensor = torch.linalg.qr(drawn(SIZE, SIZE, seed=seed))[0]
    eigenvalues = torch.logspace(0, math.log10(condition), SIZE, dtype=torch.float64)
    return rotation @ eigenvalues.diag() @ rotation.T


def times(matrix: Tensor) -> Callable[[Gradient], Gradient]:
    return lambda u: shaped(matrix @ flat(u), u)


def solve(
    matrix: Tensor,
    right: Tensor,
    *,
    damping: float = 0.0,
    max_iterations: int = 200,
    tolerance: float = 1e-12,
) -> Solution:
    like = LIKE if len(right) == SIZE else {"all": right}
    return conjugate_gradients(
        times(matrix),
        shaped(right, like),
        damping=damping,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )


def left_over(matrix: Tensor, right: Tensor, found: Solution, damping: float = 0.0) -> float:
    x = flat(found.vector)
    return float((matrix @ x + damping * x - right).norm() / right.norm())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("damping", [0.0, 0.5, 20.0])
def test_a_positive_definite_system_is_solved(seed: int, damping: float) -> None:
    matrix, right = positive_definite(100.0, seed), drawn(SIZE, seed=seed + 100)
    found = solve(matrix, right, damping=damping)
    expected = torch.linalg.solve(matrix + damping * torch.eye(SIZE).double(), right)
    assert (flat(found.vector) - expected).norm() <= 1e-9 * expected.norm()
    assert found.vector.keys() == LIKE.keys()
    assert not found.negative_curvature
    assert found.residual <= 1e-12
    assert found.iterations < 4 * SIZE


@pytest.mark.parametrize("iterations", range(1, SIZE + 1))
def test_every_iterate_is_that_of_scipy(iterations: int) -> None:
    matrix, right = positive_definite(30.0, 7), drawn(SIZE, seed=107)
    found = solve(matrix, right, max_iterations=iterations, tolerance=0.0)
    expected, _ = cg(matrix.numpy(), right.numpy(), rtol=0.0, maxiter=iterations)
    assert flat(found.vector).numpy() == pytest.approx(expected, rel=1e-8, abs=1e-12)
    assert found.iterations == iterations


@pytest.mark.parametrize("damping", [0.0, 3.0])
def test_the_residual_is_the_true_one_at_every_cap(damping: float) -> None:
    matrix, right = positive_definite(1e3, 3), drawn(SIZE, seed=103)
    for cap in range(1, SIZE):
        found = solve(matrix, right, damping=damping, max_iterations=cap, tolerance=1e-6)
        assert found.residual == pytest.approx(left_over(matrix, right, found, damping), rel=1e-6)
        assert found.iterations == cap
        assert not found.negative_curvature
        assert found.residual > 1e-6


@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-4])
def test_it_stops_at_the_first_iterate_within_the_tolerance(tolerance: float) -> None:
    matrix, right = positive_definite(100.0, 4), drawn(SIZE, seed=104)
    found = solve(matrix, right, tolerance=tolerance)
    before = solve(matrix, right, tolerance=tolerance, max_iterations=found.iterations - 1)
    assert found.residual <= tolerance < before.residual
    assert left_over(matrix, right, found) <= tolerance


def test_as_many_products_as_iterations() -> None:
    matrix, taken = positive_definite(100.0, 5), 0

    def product(u: Gradient) -> Gradient:
        nonlocal taken
        taken += 1
        return times(matrix)(u)

    right = shaped(drawn(SIZE, seed=105), LIKE)
    found = conjugate_gradients(product, right, damping=0.0, max_iterations=6, tolerance=1e-12)
    assert found.iterations == taken == 6


def test_the_caller_keeps_its_vector() -> None:
    matrix, right = positive_definite(10.0, 6), shaped(drawn(SIZE, seed=106), LIKE)
    before = flat(right).clone()
    conjugate_gradients(times(matrix), right, damping=0.1)
    assert torch.equal(flat(right), before)


def test_zero_on_the_right_is_zero_at_once() -> None:
    found = solve(positive_definite(10.0, 1), torch.zeros(SIZE).double())
    assert not flat(found.vector).any()
    assert (found.residual, found.iterations, found.negative_curvature) == (0.0, 0, False)


@pytest.mark.parametrize("curvature", [-3.0, 0.0])
def test_negative_curvature_at_the_first_direction_leaves_the_right_hand_side(curvature: float) -> None:
    matrix = torch.diag(torch.tensor([curvature, 5.0]).double())
    right = torch.tensor([2.0, 0.0]).double()
    found = solve(matrix, right)
    assert torch.equal(flat(found.vector), right)
    assert (found.iterations, found.negative_curvature) == (1, True)
    assert found.residual == pytest.approx(abs(curvature - 1)) == left_over(matrix, right, found)


def test_negative_curvature_later_leaves_the_last_iterate() -> None:
    matrix = torch.diag(torch.tensor([4.0, 3.0, -1.0]).double())
    right = torch.tensor([1.0, 1.0, 1.0]).double()
    found = solve(matrix, right)
    assert found.negative_curvature
    assert found.iterations == 2
    assert torch.allclose(flat(found.vector), right * 3 / 6)  # steepest descent's one step: bᵀb / bᵀAb
    assert found.residual == pytest.approx(left_over(matrix, right, found))


def test_damping_past_the_most_negative_eigenvalue_cures_it() -> None:
    matrix = torch.diag(torch.tensor([4.0, 3.0, -1.0]).double())
    right = torch.tensor([1.0, 1.0, 1.0]).double()
    assert solve(matrix, right, damping=0.9).negative_curvature
    found = solve(matrix, right, damping=1.1)
    assert not found.negative_curvature
    assert torch.allclose(flat(found.vector), 1 / (torch.tensor([4.0, 3.0, -1.0]).double() + 1.1))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_right_hand_side_does_not_matter(scale: float) -> None:
    matrix, right = positive_definite(10.0, 2).float(), drawn(SIZE, seed=102).float()
    found = solve(matrix, scale * right, tolerance=1e-3)
    expected = solve(matrix, right, tolerance=1e-3)
    assert found.iterations == expected.iterations > 1
    assert torch.allclose(flat(found.vector) / scale, flat(expected.vector), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", INDEFINITE, ids=lambda case: case.name)
def test_a_network_needs_damping_by_about_its_most_negative_eigenvalue(case: Case) -> None:
    p = case.build()
    matrix = hessian(p)
    lowest = float(torch.linalg.eigvalsh(matrix)[0])
    assert lowest < -1.0
    v = validation_gradient(p.model, p.validation_inputs, p.validation_labels)

    def solved(damping: float) -> Solution:
        return influence_vector(
            p.model,
            p.validation_inputs,
            p.validation_labels,
            validation_gradient=v,
            damping=damping,
            max_iterations=len(matrix),
        )

    undamped = solved(0.0)
    assert undamped.negative_curvature
    assert undamped.residual > 0.1
    damped = solved(-1.1 * lowest)
    assert not damped.negative_curvature
    assert damped.residual <= 1e-3
    assert left_over(matrix, flat(v), damped, -1.1 * lowest) == pytest.approx(damped.residual, rel=1e-6)
