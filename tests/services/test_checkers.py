"""Games with a checker: over HTTP as in one process, killed and resumed, scored by the attacker's log."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

import midstream
from midstream import plugins
from midstream.command.runs.detection import detection
from midstream.storage import faults
from midstream.storage.lines import append_line, cut_lines, lines
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.recovery import checkpointed
from midstream_server.runs.recovery.resuming import left_behind
from services import tiny
from services.games import in_one_process, over_http
from services.loopback import client_of
from services.tiny import TinyRun

ATTACKER = "level-1,fraction=0.4"
DROPS = "loss,action=drop,threshold=0.7"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name != "loss"))  # each case plays two whole games
        for name in plugins.names("checkers")
    ],
)
def test_every_checker_plays_to_the_same_bits_over_http(
    name: str, registry: Registry, tmp_path: Path
) -> None:
    checker = f"{name},action=drop,threshold=0.7"
    local = in_one_process(tmp_path / "local", ATTACKER, "none", checker=checker)
    served = over_http(registry, ATTACKER, "none", checker=checker)
    assert served["parameters_sha256"] == local["parameters_sha256"]
    assert served["checker"]["name"] == checker
    assert served["checker"]["flagged"] == served["checker"]["dropped"] == local["checker"]["dropped"] > 0


SETTINGS: dict[str, Any] = {
    **{"train_size": 25, "validation_size": 40, "batch_size": 10, "epochs": 2},
    **{"attacker": ATTACKER, "checker": DROPS, "threads": 1, "device": "cpu"},
}


class Killed(BaseException):
    """Stands for the end of the process."""


def play(out: Path) -> midstream.GameResult:
    return midstream.play(**SETTINGS, out=out, run="game", follow=lambda *_: None)


def test_a_game_that_drops_examples_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = play(tmp_path / "whole")
    assert whole.checker is not None
    assert whole.checker["dropped"] > 0
    monkeypatch.setattr(checkpointed, "REPLAY_SECONDS", 0.0)  # a checkpoint after each step
    for moment in ("recorded", "checkpoint in place"):
        passed = 0

        def reached(what: str, moment: str = moment) -> None:
            nonlocal passed
            passed += what == moment
            if what == moment and passed == 2:
                raise Killed

        with monkeypatch.context() as dying:
            dying.setattr(faults, "reached", reached)
            with pytest.raises(Killed):
                play(tmp_path / "killed")
    killed = play(tmp_path / "killed")
    assert killed.parameters_sha256 == whole.parameters_sha256
    assert killed.checker == whole.checker
    findings = [(game.folder / "checker.jsonl").read_bytes() for game in (killed, whole)]
    assert findings[0] == findings[1]


def test_a_server_that_is_killed_replays_what_it_dropped(tmp_path: Path) -> None:
    def server(out: Path) -> Registry:
        return tiny.registry(out, checkpoint_every=2)

    with client_of(make_server(server(tmp_path / "runs"))) as client:
        run = TinyRun(client, checker=DROPS)
        run.play(0, 3)
        run.until_recorded(3)
        shutil.copytree(tmp_path / "runs", tmp_path / "crashed")
        run.play(3)
        whole = run.until("finished")["result"]
        records = run.until_recorded(6)
    assert sum(record["checker"]["dropped"] for record in records) == whole["checker"]["dropped"] > 0
    registry = server(tmp_path / "crashed")
    registry.take_up(left_behind(tmp_path / "crashed"))
    with client_of(make_server(registry)) as client:
        again = TinyRun.found(client)
        again.play(3)
        result = again.until("finished")["result"]
    assert result["parameters_sha256"] == whole["parameters_sha256"]
    assert result["checker"] == whole["checker"]
    assert result["files"]["checker.jsonl"] == whole["files"]["checker.jsonl"]


def test_an_alarm_ends_the_run_with_its_reason(server: httpx.Client) -> None:
    run = TinyRun(server, checker="loss,action=stop,alarm=1e-9")
    refused = tiny.problem(run.put(0), 409)
    assert refused["title"] == "The checker stopped the run"
    status = run.until("failed")
    assert "stopped the run at batch 0" in status["reason"]
    assert status["step"] == 0


def test_the_attackers_log_tells_the_score_and_no_other(tmp_path: Path) -> None:
    result = play(tmp_path)
    folder = result.folder
    truth = list(lines(folder / "attacked-game.jsonl"))
    assert [line["seq"] for line in truth] == list(range(6))
    assert 0 < sum(len(line["attacked"]) for line in truth) < 50
    found = {line["step"]: line for line in lines(folder / "checker.jsonl")}
    pairs = [
        (suspicion, place in line["attacked"])
        for line in truth
        for place, suspicion in enumerate(found[line["seq"] + 1]["examples"])
    ]
    assert result.checker is not None
    wins = [
        (one > other) + (one == other) / 2
        for one, attacked in pairs
        if attacked
        for other, touched in pairs
        if not touched
    ]
    assert result.checker["auc"] == pytest.approx(sum(wins) / len(wins))
    stored = json.loads((folder / "result.json").read_text())
    renamed = detection(folder.rename(tmp_path / "renamed"), stored["checker"], [])
    assert renamed is not None
    assert renamed["auc"] == result.checker["auc"]
    folder = tmp_path / "renamed"
    (folder / "attacked-game.jsonl").unlink()
    unknown = detection(folder, stored["checker"], [])
    assert unknown is not None
    assert (unknown["auc"], unknown["dropped"]) == (None, result.checker["dropped"])


def test_a_line_that_a_process_died_in_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append_line(path, {"step": 1})
    with path.open("a") as file:
        file.write('{"step": 2, "exam')
    append_line(path, {"step": 2})
    append_line(path, {"step": 3})
    assert [line["step"] for line in lines(path)] == [1, 2, 3]
    cut_lines(path, lambda line: line["step"] < 3)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
