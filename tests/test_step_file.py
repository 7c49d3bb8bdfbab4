"""An optimizer that travels arrives as it was."""

import pytest
import torch

from midstream.mathematics.derivatives.gradients import Gradient
from midstream.mathematics.optimizers.momentum_sgd import MomentumSgd
from midstream.mathematics.optimizers.rmsprop import Rmsprop
from midstream.mathematics.optimizers.training_step import Adam, Grouped, Sgd, TrainingStep
from midstream.protocol.step_file import decode_step, encode_step
from midstream.protocol.wire import WireError, encode_tensors

MOMENTS = {"conv.weight": torch.rand(2, 3, 3), "conv.bias": torch.rand(2)}
ADAM = {"learning_rate": "0.1", "beta1": "0.9", "beta2": "0.99", "epsilon": "1e-8", "count": "1"}
STEPS: dict[str, TrainingStep] = {
    "sgd": Sgd(1 / 3),
    "adam-first": Adam(0.1 + 0.2, 0.9, 0.999, 1e-8),
    "adam": Adam(8e-4, 0.8, 0.95, 1e-6, 12, MOMENTS, {name: value / 7 for name, value in MOMENTS.items()}),
    "adamw": Adam(8e-4, count=2, first=MOMENTS, weight_decay=1 / 3, decoupled=True),
    "adam-l2": Adam(8e-4, weight_decay=0.1),
    "momentum": MomentumSgd(0.1, 0.9, 0.0, True, 1e-4, MOMENTS),
    "momentum-first": MomentumSgd(0.1, 0.9, 0.5),
    "rmsprop": Rmsprop(0.1, 0.9, 1e-8, 0.7, 0.1, MOMENTS, {"conv.bias": torch.rand(2)}),
    "adam-uneven": Adam(8e-4, 0.8, 0.95, 1e-6, 12, MOMENTS, counts={"conv.bias": 3, "spare": 0}),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_settings_and_moments_come_back_exactly(step: TrainingStep) -> None:
    body = encode_step(step, run="a", parameters_version=12)
    found = decode_step(body)
    none: dict[str, Gradient] = {"first": {}, "second": {}, "velocity": {}}
    assert repr(found.with_moments(none)) == repr(step.with_moments(none))
    assert found.moments.keys() == step.moments.keys()
    for moment, values in step.moments.items():
        assert found.moments[moment].keys() == values.keys()
        assert all(torch.equal(found.moments[moment][name], value) for name, value in values.items())
    assert encode_step(step, run="a", parameters_version=12) == body


def test_a_step_of_several_groups_does_not_travel() -> None:
    with pytest.raises(ValueError, match="a Grouped step cannot be encoded; only one optimizer's own can"):
        encode_step(Grouped(((("w",), Sgd(0.1)),)), run="a", parameters_version=0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not a safetensors file"),
        (encode_tensors(MOMENTS), "does not describe an optimizer"),
        (encode_tensors(MOMENTS, optimizer="sgd"), "learning_rate"),
        (encode_tensors(MOMENTS, optimizer="sgd", learning_rate="fast"), "fast"),
        (encode_tensors(MOMENTS, optimizer="adam", counts="7", **ADAM), "does not describe an optimizer"),
        (
            encode_tensors(
                optimizer="sgd-momentum",
                learning_rate="0.1",
                momentum="0",
                dampening="0",
                nesterov="1",
                weight_decay="0",
                tensors=MOMENTS,
            ),
            "does not describe an optimizer",
        ),
        (
            encode_tensors(MOMENTS, optimizer="lion"),
            "'lion'; it must be one of sgd, sgd-momentum, adam,",
        ),
    ],
)
def test_another_file_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode_step(body)
