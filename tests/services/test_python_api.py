"""`midstream.Game` over HTTP, and a game in one process that is killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import midstream
from services import tiny

pytestmark = pytest.mark.process

SETTINGS: dict[str, Any] = {name: value for name, value in tiny.SPECIFICATION.items() if name != "name"}
SETTINGS |= {"attacker": "evoshift", "defender": "level-1", "threads": 1, "device": "cpu", "run": "game"}

_GAME = """
import json, os, signal, sys
import midstream
from midstream_server.runs.recovery import checkpointed

checkpointed.REPLAY_SECONDS = 0.0  # a checkpoint after each step but the one in hand

def follow(step, total, text):
    if step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

print(midstream.play(**json.loads(sys.argv[1]), follow=follow).parameters_sha256)
"""


def quiet(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> midstream.GameResult:
    return midstream.play(**SETTINGS, out=tmp_path_factory.mktemp("whole"), follow=quiet)


def test_steps_over_http_are_those_of_one_process(whole: midstream.GameResult, tmp_path: Path) -> None:
    settings = SETTINGS | {"out": tmp_path, "transport": "http"}
    losses = []
    with midstream.Game(**settings, follow=quiet) as game:
        for step in game:
            losses.append(step.loss)
            assert (step.attacked, step.defended) == (None, None)
            assert step.metrics["loss"] == step.loss
            if step.seq == 2:
                assert game.accuracy() == step.metrics["test_accuracy"]
                break
    with midstream.Game(**settings, follow=quiet) as game:
        assert game.step == 3
        losses += [step.loss for step in game]
        assert game.accuracy() == whole.test_accuracy
    assert losses == whole.metrics["loss"].tolist()
    assert game.result.parameters_sha256 == whole.parameters_sha256
    assert not list(game.folder.glob("*.sqlite*"))
    assert midstream.play(**settings, resume=True, follow=quiet) == game.result


def test_a_game_of_one_process_goes_on_after_sigkill(whole: midstream.GameResult, tmp_path: Path) -> None:
    settings = json.dumps(SETTINGS | {"out": str(tmp_path), "resume": True})
    for at in ("4", "-1"):
        command = [sys.executable, "-c", _GAME, settings, at]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == (-signal.SIGKILL if at == "4" else 0), ended.stderr
    assert ended.stdout.strip() == whole.parameters_sha256
    result = midstream.GameResult.load(tmp_path / "game")
    assert result.metrics["loss"].tolist() == whole.metrics["loss"].tolist()
