"""The same game over HTTP and in one process ends in the same parameters, to the bit.

That of a white-box game on digits is played in test_run_folder.py.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.conftest import Ended

pytestmark = pytest.mark.slow

SMALL = ["--train-size", "100", "--validation-size", "50", "--epochs", "2", "--threads", "1"]

Play = Callable[..., str]


@pytest.fixture
def play(midstream: Callable[..., Ended], tmp_path: Path) -> Play:
    """Return a function that plays a game and returns the fingerprint of its end."""

    def run(transport: str, gradient: str, attacker: str, defender: str, *more: str) -> str:
        players = ["--attacker", attacker, "--defender", defender]
        how = ["--transport", transport, "--gradient", gradient, "--out", str(tmp_path), "--json"]
        ended = midstream("play", *players, *how, *more)
        assert ended.code == 0, ended.err
        fingerprint: str = json.loads(ended.out)["parameters_sha256"]
        return fingerprint

    return run


@pytest.mark.process
def test_a_black_box_game_too(play: Play, midstream: Callable[..., Ended], tmp_path: Path) -> None:
    hidden = ["--access", "black-box", "--surrogate-epochs", "3", "--surrogate", "logistic", "--run", "game"]
    first = play("http", "server", "level-1", "level-1", *SMALL, *hidden, "--cache", str(tmp_path / "cache"))
    scenario = str(tmp_path / "game/scenario.yaml")
    own = ["--out", str(tmp_path / "again"), "--cache", str(tmp_path / "again/cache")]  # trained once more
    again = midstream("play", scenario, "--transport", "local", *own, "--json")
    assert again.code == 0, again.err
    outcome = json.loads(again.out)
    assert outcome["parameters_sha256"] == first
    assert outcome["access"] == "black-box"


def test_a_surrogate_attacks_a_model_that_it_never_sees(play: Play, tmp_path: Path) -> None:
    sizes = ["--train-size", "300", "--validation-size", "200", "--batch-size", "50", "--epochs", "15"]
    game = [*sizes, "--epsilon", "2.5", "--threads", "1"]
    hidden = ["--access", "black-box", "--surrogate-epochs", "30", "--cache", str(tmp_path / "cache")]
    play("local", "server", "none", "none", *game, "--run", "clean")
    play("local", "server", "level-1,beta=0.5", "none", *game, *hidden, "--run", "attacked")
    clean, attacked = (
        json.loads((tmp_path / name / "result.json").read_text())["test_accuracy"]
        for name in ("clean", "attacked")
    )
    assert clean > 0.65
    assert attacked < clean - 0.25


def test_the_players_and_the_seed_matter(play: Play) -> None:
    games = [("none", "none"), ("level-1", "none"), ("none", "level-1"), ("level-1", "level-1")]
    ends = {play("local", "server", *players, *SMALL) for players in games}
    ends.add(play("local", "server", "level-1", "level-1", *SMALL, "--seed", "1"))
    assert len(ends) == 5


@pytest.mark.process
def test_data_on_disk_are_found_by_each_process(play: Play, data_root: Path) -> None:
    sizes = ["--train-size", "100", "--validation-size", "50", "--batch-size", "50", "--epochs", "1"]
    mnist = ["--dataset", "mnist", "--data-root", str(data_root), "--threads", "1", *sizes]
    assert play("http", "server", "none", "none", *mnist) == play("local", "server", "none", "none", *mnist)
