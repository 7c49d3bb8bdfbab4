"""Each run's model is checked before its first step, and all sides take its derivatives in one order."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from midstream import DerivativeError
from midstream.protocol.messages.model import ModelDescription
from midstream.protocol.specification import Specification
from midstream.run.training import Training
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.recovery import provenance
from midstream_server.runs.recovery.resuming import left_behind
from midstream_server.runs.training import TrainingRun
from services import tiny
from services.conftest import Ended
from services.games import in_one_process, over_http
from services.loopback import client_of
from services.small_games import GAME, TRANSPORTS, Midstream
from services.tiny import SPECIFICATION, TinyRun, problem

pytestmark = pytest.mark.slow

NETWORKS = """
import math

from torch import nn


def normalised(input_shape, classes):
    below = [nn.Flatten(), nn.Linear(math.prod(input_shape), 8), nn.LayerNorm(8)]
    return nn.Sequential(*below, nn.Tanh(), nn.Linear(8, classes))


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


def coupled(input_shape, classes):
    return nn.Sequential(nn.Flatten(), Centred(), nn.Linear(math.prod(input_shape), classes))
"""


@pytest.fixture
def networks(tmp_path: Path) -> str:
    path = tmp_path / "networks.py"
    path.write_text(NETWORKS)
    return str(path)


@pytest.fixture
def registry(networks: str, tmp_path: Path) -> Registry:
    names = frozenset(f"{networks}:{name}" for name in ("normalised", "coupled"))
    return tiny.registry(tmp_path / "runs", allowed=names)


def test_a_model_that_cannot_be_right_is_refused_before_anything_begins(
    registry: Registry, networks: str, tmp_path: Path
) -> None:
    with client_of(make_app(registry)) as server:
        refused = server.post("/v1/runs", json=SPECIFICATION | {"model": f"{networks}:coupled"})
        assert "layer '1' (Centred) couples the examples of a batch" in problem(refused, 422)["detail"]
        assert server.get("/v1/runs").json() == {"runs": []}
    assert not (tmp_path / "runs/tiny").exists()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_command_says_so_in_one_sentence(
    midstream: Midstream, networks: str, tmp_path: Path, transport: str
) -> None:
    words = ["--out", str(tmp_path), "--transport", transport, "--model", f"{networks}:coupled"]
    ended: Ended = midstream(*GAME, *words)
    assert (ended.code, ended.out) == (1, "")
    assert "layer '1' (Centred) couples the examples of a batch" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("gradient", ["server", "own"])
def test_a_game_on_layer_norm_is_the_same_everywhere(
    registry: Registry, networks: str, tmp_path: Path, gradient: str
) -> None:
    model = {"model": f"{networks}:normalised"}
    local = in_one_process(tmp_path / "local", "level-1", "level-1", **model)
    assert (
        over_http(registry, "level-1", "level-1", gradient, **model)["parameters_sha256"]
        == local["parameters_sha256"]
    )


def test_the_order_is_told_and_recorded(registry: Registry, networks: str, tmp_path: Path) -> None:
    with client_of(make_app(registry)) as server:
        plain = TinyRun(server, name="plain")
        assert plain.get("/model").json()["derivatives"] == "reverse-over-forward"
        told = TinyRun(server, model=f"{networks}:normalised").get("/model").json()["derivatives"]
        assert told != "reverse-over-forward"
    assert json.loads((tmp_path / "runs/tiny/environment.json").read_text())["derivatives"] == told


class OfOldRules(LocalGame):
    """A game whose server takes derivatives in an order that is wrong for its model."""

    def model(self) -> ModelDescription:
        return super().model().model_copy(update={"derivatives": "reverse-over-forward"})


@pytest.fixture
def training(networks: str) -> Training:
    specification = Specification.model_validate(SPECIFICATION | {"model": f"{networks}:normalised"})
    return Training(specification, tiny.split(), device=torch.device("cpu"))


def test_an_attacker_does_not_follow_an_order_that_is_wrong(training: Training) -> None:
    settings = AttackSettings("level-1", allowed=None)
    AttackedRun(LocalGame(training), settings)
    with pytest.raises(DerivativeError, match=r"is wrong here: layer '2' \(LayerNorm\)"):
        AttackedRun(OfOldRules(training), settings)


@pytest.fixture
def left(registry: Registry, networks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what a crash leaves of a run that was begun with derivatives of another order."""
    found = provenance.environment_of

    def elsewhere(run: TrainingRun) -> dict[str, Any]:
        return found(run) | {"derivatives": "reverse-over-forward"}

    monkeypatch.setattr(provenance, "environment_of", elsewhere)
    with client_of(make_app(registry)) as server:
        run = TinyRun(server, model=f"{networks}:normalised")
        run.play(0, 1)
        run.until_recorded(1)
        run.post("/checkpoint")
        copied = Path(shutil.copytree(tmp_path / "runs", tmp_path / "crashed"))
    monkeypatch.undo()
    return copied


def test_a_run_does_not_go_on_in_another_order(left: Path, networks: str) -> None:
    allowed = frozenset({f"{networks}:normalised"})
    refusing = tiny.registry(left, allowed=allowed)
    refusing.take_up(left_behind(left))
    why = refusing.set_aside["tiny"].sentence
    assert re.search(r"with derivatives reverse-over-forward, here .*--resume-anyway", why), why
    registry = tiny.registry(left, allowed=allowed, resume_anyway=True)
    registry.take_up(left_behind(left))
    with client_of(make_app(registry)) as server:
        TinyRun.found(server).play(1)
    recorded = json.loads((left / "tiny/environment.json").read_text())
    assert recorded["resumed_with"][0][0].startswith("derivatives reverse-over-forward, here ")
