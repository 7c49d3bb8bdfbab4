"""What level k may do and what it must leave alone: its budget, the pixel range, its cost, the model."""

import pytest
import torch
from cases import (
    BATCH_NORM,
    CASES,
    CONV,
    NAMES,
    TANH_MLP,
    Case,
    Problem,
    ScalarRegression,
    squares,
    untouched,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from level_k_players import Play, gradient
from torch import Tensor, nn

from midstream import Budget, level_k_attack, level_k_defense, mixed_derivative, validation_gradient
from midstream.mathematics.budget import Norm
from midstream.mathematics.level_k import INFINITE
from midstream.mathematics.level_k_rules import steps_by_rule

both_norms = pytest.mark.parametrize("norm", ["l2", "linf"])

sizes = st.one_of(st.just(INFINITE), st.floats(1e-3, 1e3))


@settings(max_examples=30, deadline=None)
@given(
    play=st.builds(
        Play,
        norm=st.sampled_from(["l2", "linf"]),
        epsilon=st.floats(0, 4),
        opponent=st.floats(0, 4),
        steps=st.integers(1, 4),
        step_size=sizes,
        opponent_step_size=sizes,
        rate=st.floats(1e-6, 10),
    ),
    case=st.sampled_from([TANH_MLP, CONV]),
)
def test_the_budget_holds(play: Play, case: Case) -> None:
    p, budget = case.build(batch=2, validation=3), Budget(play.epsilon, play.norm)
    for move in (play.attack(p), play.defend(p)):
        assert (budget.size(move) <= play.epsilon * (1 + 1e-12) + 1e-14).all()
        arrived = budget.perturb(p.inputs, move)
        assert (budget.size(arrived - p.inputs) <= play.epsilon * (1 + 1e-12) + 1e-14).all()
        assert 0 <= arrived.min() <= arrived.max() <= 1


@both_norms
@pytest.mark.parametrize("sizes", [(INFINITE, INFINITE), (50.0, 20.0)])
def test_no_image_outside_the_pixel_range_is_ever_looked_at(norm: Norm, sizes: tuple[float, float]) -> None:
    p = CONV.build()
    v, seen = gradient(p), []

    def look(_: nn.Module, arguments: tuple[Tensor]) -> None:
        seen.append((float(arguments[0].min()), float(arguments[0].max())))

    mixed_derivative(p.model, p.inputs, p.labels, v)  # checks the derivatives, once
    p.model.register_forward_pre_hook(look)
    play = Play(norm, 5.0, 3.0, steps=4, step_size=sizes[0], opponent_step_size=sizes[1])
    moves = play.attack(p, v), play.defend(p, v)
    assert len(seen) == 7 + 4
    assert (min(low for low, _ in seen), max(high for _, high in seen)) == (0.0, 1.0)
    assert all((p.inputs + move).min() < -0.1 and (p.inputs + move).max() > 1.1 for move in moves)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_attacker_differentiates_twice_a_step_but_once_and_the_defender_once(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    p, calls = TANH_MLP.build(), 0

    def counted(*arguments: object, **options: object) -> Tensor:
        nonlocal calls
        calls += 1
        return mixed_derivative(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("midstream.mathematics.level_k.mixed_derivative", counted)
    Play(steps=steps).attack(p)
    assert calls == 2 * steps - 1
    Play(steps=steps).defend(p)
    assert calls == 2 * steps - 1 + steps


@both_norms
@pytest.mark.parametrize("size", [INFINITE, 1.0])
def test_a_zero_validation_gradient_gives_zero_and_never_nan(norm: Norm, size: float) -> None:
    p = CONV.build()
    v = {name: torch.zeros_like(value) for name, value in gradient(p).items()}
    play = Play(norm, step_size=size, opponent_step_size=size)
    for move in (play.attack(p, v), play.defend(p, v)):
        assert torch.equal(move, torch.zeros_like(p.inputs))


@pytest.mark.parametrize("size", [INFINITE, 0.4])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_each_example_is_played_for_itself(case: Case, size: float) -> None:
    p, play = case.build(), Play(step_size=size, opponent_step_size=size)
    order = torch.tensor([3, 1, 5, 0])
    some = Problem(p.model, p.inputs[order], p.labels[order], p.validation_inputs, p.validation_labels)
    for move, of_some in ((play.attack(p), play.attack(some)), (play.defend(p), play.defend(some))):
        assert torch.allclose(of_some, move[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_model_and_inputs_are_as_they_were(case: Case) -> None:
    p = case.build()
    if case is not BATCH_NORM:
        p.model.train()
    inputs = p.inputs.clone()
    with untouched(p.model):
        v = gradient(p)
        moves = Play(steps=2).attack(p, v), Play(steps=2).defend(p, v)
    assert torch.equal(p.inputs, inputs)
    assert not any(move.requires_grad for move in moves)


def test_a_loss_of_ones_own_is_the_one_that_is_followed() -> None:
    model, y = ScalarRegression(theta=-10.0, target=20.0), torch.ones(2)
    x, z = torch.tensor([[0.5], [-0.7]]).double(), torch.tensor([[50.0]]).double()
    v = validation_gradient(model, z, torch.ones(1), loss=squares)
    ball = Budget(epsilon=0.1, low=-1.0)
    attack = level_k_attack(
        model,
        x,
        y,
        validation_gradient=v,
        budget=ball,
        opponent=ball,
        steps=3,
        learning_rate=0.2,
        loss=squares,
    )
    defense = level_k_defense(
        model, x, y, validation_gradient=v, budget=ball, steps=3, learning_rate=0.2, loss=squares
    )
    assert torch.allclose(attack, -0.1 * x.sign())
    assert torch.allclose(defense, 0.1 * x.sign())


@pytest.mark.parametrize(
    ("play", "message"),
    [
        (Play(steps=0), "steps must be at least 1, not 0"),
        (Play(steps=-2), "steps must be at least 1, not -2"),
        (Play(step_size=0.0), "a step size must be above 0, not 0.0"),
        (Play(step_size=-1.0), "a step size must be above 0, not -1.0"),
        (Play(step_size=float("nan")), "a step size must be above 0, not nan"),
    ],
)
def test_steps_that_are_none(play: Play, message: str) -> None:
    p = TANH_MLP.build()
    for move in (play.attack, play.defend):
        with pytest.raises(ValueError, match=message):
            move(p)


def test_an_opponents_step_size_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"above 0, not -0\.5"):
        Play(opponent_step_size=-0.5).attack(TANH_MLP.build())


@pytest.mark.parametrize("smoothness", [float("nan"), float("inf"), 1e200, 1e100])
def test_an_m_that_gives_no_number_of_steps_is_refused(smoothness: float) -> None:
    with pytest.raises(ValueError, match=r"give no number of PGD steps at level 4; say how many"):
        steps_by_rule(4, smoothness=smoothness, epsilon=3.0, c=2.0)
