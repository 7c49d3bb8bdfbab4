"""Optimizers and schedules over HTTP: the bits of one process, and what a client may not have loaded."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.games import in_one_process, over_http
from services.loopback import client_of
from services.tiny import SPECIFICATION, STEPS, TinyRun, problem

SETTINGS: dict[str, dict[str, Any]] = {
    "momentum": {
        "optimizer": "sgd,momentum=0.9,nesterov=true,weight_decay=0.01",
        "schedule": "cosine,warmup=2",
        "clip_norm": 3.0,
    },
    "adamw": {"optimizer": "adamw,weight_decay=0.1", "schedule": "step,every=1"},
    "rmsprop": {"optimizer": "rmsprop,momentum=0.5", "schedule": "one-cycle"},
}


@pytest.mark.parametrize(
    "settings",
    [  # each case plays two whole games
        pytest.param(settings, id=name, marks=[pytest.mark.slow] * (name != "momentum"))
        for name, settings in SETTINGS.items()
    ],
)
def test_over_http_the_exact_utility_goes_through_the_same_steps(
    registry: Registry, tmp_path: Path, settings: dict[str, Any]
) -> None:
    players = "level-1,utility=exact,lookahead=2", "level-2,utility=exact,steps=2"
    local = in_one_process(tmp_path / "local", *players, **settings, model="logistic")
    assert (
        over_http(registry, *players, **settings, model="logistic")["parameters_sha256"]
        == (local["parameters_sha256"])
    )


def test_over_http_accumulated_steps_are_the_same(registry: Registry, tmp_path: Path) -> None:
    settings = {"accumulate": 4, "optimizer": "sgd,momentum=0.9", "schedule": "cosine", "model": "logistic"}
    local = in_one_process(tmp_path / "local", "level-2", "level-1", **settings)
    served_run = over_http(registry, "level-2", "level-1", **settings)
    assert served_run["parameters_sha256"] == local["parameters_sha256"]


def test_a_client_cannot_have_the_server_import_an_optimizer(registry: Registry, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nfrom torch.optim import SGD as Mine\n")
    with client_of(make_app(registry)) as client:
        for name in (f"{trap}:Mine", "torch.optim:NAdam", "sched:scheduler"):
            refused = client.post("/v1/runs", json=SPECIFICATION | {"optimizer": name})
            detail = problem(refused, 422)["detail"]
            assert f"optimizer {name!r} is code that this process was not told to load" in detail
            assert f"start it with --allow {name}" in detail
        assert not (tmp_path / "sprung").exists()
        unknown = client.post("/v1/runs", json=SPECIFICATION | {"optimizer": "lion"})
        assert "there is no optimizer called 'lion'" in problem(unknown, 422)["detail"]


def test_an_optimizer_that_the_operator_allows_trains(tmp_path: Path) -> None:
    registry = tiny.registry(tmp_path / "runs", allowed=frozenset({"torch.optim:NAdam"}))
    with client_of(make_app(registry)) as client:
        run = TinyRun(client, optimizer="torch.optim:NAdam,momentum_decay=0.01", schedule="cosine")
        refused = problem(run.get("/optimizer/0"), 404)
        assert refused["title"] == "The optimizer's step is not modelled"
        assert "a step of NAdam is not modelled" in refused["detail"]
        assert "a step of NAdam is not modelled" in run.get("/model").json()["unmodelled"]
        run.play(0)
        assert run.until("finished")["result"]["steps"] == STEPS


def test_over_http_the_same_images_are_augmented(registry: Registry, tmp_path: Path) -> None:
    settings = {"augment": "crop,padding=1+flip+randaugment", "augment_at": "both", "model": "logistic"}
    local = in_one_process(tmp_path / "local", "level-1", "level-1", **settings)
    over = over_http(registry, "level-1", "level-1", **settings)
    assert over["parameters_sha256"] == local["parameters_sha256"]
    environment = json.loads((tmp_path / "local/tiny/environment.json").read_text())
    assert environment["torchvision"] == version("torchvision")
    plain = in_one_process(tmp_path / "plain", "level-1", "level-1", model="logistic")
    assert plain["parameters_sha256"] != local["parameters_sha256"]
