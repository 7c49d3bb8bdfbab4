"""The pictures of figure A.8: which images, what is done to them, and what is drawn where data are absent."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from midstream.command.figures import figure_8
from midstream.command.figures.games import ObservedGame
from midstream.command.games.game import GamePlan
from midstream.command.games.local import play_local
from midstream.command.main import cli
from midstream.protocol.specification import Specification
from midstream.protocol.wire import tensors_sha256
from midstream.run.batches import load_split
from midstream.run.datasets import Source

SMALL = {"train_size": 60, "validation_size": 30, "batch_size": 20, "epochs": 2, "defender": "level-1"}


def figure(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["figure", "8", *arguments])


def small_game() -> tuple[ObservedGame, Specification]:
    specification = Specification.model_validate({**SMALL, "name": "small"})
    return ObservedGame(
        specification, load_split(specification, Source()), "level-1", threads=1
    ), specification


def test_an_observed_game_is_the_game_that_is_played(tmp_path: Path) -> None:
    game, specification = small_game()
    turns = list(game.turns())
    plan = GamePlan(
        specification, "level-1", specification.budget, transport="local", out=tmp_path, threads=1
    )
    played = play_local(plan, lambda *_: None)
    assert tensors_sha256(game.run.parameters()) == played["parameters_sha256"]
    assert [turn.seq for turn in turns] == list(range(6))
    for turn in turns:
        moved = specification.budget.size(turn.attacked - turn.clean)
        assert (moved > 0).all()
        assert (moved <= specification.epsilon * (1 + 1e-6)).all()


def test_both_players_use_their_budget_and_the_images_stay_images() -> None:
    game, specification = small_game()
    for _ in game.turns():
        pass
    examples = load_split(specification, Source()).train
    clean, attack, attacked, defense, defended = figure_8.perturbed(game.run, examples)
    budget = specification.budget
    for perturbation in (attack, defense):
        assert torch.allclose(budget.size(perturbation), torch.tensor(budget.epsilon))
    assert torch.allclose(attacked, (clean + attack).clamp(0, 1), atol=1e-6)
    assert torch.allclose(defended, (attacked + defense).clamp(0, 1), atol=1e-6)


def test_how_far_a_defence_takes_an_attack_back() -> None:
    clean, attack = torch.full((2, 1, 1, 2), 0.5), torch.tensor([[[[0.3, 0.0]]], [[[0.0, 0.4]]]])
    undone = figure_8.opposed(clean, attack, clean + attack, -attack, clean)
    assert undone["cosine_of_directions"] == pytest.approx(-1)
    assert undone["cosine_of_moves"] == pytest.approx(-1)
    assert undone["distance_left"] == pytest.approx(0, abs=1e-6)
    clamped = figure_8.opposed(clean, attack, clean + attack, attack, clean + attack)
    assert clamped["cosine_of_directions"] == pytest.approx(1)
    assert [clamped["cosine_of_moves"], clamped["distance_left"]] == pytest.approx([0, 1])


def test_a_perturbation_is_shown_from_its_smallest_to_its_largest_value() -> None:
    assert figure_8.stretched(torch.tensor([-2.0, 0.0, 2.0])).tolist() == [0, 0.5, 1]
    assert figure_8.stretched(torch.zeros(2)).tolist() == [0.5, 0.5]


@pytest.mark.slow
def test_photos_alone_are_drawn_and_the_rest_is_said_to_be_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(figure_8._GAMES["photos"], "image_size", 32)
    random = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(50):
            pixels = random.integers(0, 128, (16, 16, 3), dtype=np.uint8) + 127 * (label == "light")
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / label / f"{number}.png")
    outcome = figure(
        *("--photos", str(tmp_path / "photos"), "--steps", "1", "--rows", "2", "--out", str(tmp_path))
    )
    assert outcome.exit_code == 0, outcome.output
    assert "skipped: MNIST needs" in outcome.output
    assert "skipped: CIFAR-10 needs" in outcome.output
    assert (tmp_path / "figure-8.png").read_bytes().startswith(b"\x89PNG")
    (panel,) = json.loads((tmp_path / "figure-8.json").read_text())["panels"]
    assert (panel["data"], panel["steps"], panel["epsilon"]) == ("photos", 1, 4.0)
    assert -1 <= panel["cosine_of_directions"] <= 1


def test_without_any_data_there_is_no_figure(tmp_path: Path) -> None:
    outcome = figure("--out", str(tmp_path / "figures"), "--data-root", str(tmp_path))
    assert outcome.exit_code == 1
    assert "none of the three data sets was found" in outcome.output
    assert not (tmp_path / "figures").exists()


@pytest.mark.slow
def test_mnist_is_drawn_where_it_is(data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "MNIST").symlink_to(data_root / "MNIST")
    outcome = figure("--data-root", str(tmp_path), "--steps", "2", "--rows", "1", "--out", str(tmp_path))
    assert outcome.exit_code == 0, outcome.output
    (panel,) = json.loads((tmp_path / "figure-8.json").read_text())["panels"]
    assert (panel["data"], panel["model"], panel["epsilon"]) == ("MNIST", "mnist-cnn", 3.0)
    assert panel["cosine_of_directions"] < 0
