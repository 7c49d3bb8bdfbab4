"""The synthetic game of figure 3: closed forms, general strategies, and what the figure says of them."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from midstream import level_k_attack, validation_gradient
from midstream.command.figures import figure_3, regression
from midstream.command.main import cli
from midstream.mathematics.optimizers.training_step import Sgd
from midstream.mathematics.unrolled import unrolled_utility_gradient

INPUTS = [0.05, 0.7, 1.5, 1.58, 1.59, 1.9, 2.0]
PLAYERS = [(side, level) for side in ("attacker", "defender") for level in regression.LEVELS]


@pytest.mark.parametrize(("side", "level"), PLAYERS)
@pytest.mark.parametrize("theta", [-10.0, 19.5, 31.0])
def test_the_closed_forms_are_what_the_general_strategies_do(
    side: regression.Side, level: int, theta: float
) -> None:
    model = regression.Regression(theta)
    for x in (*INPUTS, *(-x for x in INPUTS)):
        batch = torch.tensor([[x]], dtype=torch.float64)
        general = regression.general(level, side, model, batch)
        assert general.item() == pytest.approx(regression.closed_form(level, side, batch).item(), rel=1e-14)
        assert abs(general.item()) == pytest.approx(regression.EPSILON if level else 0)


@pytest.mark.parametrize(
    ("attacker", "defender"), [(0, 0), pytest.param(1, 2, marks=pytest.mark.slow), (2, 1)]
)
def test_whole_games_take_the_same_path(attacker: int, defender: int) -> None:
    inputs = regression.draw(2, seed=5)
    residuals = regression.play_closed_form(inputs, attacker, defender)
    for row, residual in zip(inputs, residuals, strict=True):
        thetas = regression.play_general(row, attacker, defender)
        assert torch.allclose(thetas, regression.TARGET + residual, rtol=0, atol=1e-12)
        assert not torch.allclose(thetas, regression.TARGET + residual.flip(0), rtol=0, atol=1e-12)


def test_inputs_are_uniform_above_0_up_to_2_and_a_run_keeps_its_own() -> None:
    inputs = regression.draw(400, seed=0)
    assert inputs.shape == (400, regression.ITERATIONS)
    assert inputs.min() > 0
    assert inputs.max() <= 2
    assert inputs.mean().item() == pytest.approx(1, abs=0.02)
    assert inputs.square().mean().item() == pytest.approx(4 / 3, abs=0.04)
    assert torch.equal(regression.draw(3, seed=0), inputs[:3])
    assert not torch.equal(regression.draw(3, seed=1), inputs[:3])


def test_the_expected_loss_of_nobody_against_nobody_is_its_integral() -> None:
    factor = 1 - 4 * 0.2 * 4 / 3 + 4 * 0.2**2 * 16 / 5  # E[(1 - 2ηx²)²] from E[x²] and E[x⁴]
    assert regression.expected_loss(0, 0) == pytest.approx(4 / 3 * 30**2 * factor**30, rel=1e-6)


@pytest.mark.parametrize(("attacker", "defender"), [(1, 0), (2, 1), (2, 2)])
def test_one_step_of_many_runs_has_the_expected_loss(attacker: int, defender: int) -> None:
    x = regression.draw(20_000, seed=0)[:, :1]
    after_one = regression.mean_loss(regression.play_closed_form(x, attacker, defender)).mean().item()
    expected = (regression.expected_loss(attacker, defender) / 1200) ** (1 / 30) * 1200
    assert after_one == pytest.approx(expected, rel=0.02)


def test_level_2_against_level_2_is_a_saddle_and_nearly_the_best_response() -> None:
    loss = {(a, d): regression.expected_loss(a, d) for a in regression.LEVELS for d in regression.LEVELS}
    for level in regression.LEVELS:
        assert loss[level, 2] <= loss[2, 2] <= loss[2, level]
    best_attack = regression.expected_loss_of_best_response("attacker", 2)
    best_defense = regression.expected_loss_of_best_response("defender", 2)
    assert best_defense <= loss[2, 2] <= best_attack
    assert best_attack < 1.15 * loss[2, 2]  # level 2 is exact only as ε goes to 0
    assert best_defense > 0.98 * loss[2, 2]


@pytest.mark.parametrize("x", [1.2, 1.8])
def test_nested_pgd_follows_the_first_order_and_so_does_not_see_the_overshoot(x: float) -> None:
    batch, one = torch.tensor([[x]], dtype=torch.float64), torch.ones(1)
    model, z = regression.Regression(-10.0), torch.tensor([[50.0]], dtype=torch.float64)
    v = validation_gradient(model, z, one, loss=regression.squared_error)
    attack = level_k_attack(
        model,
        batch,
        one,
        validation_gradient=v,
        budget=regression.BALL,
        opponent=regression.BALL,
        steps=4,
        learning_rate=regression.RATE,
        loss=regression.squared_error,
    )
    assert torch.equal(attack, regression.closed_form(1, "attacker", batch))


@pytest.mark.parametrize("x", [1.2, 1.8])
def test_the_exact_utility_sees_the_overshoot(x: float) -> None:
    batch, one = torch.tensor([[x]], dtype=torch.float64), torch.ones(1)
    z = torch.tensor([[50.0]], dtype=torch.float64)
    uphill = unrolled_utility_gradient(
        regression.Regression(-10.0),
        batch,
        one,
        z,
        one,
        step=Sgd(regression.RATE),
        loss=regression.squared_error,
    )
    attack = regression.EPSILON * regression.BALL.direction(uphill)
    assert torch.equal(attack, regression.closed_form(2, "attacker", batch))


def test_a_step_that_overshoots_is_what_level_1_gets_wrong() -> None:
    for found, right in ((figure_3.one_step(1.2), {1, 2}), (figure_3.one_step(1.8), {2})):
        assert (found["clean"] > 20) == (1 not in right)
        for move in found["moves"]:
            away = abs(move["theta"] - 20) > abs(found["clean"] - 20)
            assert (away == (move["side"] == "attacker")) == (move["level"] in right)


@pytest.mark.slow
def test_the_command_writes_a_picture_and_its_numbers(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(
        cli, ["figure", "3", "--runs", "50", "--checked", "1", "--out", str(tmp_path)]
    )
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "figure-3.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((tmp_path / "figure-3.json").read_text())
    assert [(cell["attacker"], cell["defender"]) for cell in found["mean_test_loss"]] == [
        (a, d) for a in regression.LEVELS for d in regression.LEVELS
    ]
    for cell in found["mean_test_loss"]:
        ends = regression.play_closed_form(regression.draw(50, 0), cell["attacker"], cell["defender"])[:, -1]
        assert cell["mean"] == pytest.approx(4 / 3 * ends.square().mean().item())
    assert found["runs_played_by_general_strategies"] == 1
    assert 0 < found["disagreement"] < 1e-11
    assert str(tmp_path / "figure-3.png") in outcome.output


def test_a_wrong_closed_form_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    true = regression.closed_form
    monkeypatch.setattr(regression, "closed_form", lambda level, side, x: 1.001 * true(level, side, x))
    with pytest.raises(figure_3.DisagreementError, match="differ by"):
        figure_3.one_step(1.2)
