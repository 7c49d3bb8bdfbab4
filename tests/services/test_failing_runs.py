"""A run whose defender fails, or whose loss is no longer a number, says so and trains on nothing wrong."""

import json
import math
from pathlib import Path

import httpx
import pytest

from midstream_server.http.app import make_app
from services import tiny
from services.loopback import client_of
from services.tiny import STEPS, TinyRun, problem
from services.waiting import until

DEFENDER = """
from pathlib import Path


class Moody:
    def perturb(self, batch, view):
        if batch.seq == 1 and not Path({mended!r}).exists():
            {fault}
        return batch.inputs * 0
"""
FAULTS = {
    "raises": "raise KeyError('out of ideas')",
    "a NaN": "return batch.inputs * float('nan')",
    "another shape": "return batch.inputs[:, :, :4]",
    "no tensor": "return None",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_defender_that_fails_is_named_and_its_batch_can_come_again(fault: str, tmp_path: Path) -> None:
    mended, plugin = tmp_path / "mended", tmp_path / "moody.py"
    plugin.write_text(DEFENDER.format(mended=str(mended), fault=FAULTS[fault]))
    name = f"{plugin}:Moody"
    registry = tiny.registry(tmp_path / "runs", allowed=frozenset({name}))
    with client_of(make_app(registry)) as server:
        run, undisturbed = TinyRun(server, name="moody", defender=name), TinyRun(server)
        run.play(0, 1)
        before = run.sha256()
        for _ in range(2):
            detail = problem(run.put(1), 500)["detail"]
            assert name in detail
            assert "batch 1" in detail
        assert run.sha256() == before
        assert run.status()["step"] == 1
        mended.touch()
        run.play(1)
        undisturbed.play(0)
        assert run.sha256() == undisturbed.sha256()


@pytest.fixture
def diverging(server: httpx.Client) -> TinyRun:
    """Return a run whose steps are so long that its loss ends beyond all numbers."""
    return TinyRun(server, learning_rate=9e5, optimizer="sgd", evaluate_every=1)


def test_a_run_that_diverges_fails_and_keeps_what_it_had(diverging: TinyRun, tmp_path: Path) -> None:
    seq = 0
    while (response := diverging.put(seq)).status_code == 200:
        seq = response.json()["next_seq"]
        assert seq < STEPS, "it should have diverged"
    assert problem(response, 409)["next_seq"] == seq
    status = diverging.until("failed")
    assert f"batch {seq}" in status["reason"]
    assert status["step"] == seq
    assert "failed" in problem(diverging.put(seq), 409)["title"]
    until(lambda: len(diverging.get("/metrics").json()["records"]) == seq, "the history")
    assert diverging.client.get("/metrics").status_code == 200
    with diverging.client.stream("GET", f"{diverging.path}/events") as events:
        assert '"failed"' in events.read().decode()
    for line in (tmp_path / "runs/tiny/metrics.jsonl").read_text().splitlines():
        assert math.isfinite(json.loads(line)["loss"])
