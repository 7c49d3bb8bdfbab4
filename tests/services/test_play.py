"""The same game over HTTP and in one process ends in the same parameters, to the bit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.conftest import Ended

SMALL = ["--train-size", "300", "--validation-size", "100", "--epochs", "2", "--threads", "1"]

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


@pytest.mark.parametrize(
    ("attacker", "defender", "gradient"),
    [("none", "none", "server"), ("level-1", "none", "own")],
)
def test_three_processes_and_one_end_in_the_same_parameters(
    play: Play, attacker: str, defender: str, gradient: str
) -> None:
    other = {"server": "own", "own": "server"}[gradient]
    local = play("local", other, attacker, defender, *SMALL)
    assert play("http", gradient, attacker, defender, *SMALL) == local


def test_the_players_and_the_seed_matter(play: Play) -> None:
    games = [("none", "none"), ("level-1", "none"), ("none", "level-1"), ("level-1", "level-1")]
    ends = {play("local", "server", *players, *SMALL) for players in games}
    ends.add(play("local", "server", "level-1", "level-1", *SMALL, "--seed", "1"))
    assert len(ends) == 5


def test_on_mnist_too(play: Play, data_root: Path) -> None:
    sizes = ["--train-size", "500", "--validation-size", "200", "--batch-size", "100", "--epochs", "1"]
    mnist = ["--dataset", "mnist", "--data-root", str(data_root), "--threads", "1", *sizes]
    assert play("http", "server", "level-1", "level-1", *mnist) == play(
        "local", "own", "level-1", "level-1", *mnist
    )
