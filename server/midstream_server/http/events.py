"""Server-sent events of one run, or of all runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from functools import partial
from weakref import WeakKeyDictionary

from midstream.protocol.messages.history import Record, RunRecord
from midstream.protocol.messages.message import Message
from midstream_server.http.history import AT_ONCE, Records, aside
from midstream_server.http.status import describe
from midstream_server.runs.hosting.hosted import HostedRun
from midstream_server.runs.hosting.registry import Registry

KEEP_ALIVE = 10.0

TOGETHER = 0.2
"""Seconds over which events are batched: people do not need each one separately."""

_FEW = 20  # so few records are encoded once and shared by all watchers; more than that are a replay
_texts: WeakKeyDictionary[HostedRun, dict[Hashable, str]] = WeakKeyDictionary()


async def events(run: HostedRun, after: int = 0) -> AsyncIterator[str]:
    """Yield the run's steps after `after` and its changes of state, batched over `TOGETHER`, until it ends.

    A `step` event holds one record of the metrics and has the step as its id. A `status` event holds the
    run's status and follows each change of state. After `KEEP_ALIVE` seconds without an event, a comment is
    sent.
    """
    clock = asyncio.get_running_loop().time
    sent, state = after, ""
    while True:
        # Read before the records, since the run continues while an event is being sent.
        now, over, began = run.changed.now(), run.over, clock()
        status = describe(run) if run.state != state else None
        while sent < len(run.recorded.records):
            text, sent = await _steps(run, sent)
            yield text
        if status is not None:
            state = status.state
            yield _event("status", status)
        if over:
            return
        if not await run.changed.wait(KEEP_ALIVE, since=now):
            yield ": nothing new\n\n"
        await asyncio.sleep(TOGETHER - (clock() - began))


async def events_of_all(registry: Registry) -> AsyncIterator[str]:
    """Yield every step that a run takes from now on, and every changed status.

    The stream opens with a comment. A client that reads a run's metrics after that comment misses no step.
    """
    sent = {name: len(run.recorded.records) for name, run in registry.runs.items()}
    told: dict[str, str] = {}
    quiet = 0.0
    yield ": from here on\n\n"
    while not registry.closing:
        quiet += TOGETHER
        for name, run in list(registry.runs.items()):
            while sent.setdefault(name, 0) < len(run.recorded.records):
                text, sent[name] = await _steps(run, sent[name], name)
                quiet = 0.0
                yield text
            if (text := _status(run)) != told.get(name):
                told[name], quiet = text, 0.0
                yield text
        if quiet >= KEEP_ALIVE:
            quiet = 0.0
            yield ": nothing new\n\n"
        await asyncio.sleep(TOGETHER)


async def _steps(run: HostedRun, sent: int, name: str | None = None) -> tuple[str, int]:
    """Return the events of some records after the first `sent`, and the new number of records sent."""
    piece = run.recorded.records[sent : sent + AT_ONCE]
    if len(piece) > _FEW:
        text = await aside(partial(_joined, piece, name))
    else:
        text = "".join(_once(run, (name, record["step"]), partial(_step, name, record)) for record in piece)
    return text, sent + len(piece)


def _joined(records: Records, name: str | None) -> str:
    return "".join(_step(name, record) for record in records)


def _step(name: str | None, record: Mapping[str, object]) -> str:
    if name is None:
        step = Record.model_validate(record)
        return _event("step", step, step.step)
    return _event("step", RunRecord.model_validate({"run": name, **record}))


def _status(run: HostedRun) -> str:
    """Return the event of a run's status, rebuilt at most once per `TOGETHER`."""
    moment = int(asyncio.get_running_loop().time() / TOGETHER)
    return _once(run, moment, lambda: _event("status", describe(run)))


def _once(run: HostedRun, key: Hashable, make: Callable[[], str]) -> str:
    texts = _texts.setdefault(run, {})
    if key not in texts:
        if len(texts) > 10 * _FEW:
            texts.clear()
        texts[key] = make()
    return texts[key]


def _event(kind: str, data: Message, number: int | None = None) -> str:
    identity = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{identity}data: {data.model_dump_json()}\n\n"
