"""A run, or all of them, live, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from midstream_server.hosted import HostedRun
from midstream_server.messages import Message, Record, RunRecord, Status
from midstream_server.registry import Registry
from midstream_server.status import describe

KEEP_ALIVE = 10.0

TOGETHER = 0.2
"""Seconds over which the events of all runs are gathered: what people watch need not come one by one."""


async def events(run: HostedRun, after: int = 0) -> AsyncIterator[str]:
    """Tell a run's steps after `after` and its states, as they come, until it is over.

    A `step` event holds a record of the metrics and has the step as its id; a `status` event holds the
    run's status, whenever its state is another. A comment is sent where nothing happens for a while.
    """
    sent, state = after, ""
    while True:
        # Taken before the records are, since the run goes on while an event is being sent.
        now, over, status = run.changed.now(), run.over, Status.model_validate(describe(run))
        for record in run.recorded.records[sent:]:
            sent = record["step"]
            yield _event("step", Record.model_validate(record), sent)
        if status.state != state:
            state = status.state
            yield _event("status", status)
        if over:
            return
        if not await run.changed.wait(KEEP_ALIVE, since=now):
            yield ": nothing new\n\n"


async def events_of_all(registry: Registry) -> AsyncIterator[str]:
    """Tell the steps that any run takes from now on, and each run's status when it is another.

    A comment opens the stream: whoever reads a run's metrics after it misses no step.
    """
    sent = {name: len(run.recorded.records) for name, run in registry.runs.items()}
    told: dict[str, dict[str, Any]] = {}
    quiet = 0.0
    yield ": from here on\n\n"
    while not registry.closing:
        text = ""
        for name, run in list(registry.runs.items()):
            records = run.recorded.records[sent.get(name, 0) :]
            sent[name] = sent.get(name, 0) + len(records)
            text += "".join(
                _event("step", RunRecord.model_validate({"run": name, **record})) for record in records
            )
            if (status := describe(run)) != told.get(name):
                told[name] = status
                text += _event("status", Status.model_validate(status))
        quiet = 0.0 if text else quiet + TOGETHER
        if quiet >= KEEP_ALIVE:
            text, quiet = ": nothing new\n\n", 0.0
        if text:
            yield text
        await asyncio.sleep(TOGETHER)


def _event(kind: str, data: Message, number: int | None = None) -> str:
    identity = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{identity}data: {data.model_dump_json()}\n\n"
