"""`midstream play` killed in the middle of a game: its services end with it, and the same command goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.commands import Command
from services.conftest import Ended
from services.waiting import until

pytestmark = pytest.mark.process

GAME = ["--run", "game", "--attacker", "level-1", "--defender", "level-1", "--threads", "1", "--json"]
SIZE = ["--train-size", "200", "--validation-size", "50", "--batch-size", "20", "--epochs", "6"]


def test_the_same_command_goes_on_to_the_same_bits(tmp_path: Path, midstream: Callable[..., Ended]) -> None:
    metrics = tmp_path / "runs/game/metrics.jsonl"
    with Command(tmp_path, "play", *GAME, *SIZE) as killed:
        until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 5, "some steps")
        killed.process.kill()
    steps = len(metrics.read_text().splitlines())
    assert steps < 60
    other = midstream("play", *GAME, *SIZE, "--seed", "1", "--out", str(tmp_path / "runs"))
    assert other.code == 1
    assert "a different unfinished game: seed 0, here 1" in other.err
    with Command(tmp_path, "play", *GAME, *SIZE) as again:
        assert again.end() == 0, again.err
        outcome = json.loads(again.out)
    local = midstream("play", *GAME, *SIZE, "--transport", "local", "--out", str(tmp_path / "local"))
    assert local.code == 0, local.err
    assert outcome["parameters_sha256"] == json.loads(local.out)["parameters_sha256"]
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == list(range(1, 61))
    left = {path.name for path in (tmp_path / "runs/game").iterdir()}
    assert not {name for name in left if "sqlite" in name or name == "open"}
