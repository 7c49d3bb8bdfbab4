"""A black-box run trains like any other and shows no one what it trains."""

import httpx
import pytest

from services.tiny import TinyRun, problem


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
    run.play(0)
    assert status["result"]["parameters_sha256"] == run.until("finished")["result"]["parameters_sha256"]
