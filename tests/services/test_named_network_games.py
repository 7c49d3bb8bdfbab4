"""Networks that people train play level 1 against level 1: on CIFAR-10, and to the same bits over HTTP."""

from pathlib import Path

import pytest

import midstream
from services import tiny
from services.games import in_one_process, over_http

pytestmark = pytest.mark.slow

NARROW = [
    "resnet18,width=8",
    "resnet18,width=8,norm=group",
    "resnet18,width=8,trained=layer4+fc",
    "wide-resnet,depth=10,width=1",
    "vit-tiny,width=24,depth=2",
    "convnext-tiny,width=8,shrink=9",
    "mlp,hidden=16,norm=batch",
    "torchvision:squeezenet1_1",
    "timm:resnet10t",
]
"""Each network, as narrow as it takes to be quick."""

FEW = """
from dataclasses import replace
from functools import cache

from midstream.run.datasets import load


@cache
def few(source):
    dataset = load("cifar10", source)
    return replace(dataset, train=dataset.train[:40], test=dataset.test[:20])
"""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "few.py"
    path.write_text(FEW)
    return f"{path}:few"


@pytest.mark.parametrize("model", NARROW)
def test_it_plays_on_cifar(model: str, few: str, data_root: Path, tmp_path: Path) -> None:
    if model.startswith("timm:"):
        pytest.importorskip("timm")
    result = midstream.play(
        dataset=few,
        data_root=data_root,
        model=model,
        batch_norm="training",
        attacker="level-1",
        defender="level-1",
        validation_size=10,
        batch_size=6,
        epsilon=1.0,
        max_steps=2,
        out=tmp_path / "run",
        threads=1,
        device="cpu",
    )
    assert all(0.5 < distance < 1.001 for distance in result.metrics["correction"])
    assert len(result.metrics["loss"]) == 2


def test_a_resnet_has_the_same_bits_over_http_and_in_one_process(tmp_path: Path) -> None:
    settings = {"model": "resnet18,width=4", "batch_norm": "training"}
    registry = tiny.registry(tmp_path / "runs")
    local = in_one_process(tmp_path / "local", "level-1", "level-1", **settings)
    served = over_http(registry, "level-1", "level-1", **settings)
    assert served["parameters_sha256"] == local["parameters_sha256"]
