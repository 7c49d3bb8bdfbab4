"""`--precision`: what it costs in direction, that it is recorded, and that a run keeps to it."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from midstream import mixed_derivative, validation_gradient
from midstream.command.main import cli
from midstream.mathematics.derivatives.known_orders import remember
from midstream.run.models import build_model
from midstream.run.process import precision
from midstream.run.process.environment import configure, describe, differences
from midstream.run.process.precision import computing

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _float32_again() -> Iterator[None]:
    yield
    precision.choose("float32", CPU)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return build_model("digits-cnn", (1, 8, 8), 10).eval()


def _derivatives(model: nn.Module, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(60, 1, 8, 8, generator=generator).to(dtype)
    labels = torch.randint(10, (60,), generator=generator)
    remember(model, inputs, "reverse-over-forward")
    v = validation_gradient(model, inputs, labels)
    return torch.cat([part.flatten() for part in v.values()]), mixed_derivative(model, inputs, labels, v)


def test_bfloat16_points_almost_where_float64_does(model: nn.Module) -> None:
    exact = _derivatives(copy.deepcopy(model).double(), torch.float64)
    single = _derivatives(copy.deepcopy(model))
    precision.choose("bfloat16", CPU)
    coarse = _derivatives(computing(model))
    for found, other, true in zip(coarse, single, exact, strict=True):
        assert found.dtype == torch.float32
        close = cosine_similarity(found.flatten().double(), true.flatten(), dim=0)
        assert 0.99 < close < cosine_similarity(other.flatten().double(), true.flatten(), dim=0)


def test_a_model_in_bfloat16_keeps_its_parameters_and_can_be_copied(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    precision.choose("bfloat16", CPU)
    assert computing(computing(model)) is model
    assert isinstance(model, nn.Sequential)
    copied, inputs = copy.deepcopy(model), torch.rand(2, 1, 8, 8)
    for value in model.parameters():
        nn.init.zeros_(value)
    assert not torch.equal(copied(inputs), model(inputs))
    assert all(torch.equal(value, before[name]) for name, value in copied.state_dict().items())
    assert all(value.dtype == torch.float32 for value in copied.state_dict().values())


def test_tf32_is_refused_without_cuda() -> None:
    with pytest.raises(ValueError, match="tf32 needs a CUDA device, not cpu; use float32 or bfloat16"):
        configure(threads=None, device="cpu", precision="tf32")


def test_a_resume_names_another_precision() -> None:
    before = describe(CPU)
    configure(threads=None, device="cpu", precision="bfloat16")
    assert differences(before, describe(CPU)) == ["precision float32, here bfloat16"]
    del before["precision"]  # an earlier midstream wrote it
    assert differences(before, describe(CPU)) == ["precision float32, here bfloat16"]


def test_a_game_is_played_in_the_precision_that_it_records(tmp_path: Path) -> None:
    digests = set()
    for name in ("float32", "bfloat16"):
        options = ["--transport", "local", "--train-size", "100", "--validation-size", "50", "--epochs", "2"]
        options += ["--defender", "level-1", "--out", str(tmp_path), "--run", name, "--precision", name]
        cli.main(["play", *options], standalone_mode=False)
        environment = json.loads((tmp_path / name / "environment.json").read_text())
        assert environment["precision"] == name
        assert f"precision: {name}\n" in (tmp_path / name / "scenario.yaml").read_text()
        digests.add(json.loads((tmp_path / name / "result.json").read_text())["parameters_sha256"])
    assert len(digests) == 2
