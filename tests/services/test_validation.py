"""Dval and the validation gradient, which both sides of the game know."""

import torch

from midstream import validation_gradient
from midstream.protocol.wire import decode_tensors
from midstream.run.models import build_model
from services.tiny import TinyRun, problem, split


def test_the_validation_set_is_the_one_held_out_of_the_data(run: TinyRun) -> None:
    response = run.get("/validation")
    assert response.headers["Content-Type"] == "application/vnd.safetensors"
    tensors = decode_tensors(response.content)
    assert tensors.keys() == {"inputs", "labels"}
    assert torch.equal(tensors["inputs"], split().validation.inputs)
    assert torch.equal(tensors["labels"], split().validation.labels)


def test_the_gradient_is_the_one_that_anyone_can_compute(run: TinyRun) -> None:
    dval = decode_tensors(run.get("/validation").content)
    described = run.get("/model").json()
    model = build_model(described["model"], tuple(described["input_shape"]), len(described["classes"]))
    for version in range(2):
        response = run.get(f"/validation-gradient/{version}")
        assert response.headers["X-Parameters-Version"] == str(version)
        served = decode_tensors(response.content)
        model.load_state_dict(run.parameters())
        own = validation_gradient(model, dval["inputs"], dval["labels"])
        assert served.keys() == own.keys()
        assert all(torch.equal(served[name], own[name]) for name in own)
        run.play(version, version + 1)


def test_asking_for_the_gradient_does_not_change_the_game(run: TinyRun) -> None:
    other = TinyRun(run.client, name="unasked")
    run.get("/validation-gradient/0")
    run.play(0, 2)
    other.play(0, 2)
    assert run.sha256() == other.sha256()


def test_a_gradient_that_is_gone_or_to_come(run: TinyRun) -> None:
    run.play(0, 1)
    assert problem(run.get("/validation-gradient/0"), 410)["parameters_version"] == 1
    assert problem(run.get("/validation-gradient/2"), 404)["parameters_version"] == 1
    problem(run.get("/validation-gradient/-1"), 422)
    assert run.get("/validation-gradient/1").status_code == 200


def test_the_model_is_described_well_enough_to_rebuild_it(run: TinyRun) -> None:
    assert run.get("/model").json() == {
        "model": "digits-cnn",
        "input_shape": [1, 8, 8],
        "classes": [str(digit) for digit in range(10)],
        "loss": "cross-entropy",
        "task": "classification",
        "scale": None,
        "reduction": "sum",
        "derivatives": "reverse-over-forward",
        "chunk_size": None,
        "optimizer": "adam",
        "learning_rate": 0.0008,
        "total_steps": 6,
        "steps_per_epoch": 3,
        "unmodelled": None,
    }
