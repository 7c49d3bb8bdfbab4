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

    def play(*other: str) -> Ended:
        return midstream("play", *GAME, *SIZE, "--out", str(tmp_path / "runs"), *other)

    other = play("--seed", "1")
    assert other.code == 1
    assert "a different unfinished game: seed 0, here 1" in other.err
    specification = tmp_path / "runs/game/specification.json"
    written = json.loads(specification.read_text())
    for spoiled, said in (
        (json.dumps(written | {"learning_rate": 0.5}), "a different unfinished game: learning_rate 0.5"),
        ("{", f"{specification} is damaged: "),
    ):
        specification.write_text(spoiled)
        refused = play()
        assert (refused.code, refused.out) == (1, "")
        assert said in refused.err.splitlines()[-1]
    specification.unlink()
    again = play()
    assert again.code == 0, again.err
    assert json.loads(specification.read_text()) == written  # it is written again
    outcome = json.loads(again.out)
    local = midstream("play", *GAME, *SIZE, "--transport", "local", "--out", str(tmp_path / "local"))
    assert local.code == 0, local.err
    assert outcome["parameters_sha256"] == json.loads(local.out)["parameters_sha256"]
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == list(range(1, 61))
    left = {path.name for path in (tmp_path / "runs/game").iterdir()}
    assert not {name for name in left if "sqlite" in name or name == "open"}
