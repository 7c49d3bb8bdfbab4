"""Runs: start, list, status, and the operator's controls."""

import asyncio
import json
from typing import Any

from fastapi import APIRouter, Request

from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.web.authorization import ROLE
from midstream_server.http.messages import Asked, Checkpoint, Health, Runs, Status
from midstream_server.http.problems import documented
from midstream_server.http.status import describe
from midstream_server.runs.hosted import HostedRun
from midstream_server.runs.registry import Registry

router = APIRouter()
_creating = asyncio.Lock()


def registry_of(request: Request) -> Registry:
    """Return the server's runs."""
    registry: Registry = request.app.state.registry
    return registry


def run_of(request: Request, run: str) -> HostedRun:
    """Return the run that a path names.

    Raises:
        midstream.protocol.problem.Problem: 404, there is none.
    """
    return registry_of(request).find(run)


@router.get("/health/live", tags=["health"], summary="The process answers", response_model=Health)
async def live() -> Any:
    """Answer as long as the process does."""
    return {"status": "live", "waiting_for": None}


@router.get(
    "/health/ready",
    tags=["health"],
    summary="Ready, or what the server waits for",
    response_model=Health,
    responses=documented(503),
)
async def ready(request: Request) -> Any:
    """Answer 200 once requests for runs are taken; `waiting_for` says what would come next."""
    registry = registry_of(request)
    registry.refuse_while_loading()
    waits = [f"run {run.name!r}: {run.waiting_for()}" for run in registry.runs.values() if run.waiting_for()]
    return {"status": "ready", "waiting_for": registry.waiting_for() or "; ".join(waits) or None}


@router.get("/v1/role", tags=["health"], summary="What the token may do", response_model=Asked)
async def role(request: Request) -> Any:
    """Tell the role of the token that was shown; everyone is an operator where no tokens are asked for."""
    return {"role": request.scope.get(ROLE, "operator")}


@router.post(
    "/v1/runs",
    tags=["runs"],
    summary="Start a run",
    status_code=201,
    response_model=Status,
    responses=documented(400, 409, 422),
)
async def create(specification: Specification, request: Request) -> Any:
    """Load the data and build the model; the run then waits for its first batch.

    Fields left out take the data set's defaults. Folders and code are only loaded where the operator of
    this server allowed them by name.
    """
    _refuse_repeated_names(await request.body())
    async with _creating:
        run = await asyncio.to_thread(registry_of(request).create, specification)
    run.begin()
    return describe(run)


def _refuse_repeated_names(body: bytes) -> None:
    """Refuse a specification that sets a name twice, of which the last would hold without a word.

    Raises:
        midstream.protocol.problem.Problem: 422, it does.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                detail = f"body.{name}: it is set {names.count(name)} times; set it once"
                raise Problem(422, "The request does not fit", detail)
        return dict(pairs)

    json.loads(body, object_pairs_hook=once)


@router.get("/v1/runs", tags=["runs"], summary="All runs", response_model=Runs)
async def index(request: Request) -> Any:
    """List the status of every run."""
    registry = registry_of(request)
    aside = [status for run in registry.set_aside.values() if (status := run.status()) is not None]
    return {"runs": [*(describe(run) for run in registry.runs.values()), *aside]}


@router.get(
    "/v1/runs/{run}", tags=["runs"], summary="One run", response_model=Status, responses=documented(404, 409)
)
async def status(run: str, request: Request) -> Any:
    """Tell state, step, losses, accuracies, rate, time left and the specification.

    A run that was set aside, since its files are damaged, is `failed`, and has neither steps nor a history.
    """
    aside = registry_of(request).set_aside.get(run)
    if aside is not None and (told := aside.status()) is not None:
        return told
    return describe(run_of(request, run))


@router.post(
    "/v1/runs/{run}/pause",
    tags=["control"],
    summary="Take no more batches",
    response_model=Status,
    responses=documented(404, 409),
)
async def pause(run: str, request: Request) -> Any:
    """Answer batches with 503 until the run is resumed."""
    found = run_of(request, run)
    await found.pause()
    return describe(found)


@router.post(
    "/v1/runs/{run}/resume",
    tags=["control"],
    summary="Take batches again",
    response_model=Status,
    responses=documented(404, 409),
)
async def resume(run: str, request: Request) -> Any:
    """Take batches again after a pause."""
    found = run_of(request, run)
    await found.resume()
    return describe(found)


@router.post(
    "/v1/runs/{run}/stop",
    tags=["control"],
    summary="End the run now",
    response_model=Status,
    responses=documented(404, 409),
)
async def stop(run: str, request: Request) -> Any:
    """End the run before its last step, with a checkpoint."""
    found = run_of(request, run)
    await found.stop()
    return describe(found)


@router.post(
    "/v1/runs/{run}/checkpoint",
    tags=["control"],
    summary="Write a checkpoint",
    response_model=Checkpoint,
    responses=documented(404),
)
async def checkpoint(run: str, request: Request) -> Any:
    """Write parameters and optimizer to the run folder, atomically, as one safetensors file."""
    found = run_of(request, run)
    return {"file": await found.checkpoint(), "step": found.version}
