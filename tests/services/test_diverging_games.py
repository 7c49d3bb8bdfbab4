"""A game whose training diverges ends in one sentence and exit code 1, over HTTP and in one process alike."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from services.conftest import Ended
from services.tiny import TinyRun, problem

Midstream = Callable[..., Ended]

GAME = ["play", "--run", "wild", "--lr", "1e5", "--optimizer", "sgd", "--attacker", "none", "--threads", "1"]
GAME += ["--train-size", "60", "--validation-size", "20", "--batch-size", "20", "--json"]
DIVERGED = "run 'wild' failed: the training loss of batch 2 is nan"


@pytest.mark.parametrize(
    ("transport", "steps", "words"),
    [
        ("local", "9", DIVERGED),
        ("local", "2", "run 'wild' failed: the last step, on batch 1, leaves a validation loss of nan"),
        pytest.param("http", "9", DIVERGED, marks=pytest.mark.process),
    ],
)
def test_a_diverging_game_says_so(
    transport: str, steps: str, words: str, tmp_path: Path, midstream: Midstream
) -> None:
    ended = midstream(*GAME, "--out", str(tmp_path), "--max-steps", steps, "--transport", transport)
    assert (ended.code, ended.out) == (1, "")
    assert words in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err
    assert not (tmp_path / "wild/result.json").exists()
    assert len((tmp_path / "wild/metrics.jsonl").read_text().splitlines()) == min(int(steps) - 1, 2)


def test_a_last_step_that_diverges_is_taken_back(server: httpx.Client) -> None:
    run = TinyRun(server, learning_rate=1e5, optimizer="sgd", max_steps=2)
    run.play(0, 1)
    before = run.sha256()
    detail = problem(run.put(1), 409)["detail"]
    assert "the last step, on batch 1, leaves a validation loss of nan" in detail
    status = run.status()
    assert (status["state"], status["step"]) == ("failed", 1)
    assert run.sha256() == before
    json.dumps(status, allow_nan=False)
