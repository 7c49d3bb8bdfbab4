"""Routes of a run's history: metrics, live events, pictures, and Prometheus metrics."""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from midstream.protocol.messages.history import COLUMNS, Metrics
from midstream.protocol.problem import Problem
from midstream_server.http.downsampling import FEWEST, thinned
from midstream_server.http.events import events, events_of_all
from midstream_server.http.history import aside, csv_pieces, json_pieces
from midstream_server.http.problems import documented
from midstream_server.http.routes_game import NOT_MODIFIED, holds
from midstream_server.http.routes_runs import registry_of, run_of
from midstream_server.http.status import describe

router = APIRouter(tags=["history"])

_PROCESS = uuid4().hex[:8]  # in the ETag, since replayed steps have different times
_POINTS = (
    "Maximum number of records besides the evaluated ones; peaks and troughs of loss and correction are kept."
)
_Format = Annotated[
    str | None, Query(pattern="^(json|csv)$", description="json or csv; takes precedence over Accept.")
]

_CSV: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One record per step; CSV if Accept begins with text/csv, or with format=csv",
        "content": {"text/csv": {"example": ",".join(COLUMNS)}},
    }
}
_EVENT = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "event": {"type": "string", "enum": ["step", "status"]},
        "id": {"type": "string", "description": "The step."},
        "data": {"type": "string", "description": "A Record or a Status, as JSON."},
    },
    "required": ["event", "data"],
}
_EVENT_OF_ALL = _EVENT | {
    "properties": {
        "event": {"type": "string", "enum": ["step", "status"]},
        "data": {"type": "string", "description": "A Record with its `run`, or a Status, as JSON."},
    }
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}
_EVENTS_OF_ALL: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events",
        "content": {"text/event-stream": {"schema": _EVENT_OF_ALL}},
    }
}
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus text", "content": {"text/plain": {}}}
}


@router.get(
    "/v1/runs/{run}/metrics",
    summary="The run's history",
    response_model=Metrics,
    responses=_CSV | NOT_MODIFIED | documented(404, 422),
)
async def metrics(
    run: str,
    request: Request,
    after: Annotated[int, Query(ge=0, description="Return only steps after this one.")] = 0,
    limit: Annotated[
        int | None, Query(ge=1, description="Maximum number of records; `Link` names the next page.")
    ] = None,
    points: Annotated[int | None, Query(ge=FEWEST, description=_POINTS)] = None,
    format: _Format = None,  # noqa: A002
    accept: Annotated[str | None, Header(description="text/csv for CSV, unless `format` is given.")] = None,
    if_none_match: Annotated[str | None, Header(description="An ETag; 304 if it still matches.")] = None,
) -> Response:
    """Return one record per step, or with `points` a smaller number for drawing.

    With `limit` the history is paged, and `Link` names the next page if there is one. The ETag changes when
    records are added.
    """
    if limit is not None and points is not None:
        raise Problem(422, "The request is invalid", "limit and points exclude each other; send only one")
    recorded = run_of(request, run).recorded
    records: Sequence[Mapping[str, Any]] = recorded.records
    end = len(records) if limit is None else min(len(records), after + limit)
    as_csv = format == "csv" or (format is None and (accept or "").startswith("text/csv"))
    tag = f'"{_PROCESS}-{recorded.identity}-{after}-{end}-{points}-{"csv" if as_csv else "json"}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept"}
    if end < len(records):
        following = request.url.include_query_params(after=end)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if holds(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    records = records[after:end]
    if points is not None:
        records = await aside(partial(thinned, records, points))
    pieces = csv_pieces(records) if as_csv else json_pieces(run, records)
    return StreamingResponse(pieces, headers=headers, media_type="text/csv" if as_csv else "application/json")


@router.get(
    "/v1/runs/{run}/events",
    summary="Live events of a run",
    response_class=Response,
    responses=_EVENTS | documented(404, 422),
)
async def stream_events(
    run: str,
    request: Request,
    last_event_id: Annotated[int | None, Header(ge=0, description="Continue after this event.")] = None,
) -> Response:
    """Stream `step` events (one record of the metrics each; the id is the step) and `status` events.

    A client that reconnects with `Last-Event-ID` misses nothing. The stream ends with the run.
    """
    return _stream(events(run_of(request, run), last_event_id or 0))


@router.get(
    "/v1/events", summary="Live events of all runs", response_class=Response, responses=_EVENTS_OF_ALL
)
async def stream_events_of_all(request: Request) -> Response:
    """Stream every step that a run takes from now on, and every changed status.

    A page needs only this one connection; browsers open at most six to a server. The stream ends when the
    server stops.
    """
    return _stream(events_of_all(registry_of(request)))


def _stream(told: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(
        told,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response, responses=_TEXT)
async def prometheus(request: Request) -> Response:
    """Return every run's step, losses, accuracies and rates in Prometheus' text format."""
    registry = CollectorRegistry()
    gauges = {
        name: Gauge(f"midstream_{name}", text, ["run"], registry=registry)
        for name, text in (
            ("step", "Steps taken"),
            ("total_steps", "Steps of the whole run"),
            ("loss", "Mean training loss of the last step, in nats per example"),
            ("test_accuracy", "Accuracy on the test set at the last evaluation"),
            ("validation_accuracy", "Accuracy on the validation set at the last evaluation"),
            ("validation_loss", "Mean validation loss at the last evaluation, in nats per example"),
            ("conversion_rate", "Share of the other classes' test inputs predicted as the target class"),
            ("evasion_rate", "Share of the target class's test inputs predicted as another class"),
            ("steps_per_second", "Rate over the most recent steps"),
        )
    }
    passed = Gauge(
        "midstream_passed_clean",
        "Batches passed on unchanged because a player failed",
        ["run", "side"],
        registry=registry,
    )
    resumed = Gauge(
        "midstream_resumed_anyway",
        "Times a player was resumed although its memory did not match the run",
        ["run", "side"],
        registry=registry,
    )
    for run in registry_of(request).runs.values():
        status = describe(run)
        for side, count in status.passed_clean.by_side().items():
            passed.labels(run.name, side).set(count)
        for side, count in status.resumed_anyway.by_side().items():
            resumed.labels(run.name, side).set(count)
        for name, gauge in gauges.items():
            if (value := getattr(status, name)) is not None:
                gauge.labels(run.name).set(value)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
