"""A black-box run trains like any other and shows no one what it trains."""

import httpx
import pytest

from services.tiny import SPECIFICATION, TinyRun, problem


@pytest.fixture
def closed(server: httpx.Client) -> TinyRun:
    return TinyRun(server, name="closed", access="black-box")


@pytest.mark.parametrize(
    "path",
    ["/model", "/parameters", "/parameters?after=0&wait=60", "/validation-gradient/0", "/optimizer/0"],
)
def test_what_is_closed(closed: TinyRun, path: str) -> None:
    found = problem(closed.get(path), 403)
    assert "'closed'" in found["detail"]
    assert "black-box" in found["title"]


def test_what_is_open(closed: TinyRun, run: TinyRun) -> None:
    assert closed.get("/validation").content
    closed.play(0)
    status = closed.until("finished")
    assert status["specification"]["access"] == "black-box"
    assert status["specification"]["model"] == "hidden"
    run.play(0)
    assert status["result"]["parameters_sha256"] == run.until("finished")["result"]["parameters_sha256"]


def test_no_status_names_the_model(closed: TinyRun, run: TinyRun) -> None:
    named = {
        status["name"]: status["specification"]["model"]
        for status in closed.client.get("/v1/runs").json()["runs"]
    }
    assert named == {closed.name: "hidden", run.name: "digits-cnn"}
    assert "digits-cnn" not in closed.get("").text
    again = closed.client.post("/v1/runs", json=SPECIFICATION | {"name": "again", "access": "black-box"})
    assert "digits-cnn" not in again.text
