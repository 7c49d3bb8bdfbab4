"""A long history: given in pieces and pages, while everything else goes on."""

import asyncio
import csv
import io
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from midstream_server.http import history
from midstream_server.runs.hosting.registry import Registry
from services.sockets import ask
from services.tiny import TinyRun, problem
from services.waiting import LONGEST, until

pytestmark = pytest.mark.slow

LONG = 100_000


@pytest.fixture
def long(registry: Registry, run: TinyRun) -> TinyRun:
    """Return a run with a history as of many steps."""
    run.play(0, 1)
    run.until_recorded(1)
    records = registry.find(run.name).recorded.records
    records += [records[0] | {"step": step} for step in range(2, LONG + 1)]
    return run


def memory() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("path", ["/metrics", "/metrics?format=csv", "/events"])
def test_what_nobody_reads_takes_up_nothing(long: TinyRun, path: str) -> None:
    before = memory()
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(ask(str(long.client.base_url), long.path + path, buffer=4096))
        for _ in range(20):
            assert long.client.get("/health/live").status_code == 200
        assert memory() - before < 50_000_000  # twenty copies take 500 MB
        assert long.put(1).status_code == 200


@pytest.mark.parametrize(("path", "encode"), [("/metrics", "_members"), ("/metrics?format=csv", "as_csv")])
def test_others_are_answered_while_it_is_read(
    long: TinyRun, path: str, encode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the first pieces is held up while it is encoded, until others have been answered meanwhile."""
    encoded, answered, sizes = getattr(history, encode), [0], list[int]()

    def after_others(records: history.Records, *more: object) -> object:
        if records:
            sizes.append(len(records))
            before = answered[0]
            until(lambda: len(sizes) > 16 or answered[0] > before + 1, "others to be answered")
        return encoded(records, *more)

    def read() -> int:
        return len(
            httpx.get(f"{long.client.base_url}{long.path}{path}", trust_env=False, timeout=LONGEST).text
        )

    monkeypatch.setattr(history, encode, after_others)
    monkeypatch.setattr(history, "_REST", 0.0)
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(read)
        while not whole.done():
            assert long.client.get("/health/live").status_code == 200
            answered[0] += 1
    assert whole.result() > 10 * LONG
    assert answered[0] > 30
    assert sum(sizes) == LONG
    assert max(sizes) <= history.AT_ONCE


def test_the_thread_that_encodes_it_rests_twice_as_long_as_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rested = iter([10.0, 13.0]), list[float]()
    monkeypatch.setattr(
        history, "time", SimpleNamespace(perf_counter=lambda: next(clock), sleep=rested.append)
    )
    assert asyncio.run(history.aside(lambda: "done")) == "done"
    assert rested == [6.0]


def test_it_comes_in_pages(run: TinyRun) -> None:
    run.play(0)
    records = run.until_recorded(6)
    path, found = f"{run.path}/metrics?limit=4", []
    while path:
        page = run.client.get(path)
        found.append(page.json()["records"])
        following = re.fullmatch(r'<(.+)>; rel="next"', page.headers.get("Link", ""))
        path = following[1] if following else ""
    assert found == [records[:4], records[4:]]
    assert run.get("/metrics", params={"after": 1, "limit": 2}).json()["records"] == records[1:3]
    page = run.get("/metrics", params={"after": 2, "limit": 3, "format": "csv"})
    assert [row["step"] for row in csv.DictReader(io.StringIO(page.text))] == ["3", "4", "5"]
    assert page.headers["Link"] == f'<{run.path}/metrics?limit=3&format=csv&after=5>; rel="next"'
    assert "limit" in problem(run.get("/metrics", params={"limit": 2, "points": 10}), 422)["detail"]
    problem(run.get("/metrics", params={"limit": 0}), 422)


def test_it_is_not_sent_again_while_it_is_the_same(run: TinyRun) -> None:
    run.play(0, 2)
    run.until_recorded(2)
    tags = {}
    for query in ("", "?format=csv", "?after=1", "?points=10", "?limit=1"):
        answer = run.get(f"/metrics{query}")
        tags[query] = answer.headers["ETag"]
        for named in (tags[query], f'W/{tags[query]}, "other"', "*"):
            again = run.get(f"/metrics{query}", headers={"If-None-Match": named})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["ETag"] == tags[query]
        assert run.get(f"/metrics{query}", headers={"If-None-Match": '"other"'}).status_code == 200
    assert len(set(tags.values())) == len(tags)
    run.play(2, 3)
    run.until_recorded(3)
    changed = [
        query
        for query, tag in tags.items()
        if run.get(f"/metrics{query}", headers={"If-None-Match": tag}).status_code == 200
    ]
    assert changed == ["", "?format=csv", "?after=1", "?points=10"]  # the first page stays as it is


def test_what_json_cannot_say_is_null(registry: Registry, run: TinyRun) -> None:
    run.play(0, 1)
    run.until_recorded(1)
    registry.find(run.name).recorded.records[0]["test_loss"] = float("inf")
    text = run.get("/metrics").text
    assert json.loads(text, parse_constant=pytest.fail)["records"][0]["test_loss"] is None


def test_a_replay_of_events_has_every_step(long: TinyRun) -> None:
    with long.client.stream(
        "GET", f"{long.path}/events", headers={"Last-Event-ID": str(LONG - 1000)}
    ) as told:
        steps = (line[4:] for line in told.iter_lines() if line.startswith("id: "))
        assert [next(steps) for _ in range(1000)] == [str(step) for step in range(LONG - 999, LONG + 1)]
