"""The games of figure 6: what is measured of them, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import CONV
from click.testing import CliRunner

from midstream import validation_gradient
from midstream.command.figures.second_order_games import (
    ATTACKERS,
    GAMES,
    Game,
    Point,
    armed,
    gradient_norm,
    play,
    specify,
    summary,
    thinned,
)
from midstream.command.main import cli
from midstream.run.batches import load_split
from midstream.run.datasets import Source

ON_DIGITS = Game("digits", "digits", "logistic", 3, 0.1, 4)  # the data that need no place on disk


def test_the_gradient_norm_is_the_sum_of_each_examples_own() -> None:
    p = CONV.build()
    each = [validation_gradient(p.model, x[None], y[None]) for x, y in zip(p.inputs, p.labels, strict=True)]
    norms = [sum(float(part.square().sum()) for part in gradient.values()) ** 0.5 for gradient in each]
    assert gradient_norm(p.model, p.inputs, p.labels) == pytest.approx(sum(norms), rel=1e-12)
    together = validation_gradient(p.model, p.inputs, p.labels)
    assert sum(norms) > 1.01 * sum(float(part.square().sum()) for part in together.values()) ** 0.5


def test_the_paper_s_sizes() -> None:
    for game in GAMES.values():
        specification = specify(game, 4)
        assert (specification.train_size, specification.validation_size) == (40, 400)
        assert (specification.optimizer, specification.learning_rate) == ("adam", 0.0008)
        assert (specification.epsilon, specification.norm, specification.seed) == (3.0, "l2", 4)
        assert specification.steps_per_epoch(40) == 1


@pytest.mark.parametrize("attacker", ["none", "optimal-contraction"])
def test_a_curve_is_that_of_the_model_after_each_epoch(attacker: str) -> None:
    split = load_split(specify(ON_DIGITS, 0), Source())
    player = armed(attacker, ON_DIGITS)
    points = [p for p in play(ON_DIGITS, split, player, seed=0, threads=1) if p is not None]
    assert [point.epoch for point in points] == [0, 1, 2, 3]
    # A longer game passes through the same points: nothing depends on where a run ends.
    longer = replace(ON_DIGITS, epochs=4)
    again = [p for p in play(longer, split, player, seed=0, threads=1) if p is not None]
    assert again[:4] == points
    assert again[4] != points[3]
    if attacker == "none":
        assert all(point.gradient_norm == point.clean_gradient_norm for point in points)
        assert not points[0].report
    else:
        assert all(point.gradient_norm != point.clean_gradient_norm for point in points)
        assert 1 <= points[0].report["cg_iterations"] <= 4


def test_the_points_of_a_long_curve_are_few_and_the_last_is_among_them() -> None:
    longer = replace(ON_DIGITS, epochs=30)
    split = load_split(specify(longer, 0), Source())
    played = list(play(longer, split, "none", seed=0, threads=1))
    assert len(played) == 31
    assert [point.epoch for point in played if point] == list(range(0, 31, 2))
    assert played[-1] is not None


def test_means_and_deviations_are_over_runs() -> None:
    curves = [[Point(0, a, 2.0, 1.0, {"cg": a})] for a in (0.2, 0.4, 0.9)]
    found = summary(curves)
    assert found["test_accuracy"]["mean"] == pytest.approx([0.5])
    assert found["test_accuracy"]["deviation"] == pytest.approx([0.13**0.5])
    assert found["gradient_norm"] == {"mean": [2.0], "deviation": [0.0]}
    assert found["cg"]["mean"] == pytest.approx([0.5])
    assert found["test_accuracy_at_the_end"] == [0.2, 0.4, 0.9]


def test_a_thinned_test_set_keeps_every_nth_image() -> None:
    split = load_split(specify(ON_DIGITS, 0), Source())
    assert torch.equal(thinned(split).test.inputs, split.test.inputs)
    many = replace(split, test=split.test[torch.arange(5001) % 397])
    assert torch.equal(thinned(many).test.labels, many.test.labels[::3])
    assert torch.equal(thinned(many).train.inputs, split.train.inputs)


def test_the_command_writes_a_picture_and_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GAMES, "logistic", ON_DIGITS)
    arguments = ["figure", "6", "--game", "logistic", "--runs", "2", "--epochs", "2", "--out", str(tmp_path)]
    outcome = CliRunner().invoke(cli, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "figure-6.png").read_bytes().startswith(b"\x89PNG")
    (game,) = json.loads((tmp_path / "figure-6.json").read_text())["games"].values()
    assert list(game["attackers"]) == list(ATTACKERS)
    for curve in game["attackers"].values():
        assert curve["epoch"] == [0, 1, 2]
        assert len(curve["test_accuracy_at_the_end"]) == 2
    starts = {curve["test_accuracy"]["mean"][0] for curve in game["attackers"].values()}
    ends = {curve["gradient_norm"]["mean"][2] for curve in game["attackers"].values()}
    assert (len(starts), len(ends)) == (1, len(ATTACKERS))
    assert max(game["attackers"]["influence"]["cg_iterations"]["mean"]) <= 4


def test_without_mnist_it_says_what_to_do(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(cli, ["figure", "6", "--out", str(tmp_path)])
    assert outcome.exit_code == 1
    assert "--data-root" in str(outcome.exception)


@pytest.mark.slow
def test_ones_and_sevens_are_played(data_root: Path, tmp_path: Path) -> None:
    arguments = ["--data-root", str(data_root), "--game", "cnn", "--runs", "2", "--epochs", "1"]
    outcome = CliRunner().invoke(cli, ["figure", "6", *arguments, "--out", str(tmp_path)])
    assert outcome.exit_code == 0, outcome.output
    found = json.loads((tmp_path / "figure-6.json").read_text())["games"]["cnn"]
    assert found["damping"] == 5.0
    assert found["attackers"]["influence"]["cg_negative_curvature"]["mean"] == [0, 0]
