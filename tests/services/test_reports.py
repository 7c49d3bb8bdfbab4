"""What players report of their moves: in the metrics of either transport, and nowhere near the game."""

import csv
import io
import json
from pathlib import Path

import httpx
import msgpack
import pytest
from cases import CONV
from views import view

from midstream.protocol.wire import WireError, decode_batch
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.games import in_one_process
from services.loopback import client_of, served
from services.tiny import STEPS, TinyRun

pytestmark = pytest.mark.slow

ATTACKER, DEFENDER = "influence,max_iterations=3", "level-2"


def test_both_sides_reports_are_in_the_metrics(registry: Registry, tmp_path: Path) -> None:
    with served(make_server(registry)) as upstream:
        proxy = Proxy(upstream, AttackSettings(ATTACKER))
        with (
            served(make_app(proxy), transparent=True) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
        ):
            run = TinyRun(client, defender=DEFENDER)
            run.play(0)
            run.until("finished")
            records = run.get("/metrics").json()["records"]
            rows = list(csv.DictReader(io.StringIO(run.get("/metrics", params={"format": "csv"}).text)))
    assert len(records) == STEPS
    for record, row in zip(records, rows, strict=True):
        assert record["attacker"].keys() == {"cg_iterations", "cg_residual", "cg_negative_curvature"}
        assert 1 <= record["attacker"]["cg_iterations"] <= 3
        assert record["defender"]["pgd_steps"] >= 2
        assert json.loads(row["attacker"]) == record["attacker"]
    in_one_process(tmp_path, ATTACKER, DEFENDER)
    lines = next(tmp_path.glob("*/metrics.jsonl")).read_text().splitlines()
    local = [json.loads(line) for line in lines]
    for here, there in zip(local, records, strict=True):
        for side in ("attacker", "defender"):
            assert here[side] == pytest.approx(there[side], rel=1e-9)


def test_a_batch_without_a_report_has_none(registry: Registry) -> None:
    with client_of(make_server(registry)) as client:
        run = TinyRun(client)
        run.play(0)
        records = run.until_recorded(STEPS)
    assert all(record["attacker"] is None and record["defender"] is None for record in records)


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"Residual": 1.0}, "'Residual' is not a valid report name"),
        ({"residual": float("nan")}, "report residual is nan, which is not a finite number"),
        ({"residual": "small"}, "report residual is 'small', which is not a finite number"),
        ({f"n{i}": 1.0 for i in range(17)}, "17 exceeds max_map_len"),
        ([1.0], "report is not a map"),
    ],
)
def test_a_report_that_is_none_is_refused(report: object, message: str) -> None:
    fields = msgpack.unpackb(tiny.body(0))
    with pytest.raises(WireError, match=message):
        decode_batch(msgpack.packb(fields | {"report": report}))


def test_a_player_hears_of_a_bad_report_at_once() -> None:
    p = CONV.build()
    seen = view(p)
    with pytest.raises(ValueError, match="report loss is inf, which is not a finite number"):
        seen.report("loss", float("inf"))
    for number in range(16):
        seen.report(f"n{number}", number)
    with pytest.raises(ValueError, match="'one_more' is one report too many; a move has at most 16"):
        seen.report("one_more", 1)
