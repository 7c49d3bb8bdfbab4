"""Starting runs, finding them, and what the probes say meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from midstream_server.http.app import make_app
from services import tiny
from services.loopback import client_of
from services.tiny import SPECIFICATION, TinyRun, problem
from services.waiting import until

SLOW_DATA = """
import time
from pathlib import Path

from midstream.run.datasets import digits


def slow(source):
    while not Path({gate!r}).exists():
        time.sleep(0.01)
    return digits(source)
"""


def test_a_run_fills_in_its_data_sets_defaults(server: httpx.Client) -> None:
    created = server.post("/v1/runs", json={"dataset": "digits", "seed": 7})
    assert created.status_code == 201
    status = created.json()
    assert status["name"] == "digits-1"
    assert status["state"] == "waiting"
    assert (
        status["specification"] | {"seed": 7, "epsilon": 1.5, "validation_size": 400}
        == status["specification"]
    )
    assert status["waiting_for"] == "batch 0 from a data provider"
    assert server.post("/v1/runs", json={"dataset": "digits"}).json()["name"] == "digits-2"
    assert [run["name"] for run in server.get("/v1/runs").json()["runs"]] == ["digits-1", "digits-2"]


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown data set": ({"dataset": "digit"}, "'digits'"),
    "an unknown defender": ({"defender": "levl-1"}, "'level-1'"),
    "an unknown option": ({"defender": "level-1,beta=1"}, "'beta'"),
    "an unknown model": ({"model": "digits-cn"}, "'digits-cnn'"),
    "an unknown field": ({"epoch": 3}, "epoch"),
    "no epochs": ({"epochs": 0}, "epochs"),
    "a negative budget": ({"epsilon": -1}, "epsilon"),
    "a name that is a path": ({"name": "../out"}, "name"),
    "more data than there are": ({"train_size": 5000}, "5000"),
    "code that was not allowed": ({"model": "os:system"}, "--allow os:system"),
    "a defender that was not allowed": ({"defender": "subprocess:run,args=ls"}, "--allow subprocess:run"),
    "a folder that was not allowed": ({"dataset": "folder:/etc"}, "--allow folder:/etc"),
    "data that are not here": ({"dataset": "mnist"}, "--data-root"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_specification_that_cannot_be_played_is_422(
    server: httpx.Client, name: str, tmp_path: Path
) -> None:
    settings, mention = REFUSALS[name]
    assert mention in problem(server.post("/v1/runs", json=SPECIFICATION | settings), 422)["detail"]
    assert server.get("/v1/runs").json() == {"runs": []}
    assert not (tmp_path / "runs").exists()
    TinyRun(server).play(0, 1)


def test_a_body_that_is_no_json_is_422(server: httpx.Client) -> None:
    problem(server.post("/v1/runs", content=b"{", headers={"Content-Type": "application/json"}), 422)


def test_a_name_is_used_once(run: TinyRun, tmp_path: Path) -> None:
    run.play(0, 1)
    assert "'tiny'" in problem(run.client.post("/v1/runs", json=SPECIFICATION), 409)["detail"]
    assert run.status()["step"] == 1
    with client_of(make_app(tiny.registry(tmp_path / "runs"))) as later:
        refused = problem(later.post("/v1/runs", json=SPECIFICATION), 409)
        assert str(tmp_path / "runs/tiny") in refused["detail"]


def test_a_server_holds_so_many_runs_and_no_more(tmp_path: Path) -> None:
    registry = tiny.registry(tmp_path, max_runs=2)
    with client_of(make_app(registry)) as server:
        for number in range(2):
            TinyRun(server, name=f"run-{number}")
        problem(server.post("/v1/runs", json=SPECIFICATION), 409)


def test_runs_on_one_server_do_not_touch_each_other(server: httpx.Client) -> None:
    runs = [TinyRun(server, name=name) for name in ("one", "two")]
    for seq in range(tiny.STEPS):
        for run in runs:
            run.play(seq, seq + 1)
    results = [run.until("finished")["result"]["parameters_sha256"] for run in runs]
    alone = TinyRun(server, name="alone")
    alone.play(0)
    assert {*results, alone.sha256()} == {results[0]}


def test_an_unknown_run_is_404_and_an_unknown_resource_too(run: TinyRun) -> None:
    assert "tiny" in problem(run.client.get("/v1/runs/tony"), 404)["detail"].replace("tony", "")
    assert "/docs" in problem(run.client.get("/v2/runs"), 404)["detail"]
    refused = run.client.delete(run.path)
    problem(refused, 405)
    assert refused.headers["Allow"] == "GET"


def test_a_live_server_says_so(server: httpx.Client) -> None:
    assert server.get("/health/live").json() == {"status": "live", "waiting_for": None}


def test_a_ready_server_says_what_it_waits_for(server: httpx.Client) -> None:
    assert "POST /v1/runs" in server.get("/health/ready").json()["waiting_for"]
    run = TinyRun(server)
    ready = server.get("/health/ready").json()
    assert ready["status"] == "ready"
    assert ready["waiting_for"] == "run 'tiny': batch 0 from a data provider"
    run.play(0)
    run.until("finished")
    assert server.get("/health/ready").json()["waiting_for"] is None


def test_a_server_that_loads_data_is_live_but_not_ready(tmp_path: Path) -> None:
    gate, source = tmp_path / "gate", tmp_path / "slow.py"
    source.write_text(SLOW_DATA.format(gate=str(gate)))
    name = f"{source}:slow"
    settings = SPECIFICATION | {"dataset": name, "model": "digits-cnn"}
    registry = tiny.registry(tmp_path / "runs", allowed=frozenset({name}))
    with client_of(make_app(registry)) as server, ThreadPoolExecutor(1) as starting:
        started = starting.submit(server.post, "/v1/runs", json=settings)
        try:
            until(lambda: server.get("/health/ready").status_code == 503, "the data to be loaded")
            waiting = server.get("/health/ready")
            assert name in problem(waiting, 503)["detail"]
            assert waiting.headers["Retry-After"] == "1"
            assert server.get("/health/live").status_code == 200
            assert server.get("/v1/runs").json() == {"runs": []}
        finally:
            gate.touch()
        assert started.result().status_code == 201
        assert server.get("/health/ready").status_code == 200
