"""The ball and the pixel range hold for every perturbation; directions keep what a gradient says."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from midstream import Budget
from midstream.mathematics.budget import Norm

DTYPES = [torch.float32, torch.float64]
NORMS: list[Norm] = ["l2", "linf"]
ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-13}
SHAPE = (2, 1, 2, 3)

every_norm = pytest.mark.parametrize("norm", NORMS)


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    low = draw(st.sampled_from([0.0, -1.0, -0.5]))
    high = draw(st.sampled_from([1.0, 2.5]))
    epsilon = draw(st.one_of(st.just(0.0), st.floats(1e-6, 100)))
    return Budget(epsilon, draw(st.sampled_from(NORMS)), low, high)


@st.composite
def tensors(draw: st.DrawFn, low: float, high: float, dtype: torch.dtype) -> Tensor:
    values = draw(st.lists(st.floats(low, high), min_size=12, max_size=12))
    return torch.tensor(values, dtype=torch.float64).to(dtype).reshape(SHAPE)


@given(st.data(), budgets(), st.sampled_from(DTYPES))
@settings(deadline=None)
def test_a_perturbed_input_is_in_the_ball_and_in_the_range(
    data: st.DataObject, budget: Budget, dtype: torch.dtype
) -> None:
    x = data.draw(tensors(budget.low, budget.high, dtype))
    perturbation = data.draw(tensors(-1e6, 1e6, dtype))
    moved = budget.perturb(x, perturbation)
    assert moved.dtype == dtype
    assert moved.shape == x.shape
    assert (moved >= budget.low).all()
    assert (moved <= budget.high).all()
    # A sum is rounded at the size of its larger part, the pixel.
    assert (budget.size(moved - x) <= budget.epsilon * (1 + ROUNDING[dtype]) + ROUNDING[dtype]).all()
    # Never past what was asked for, and never the other way.
    asked = budget.project(perturbation)
    assert ((moved - x).abs() <= asked.abs() + ROUNDING[dtype]).all()
    assert ((moved - x) * asked >= -ROUNDING[dtype]).all()


@given(st.data(), budgets(), st.sampled_from(DTYPES))
@settings(deadline=None)
def test_projecting_twice_is_projecting_once(data: st.DataObject, budget: Budget, dtype: torch.dtype) -> None:
    once = budget.project(data.draw(tensors(-1e6, 1e6, dtype)))
    tolerance = ROUNDING[dtype]
    assert torch.allclose(budget.project(once), once, rtol=tolerance, atol=tolerance * budget.epsilon)


@given(st.data(), budgets(), st.sampled_from(DTYPES))
@settings(deadline=None)
def test_what_fits_is_left_as_it_is(data: st.DataObject, budget: Budget, dtype: torch.dtype) -> None:
    perturbation = data.draw(tensors(-1, 1, dtype))
    fits = budget.size(perturbation) <= budget.epsilon
    assume(fits.any())
    assert torch.equal(budget.project(perturbation)[fits], perturbation[fits])


@given(st.data(), budgets())
@settings(deadline=None)
def test_what_does_not_fit_goes_to_the_nearest_point_of_the_ball(data: st.DataObject, budget: Budget) -> None:
    perturbation = data.draw(tensors(-1e6, 1e6, torch.float64))
    projected = budget.project(perturbation)
    outside = budget.size(perturbation) > budget.epsilon
    assert torch.allclose(
        budget.size(projected)[outside], torch.full((int(outside.sum()),), budget.epsilon).double()
    )
    inside = budget.project(data.draw(tensors(-1, 1, torch.float64)))
    distance = (perturbation - projected).flatten(1).norm(dim=1)
    assert (distance <= (perturbation - inside).flatten(1).norm(dim=1) * (1 + 1e-9) + 1e-9).all()


@every_norm
def test_no_budget_is_no_move(norm: Norm) -> None:
    budget, x = Budget(0.0, norm), torch.rand(3, 4)
    assert torch.equal(budget.perturb(x, torch.randn(3, 4)), x)
    assert torch.equal(budget.perturb(x, torch.zeros(3, 4)), x)


@every_norm
def test_each_example_has_a_ball_of_its_own(norm: Norm) -> None:
    perturbation = torch.tensor([[0.3, 0.0], [30.0, 0.0]])
    assert Budget(1.0, norm).project(perturbation).tolist() == [[pytest.approx(0.3), 0.0], [1.0, 0.0]]


def test_a_perturbation_whose_square_overflows_still_gets_the_whole_budget() -> None:
    assert Budget(1.0).project(torch.tensor([[3e20, 4e20]])).tolist() == [pytest.approx([0.6, 0.8])]


@every_norm
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-45, 1e-30, 1.0, 1e30])
def test_a_direction_does_not_depend_on_the_scale(norm: Norm, dtype: torch.dtype, scale: float) -> None:
    gradient = torch.tensor([[3.0, -4.0, 0.0]], dtype=dtype) * scale
    expected = [0.6, -0.8, 0.0] if norm == "l2" else [1.0, -1.0, 0.0]
    tolerance = 0.2 if scale == 1e-45 and dtype == torch.float32 else 1e-6  # 3 and 4 as subnormals
    assert Budget(1.0, norm).direction(gradient)[0].tolist() == pytest.approx(expected, abs=tolerance)


@every_norm
def test_zero_has_no_direction(norm: Norm) -> None:
    gradient = torch.tensor([[0.0, 0.0], [0.0, 5.0]])
    assert Budget(1.0, norm).direction(gradient).tolist() == [[0.0, 0.0], [0.0, 1.0]]


@every_norm
def test_a_nan_stays_one_for_the_host_to_refuse(norm: Norm) -> None:
    direction = Budget(1.0, norm).direction(torch.tensor([[float("nan"), 1.0], [0.0, 2.0]]))
    assert direction[0].isnan().any()
    assert direction[1].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("epsilon", [-0.1, float("inf"), float("nan")])
def test_a_radius_that_is_none(epsilon: float) -> None:
    with pytest.raises(ValueError, match=f"epsilon must be finite and at least 0, not {epsilon}"):
        Budget(epsilon)


def test_an_unknown_norm() -> None:
    with pytest.raises(ValueError, match="norm must be 'l2' or 'linf', not 'l1'"):
        Budget(1.0, "l1")  # type: ignore[arg-type]


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (1.0, 1.0), (0.0, float("nan"))])
def test_an_empty_pixel_range(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="is empty"):
        Budget(1.0, low=low, high=high)
