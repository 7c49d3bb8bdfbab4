"""A run that leaves the pixel range open: on both sides, by its own specification, and never by itself."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from midstream.protocol.specification import Specification
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.samples import sample_sheet
from midstream_server.runs.training import TrainingRun
from services import tiny
from services.games import in_one_process, over_http
from services.plain_batches import changed, pixel
from services.tiny import TinyRun, problem

pytestmark = pytest.mark.slow

OUTSIDE = [1.5, -0.25, float(np.nextafter(np.float32(1), np.float32(2))), -3e30]


@pytest.fixture
def open_run(server: httpx.Client) -> TinyRun:
    return TinyRun(server, pixel_range="unbounded")


@pytest.mark.parametrize("value", OUTSIDE)
def test_what_lies_outside_is_taken(open_run: TinyRun, value: float) -> None:
    assert open_run.put(0, changed(0, pixel(value))).status_code == 200


@pytest.mark.parametrize("value", OUTSIDE)
def test_a_run_that_did_not_agree_refuses_it(run: TinyRun, value: float) -> None:
    assert "must lie in [0, 1]" in problem(run.put(0, changed(0, pixel(value))), 422)["detail"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused_all_the_same(open_run: TinyRun, value: float) -> None:
    found = problem(open_run.put(0, changed(0, pixel(value))), 422)
    assert found["field"] == "inputs"
    assert "must be finite" in found["detail"]


def test_the_specification_is_asked_for_a_range_that_there_is(server: httpx.Client) -> None:
    refused = problem(server.post("/v1/runs", json=tiny.SPECIFICATION | {"pixel_range": "wide"}), 422)
    assert "pixel_range" in refused["detail"]


def test_both_players_leave_it_and_keep_to_their_balls() -> None:
    budgets: dict[Any, tuple[float, float]] = {}
    for pixel_range in ("valid", "unbounded"):
        settings = tiny.SPECIFICATION | {"pixel_range": pixel_range, "defender": "level-1", "epsilon": 2.0}
        run = TrainingRun(Specification.model_validate(settings), tiny.split(), device=torch.device("cpu"))
        attacked = AttackedRun(LocalGame(run), AttackSettings("evoshift", epsilon=3.0))
        sent = attacked.attack(tiny.batch(0)).inputs
        assert attacked.budget.size(sent - tiny.batch(0).inputs).max() <= 3 * (1 + 1e-5)
        defended = run.specification.budget.perturb(sent, torch.full_like(sent, -9.0))
        assert run.specification.budget.size(defended - sent).max() <= 2 * (1 + 1e-5)
        budgets[pixel_range] = sent.min().item(), defended.min().item()
    assert budgets["valid"] == (0.0, 0.0)
    assert max(budgets["unbounded"]) < 0


@pytest.mark.parametrize("attacker", ["evoshift", "level-2,fraction=0.5"])
def test_the_game_is_another_and_over_http_the_same(
    registry: Registry, tmp_path: Path, attacker: str
) -> None:
    valid = in_one_process(tmp_path / "valid", attacker, "level-2")
    local = in_one_process(tmp_path / "local", attacker, "level-2", pixel_range="unbounded")
    assert (valid["pixel_range"], local["pixel_range"]) == ("valid", "unbounded")
    assert valid["parameters_sha256"] != local["parameters_sha256"]
    result = over_http(registry, attacker, "level-2", pixel_range="unbounded")
    assert result["parameters_sha256"] == local["parameters_sha256"]


def test_what_lies_outside_is_pictured_black_or_white() -> None:
    received = torch.tensor([-0.5, 0.0, 1.0, 1.5]).reshape(1, 1, 2, 2)
    inside = received.clamp(0, 1)
    assert sample_sheet(received, received) == sample_sheet(inside, inside)
