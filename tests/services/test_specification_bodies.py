"""A specification that is none is refused over HTTP in one sentence that says why, and starts no run."""

import httpx
import pytest

from services.tiny import problem

BODIES: dict[str, tuple[bytes, int, str]] = {
    "deep": (b'{"name": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400, "its JSON is nested too deeply"),
    "deep-objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, "its JSON is nested too deeply"),
    "digits": (b'{"seed": ' + b"9" * 5_000 + b"}", 400, "it is not readable JSON"),
    "twice": (b'{"epsilon": 1, "epsilon": 2}', 422, "body.epsilon: it is set 2 times; set it once"),
    "true": (b'{"epochs": true}', 422, "epochs is true; no setting is true or false"),
    "false": (b'{"epsilon": false}', 422, "epsilon is false; no setting is true or false"),
    "nan": (b'{"epsilon": NaN}', 422, "body.epsilon: Input should be a finite number"),
    "infinity": (b'{"learning_rate": Infinity}', 422, "body.learning_rate: Input should be a finite number"),
    "overflow": (b'{"epsilon": 1e999}', 422, "body.epsilon: Input should be a finite number"),
    "list": (b"[]", 422, "body: Input should be"),
    "nothing": (b"", 422, "body: Field required"),
    "binary": (bytes(range(256)), 422, "JSON decode error"),
    "cut": (b'{"epsilon": 1', 422, "JSON decode error"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_specification_is_refused(name: str, server: httpx.Client) -> None:
    body, status, words = BODIES[name]
    answer = server.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    assert words in problem(answer, status)["detail"]
    assert server.get("/v1/runs").json()["runs"] == []
