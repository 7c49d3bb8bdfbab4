"""The operator's controls: pause, resume, stop, checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from services.tiny import STEPS, TinyRun, problem


def test_a_paused_run_takes_no_batch_and_asks_for_patience(run: TinyRun) -> None:
    run.play(0, 1)
    assert run.post("/pause").json()["state"] == "paused"
    before = run.sha256()
    response = run.put(1)
    assert "paused" in problem(response, 503)["detail"]
    assert int(response.headers["Retry-After"]) >= 1
    assert run.sha256() == before
    assert "operator" in run.status()["waiting_for"]
    assert run.put(0).json()["replay"] is True
    assert run.post("/resume").json()["state"] == "running"
    run.play(1)
    assert run.until("finished")["step"] == STEPS


def test_a_run_can_be_paused_before_its_first_batch(run: TinyRun) -> None:
    run.post("/pause")
    problem(run.put(0), 503)
    assert run.post("/resume").json()["state"] == "waiting"
    run.play(0, 1)


def test_a_stopped_run_is_over_and_keeps_a_checkpoint(run: TinyRun, tmp_path: Path) -> None:
    run.play(0, 2)
    status = run.post("/stop").json()
    assert status["state"] == "stopped"
    assert "step 2" in status["reason"]
    found = problem(run.put(2), 409)
    assert found["next_seq"] == 2
    assert "stopped" in found["title"]
    for control in ("/pause", "/resume"):
        problem(run.post(control), 409)
    assert run.post("/stop").status_code == 200
    with safe_open(tmp_path / "runs/tiny/checkpoint.safetensors", "pt") as checkpoint:
        assert checkpoint.metadata()["step"] == "2"
    assert run.status()["result"] is None


@pytest.mark.parametrize("control", ["pause", "resume", "stop"])
def test_a_finished_run_stays_finished(run: TinyRun, control: str) -> None:
    run.play(0)
    result = run.until("finished")["result"]
    assert "finished" in problem(run.post(f"/{control}"), 409)["title"]
    assert run.status()["result"] == result


def test_a_checkpoint_holds_parameters_optimizer_and_specification(run: TinyRun) -> None:
    run.play(0, 2)
    written = run.post("/checkpoint").json()
    assert written["step"] == 2
    with safe_open(written["file"], "pt") as checkpoint:
        assert checkpoint.metadata()["step"] == "2"
        begun = json.loads(checkpoint.metadata()["provenance"])
        assert begun["specification"] == run.status()["specification"]
        names = set(checkpoint.keys())
        for name, value in run.parameters().items():
            assert torch.equal(checkpoint.get_tensor(f"model.{name}"), value)
        assert {name.split(".")[0] for name in names} == {"model", "optimizer"}
        assert checkpoint.get_tensor("optimizer.0.step").item() == 2
    assert not list(Path(written["file"]).parent.glob("*.part"))


@pytest.mark.parametrize("control", ["pause", "resume", "stop", "checkpoint"])
def test_a_control_of_an_unknown_run_is_404(run: TinyRun, control: str) -> None:
    assert "'tony'" in problem(run.client.post(f"/v1/runs/tony/{control}"), 404)["detail"]
