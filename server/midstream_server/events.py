"""A run, live, as server-sent events."""

from collections.abc import AsyncIterator

from midstream_server.hosted import HostedRun
from midstream_server.messages import Message, Record, Status
from midstream_server.status import describe

KEEP_ALIVE = 10.0


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


def _event(kind: str, data: Message, number: int | None = None) -> str:
    identity = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{identity}data: {data.model_dump_json()}\n\n"
