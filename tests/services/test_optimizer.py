"""The optimizer between two steps, which the exact utility's gradient goes through."""

import json
from typing import Any

import httpx
import pytest

from midstream.mathematics.derivatives.gradients import validation_gradient
from midstream.mathematics.inputs.pixels import pixels
from midstream.protocol.specification import Specification
from midstream.protocol.step_file import decode_step
from midstream.run.batches import BatchSource
from midstream.run.models import build_model
from services.tiny import SPECIFICATION, TinyRun, problem, split


def metadata(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])["__metadata__"]
    return found


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_step_taken_with_it_is_the_one_that_the_server_takes(server: httpx.Client, optimizer: str) -> None:
    run = TinyRun(server, optimizer=optimizer, learning_rate=0.01)
    model = build_model("digits-cnn", (1, 8, 8), 10)
    batches = BatchSource(Specification.model_validate(SPECIFICATION), split().train)
    for version in range(3):
        response = run.get(f"/optimizer/{version}")
        assert response.headers["X-Parameters-Version"] == str(version)
        step = decode_step(response.content)
        before = run.parameters()
        model.load_state_dict(before)
        batch = batches.batch(version)
        after, _ = step.stepped(before, validation_gradient(model, pixels(batch.inputs), batch.labels))
        run.play(version, version + 1)
        for name, value in run.parameters().items():
            moved = (value - before[name]).norm()
            assert moved > 0
            assert (after[name] - value).norm() <= 1e-4 * moved


def test_what_the_file_says(run: TinyRun) -> None:
    at_first = metadata(run.get("/optimizer/0").content)
    assert at_first == {
        "run": "tiny",
        "parameters_version": "0",
        "optimizer": "adam",
        "learning_rate": "0.0008",
        "beta1": "0.9",
        "beta2": "0.999",
        "epsilon": "1e-08",
        "count": "0",
    }
    run.play(0, 1)
    response = run.get("/optimizer/1")
    assert response.headers["Content-Type"] == "application/vnd.safetensors"
    assert metadata(response.content) == at_first | {"parameters_version": "1", "count": "1"}
    assert run.get("/optimizer/1").content == response.content


def test_an_optimizer_that_is_gone_or_to_come(run: TinyRun) -> None:
    run.play(0, 1)
    assert problem(run.get("/optimizer/0"), 410)["parameters_version"] == 1
    assert problem(run.get("/optimizer/2"), 404)["parameters_version"] == 1
    problem(run.get("/optimizer/-1"), 422)
