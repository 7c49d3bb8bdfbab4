"""An optimizer that travels arrives as it was."""

import pytest
import torch

from midstream.mathematics.training_step import Adam, Grouped, Sgd, TrainingStep
from midstream.protocol.step_file import decode_step, encode_step
from midstream.protocol.wire import WireError, encode_tensors

MOMENTS = {"conv.weight": torch.rand(2, 3, 3), "conv.bias": torch.rand(2)}
ADAM = {"learning_rate": "0.1", "beta1": "0.9", "beta2": "0.99", "epsilon": "1e-8", "count": "1"}
STEPS: dict[str, TrainingStep] = {
    "sgd": Sgd(1 / 3),
    "adam-first": Adam(0.1 + 0.2, 0.9, 0.999, 1e-8),
    "adam": Adam(8e-4, 0.8, 0.95, 1e-6, 12, MOMENTS, {name: value / 7 for name, value in MOMENTS.items()}),
    "adam-uneven": Adam(8e-4, 0.8, 0.95, 1e-6, 12, MOMENTS, counts={"conv.bias": 3, "spare": 0}),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_settings_and_moments_come_back_exactly(step: TrainingStep) -> None:
    body = encode_step(step, run="a", parameters_version=12)
    found = decode_step(body)
    assert repr(found.with_moments({"first": {}, "second": {}})) == repr(
        step.with_moments({"first": {}, "second": {}})
    )
    assert found.moments.keys() == step.moments.keys()
    for moment, values in step.moments.items():
        assert found.moments[moment].keys() == values.keys()
        assert all(torch.equal(found.moments[moment][name], value) for name, value in values.items())
    assert encode_step(step, run="a", parameters_version=12) == body


def test_a_step_of_several_groups_does_not_travel() -> None:
    with pytest.raises(ValueError, match="a Grouped step cannot be encoded; only Sgd and Adam can"):
        encode_step(Grouped(((("w",), Sgd(0.1)),)), run="a", parameters_version=0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not a safetensors file"),
        (encode_tensors(MOMENTS), "does not describe an optimizer"),
        (encode_tensors(MOMENTS, optimizer="sgd"), "learning_rate"),
        (encode_tensors(MOMENTS, optimizer="sgd", learning_rate="fast"), "fast"),
        (encode_tensors(MOMENTS, optimizer="adam", counts="7", **ADAM), "does not describe an optimizer"),
        (encode_tensors(MOMENTS, optimizer="lion"), "'lion'; it must be sgd or adam"),
    ],
)
def test_another_file_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode_step(body)
