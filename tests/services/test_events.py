"""A run's events: every step once and in order, whoever reconnects and whenever the run ends."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from midstream.protocol.specification import Specification
from midstream_server.http.app import make_app, wake
from midstream_server.http.events import events
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.loopback import client_of
from services.tiny import SPECIFICATION, STEPS, TinyRun, problem

EVENTS = {"Content-Type": "text/event-stream"}


@dataclass(frozen=True)
class Received:
    """One event as a browser would see it."""

    kind: str
    number: str | None
    data: dict[str, Any]


def received(response: httpx.Response) -> Iterator[Received]:
    """Read a stream of events to its end."""
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Received(fields["event"], fields.get("id"), json.loads(fields["data"]))
            fields = {}
    assert not fields, "the stream ended within an event"


def steps(found: list[Received]) -> list[int]:
    return [event.data["step"] for event in found if event.kind == "step"]


def states(found: list[Received]) -> list[str]:
    return [event.data["state"] for event in found if event.kind == "status"]


def test_a_run_is_told_from_its_start_to_its_end(run: TinyRun) -> None:
    with run.client.stream("GET", f"{run.path}/events") as response:
        stream = received(response)
        first = next(stream)
        assert states([first]) == ["waiting"]
        run.play(0)
        found = list(stream)
    assert steps(found) == [1, 2, 3, 4, 5, 6]
    assert states(found) == ["running", "finished"]
    assert found[-1].kind == "status"
    assert [event.number for event in found if event.kind == "step"] == ["1", "2", "3", "4", "5", "6"]
    assert all(event.number is None for event in found if event.kind == "status")
    assert [event.data for event in found if event.kind == "step"] == run.until_recorded(STEPS)


def test_who_reconnects_misses_nothing_and_hears_nothing_twice(run: TinyRun) -> None:
    run.play(0, 4)
    with run.client.stream("GET", f"{run.path}/events") as response:
        heard = [event for event, _ in zip(received(response), range(2), strict=False)]
    assert steps(heard) == [1, 2]
    last = heard[-1].number
    assert last is not None
    run.play(4)
    with run.client.stream("GET", f"{run.path}/events", headers={"Last-Event-ID": last}) as response:
        assert steps(list(received(response))) == [3, 4, 5, 6]


def test_a_finished_run_is_told_whole_and_at_once(run: TinyRun) -> None:
    run.play(0)
    run.until("finished")
    with run.client.stream("GET", f"{run.path}/events") as response:
        found = list(received(response))
    assert steps(found) == [1, 2, 3, 4, 5, 6]
    assert states(found) == ["finished"]
    with run.client.stream("GET", f"{run.path}/events", headers={"Last-Event-ID": "6"}) as response:
        assert states(list(received(response))) == ["finished"]


def test_the_stream_ends_when_the_run_is_stopped(run: TinyRun) -> None:
    with run.client.stream("GET", f"{run.path}/events") as response:
        stream = received(response)
        assert states([next(stream)]) == ["waiting"]
        run.post("/stop")
        assert states(list(stream)) == ["stopped"]


def test_a_run_that_ends_while_an_event_is_on_its_way_loses_no_step(tmp_path: Path) -> None:
    async def play() -> str:
        run = tiny.registry(tmp_path).create(Specification.model_validate(SPECIFICATION))
        await run.put_batch(0, tiny.batch(0), tiny.body(0))
        while not run.recorded.records:
            await run.changed.wait(1)
        stream = events(run)
        told = await anext(stream)  # taken off, and the next not yet asked for
        for seq in range(1, STEPS):
            await run.put_batch(seq, tiny.batch(seq), tiny.body(seq))
        while run.state != "finished":
            await run.changed.wait(1)
        async for event in stream:
            told += event
        await run.close()
        return told

    found = list(received(httpx.Response(200, text=asyncio.run(play()), headers=EVENTS)))
    assert steps(found) == [1, 2, 3, 4, 5, 6]
    assert states(found) == ["running", "finished"]
    assert found[-1].kind == "status"


def test_an_idle_stream_is_kept_alive(run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midstream_server.http.events.KEEP_ALIVE", 0.05)
    with run.client.stream("GET", f"{run.path}/events") as response:
        comments = (line for line in response.iter_lines() if line.startswith(":"))
        assert next(comments)
        assert next(comments)


@pytest.mark.parametrize("last", ["-1", "newest"])
def test_a_last_event_that_cannot_be_is_422(run: TinyRun, last: str) -> None:
    problem(run.get("/events", headers={"Last-Event-ID": last}), 422)


def test_an_unknown_run_has_no_events(run: TinyRun) -> None:
    problem(run.client.get("/v1/runs/tony/events"), 404)


def test_all_runs_are_told_over_one_stream_from_now_on(registry: Registry) -> None:
    with client_of(make_app(registry)) as client:
        run = TinyRun(client)
        run.play(0, 2)
        run.until_recorded(2)
        with client.stream("GET", "/v1/events") as response:
            stream = received(response)
            first = next(stream)
            assert (first.kind, first.data["name"], first.data["step"]) == ("status", "tiny", 2)
            other = TinyRun(client, name="other")
            run.play(2)
            run.until("finished")
            other.play(0, 1)
            other.until_recorded(1)
            found: list[Received] = []
            while not {("tiny", 6), ("other", 1)} <= {
                (event.data["run"], event.data["step"]) for event in found if event.kind == "step"
            }:
                found.append(next(stream))
            wake(registry)
            found += list(stream)
    of_tiny = [event for event in found if event.data.get("run", event.data.get("name")) == "tiny"]
    assert steps(of_tiny) == [3, 4, 5, 6]
    assert states(of_tiny)[-1] == "finished"
    records = [{"run": "tiny", **record} for record in registry.find("tiny").recorded.records[2:]]
    assert [event.data for event in of_tiny if event.kind == "step"] == records
    assert steps([event for event in found if event not in of_tiny]) == [1]


def test_a_status_is_told_again_only_when_it_is_another(registry: Registry) -> None:
    with client_of(make_app(registry)) as client:
        run = TinyRun(client)
        with client.stream("GET", "/v1/events") as response:
            stream = received(response)
            assert next(stream).data["state"] == "waiting"
            run.post("/pause")
            assert next(stream).data["state"] == "paused"
            wake(registry)
            assert list(stream) == []


def test_an_idle_stream_of_all_runs_is_kept_alive(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midstream_server.http.events.KEEP_ALIVE", 0.05)
    with client_of(make_app(registry)) as client, client.stream("GET", "/v1/events") as response:
        comments = (line for line in response.iter_lines() if line.startswith(":"))
        assert next(comments) == ": from here on"
        assert next(comments) == next(comments) == ": nothing new"
        wake(registry)
