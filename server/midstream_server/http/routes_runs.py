"""Routes of runs: start, list, status, and the operator's controls."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import APIRouter, Request

from midstream.protocol.messages.runs import Checkpoint, Runs, Status
from midstream.protocol.messages.service import Asked, Health
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.web.authorization import ROLE
from midstream_server.http.problems import documented
from midstream_server.http.status import describe
from midstream_server.runs.hosting.controls import Controls
from midstream_server.runs.hosting.hosted import HostedRun
from midstream_server.runs.hosting.registry import Registry

router = APIRouter()
_creating = asyncio.Lock()


def registry_of(request: Request) -> Registry:
    """Return the server's runs."""
    registry: Registry = request.app.state.registry
    return registry


def run_of(request: Request, run: str) -> HostedRun:
    """Return the run with this name.

    Raises:
        midstream.protocol.problem.Problem: 404 if there is no such run, 409 if it was set aside.
    """
    return registry_of(request).find(run)


@router.get("/health/live", tags=["health"], summary="The process is alive")
async def live() -> Health:
    """Return 200 as long as the process responds."""
    return Health(status="live", waiting_for=None)


@router.get(
    "/health/ready",
    tags=["health"],
    summary="Ready, or what the server waits for",
    responses=documented(503),
)
async def ready(request: Request) -> Health:
    """Return 200 once the server takes requests for runs; `waiting_for` says what it waits for."""
    registry = registry_of(request)
    registry.refuse_while_loading()
    waits = [f"run {run.name!r}: {run.waiting_for()}" for run in registry.runs.values() if run.waiting_for()]
    return Health(status="ready", waiting_for=registry.waiting_for() or "; ".join(waits) or None)


@router.get("/v1/role", tags=["health"], summary="The token's role")
async def role(request: Request) -> Asked:
    """Return the role of the request's token. On a server without tokens, everyone is an operator."""
    return Asked(role=request.scope.get(ROLE, "operator"))


@router.post(
    "/v1/runs",
    tags=["runs"],
    summary="Start a run",
    status_code=201,
    responses=documented(400, 409, 422),
)
async def create(specification: Specification, request: Request) -> Status:
    """Load the data and build the model; the run then waits for its first batch.

    Omitted fields take the data set's defaults. The server loads only the folders and the code that its
    operator has allowed by name.
    """
    _refuse_repeated_names(await request.body())
    async with _creating:
        run = await asyncio.to_thread(registry_of(request).create, specification)
    run.begin()
    return describe(run)


def _refuse_repeated_names(body: bytes) -> None:
    """Refuse a specification with a duplicate name, of which JSON would silently keep the last.

    Raises:
        midstream.protocol.problem.Problem: 422 if a name is set twice.
    """

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                detail = f"body.{name}: it is set {names.count(name)} times; set it once"
                raise Problem(422, "The request is invalid", detail)
        return dict(pairs)

    json.loads(body, object_pairs_hook=once)


@router.get("/v1/runs", tags=["runs"], summary="All runs")
async def index(request: Request) -> Runs:
    """List the status of every run."""
    registry = registry_of(request)
    aside = [status for run in registry.set_aside.values() if (status := run.status()) is not None]
    return Runs(runs=[*(describe(run) for run in registry.runs.values()), *aside])


@router.get("/v1/runs/{run}", tags=["runs"], summary="One run", responses=documented(404, 409))
async def status(run: str, request: Request) -> Status:
    """Return the run's state, step, losses, accuracies, rate, time left and specification.

    A run that was set aside because its files are damaged is `failed`, and has no steps and no history.
    """
    aside = registry_of(request).set_aside.get(run)
    if aside is not None and (told := aside.status()) is not None:
        return told
    return describe(run_of(request, run))


_control = partial(router.post, tags=["control"], responses=documented(404, 409))


@_control("/v1/runs/{run}/pause", summary="Pause the run")
async def pause(run: str, request: Request) -> Status:
    """Refuse batches with 503 until the run is resumed."""
    return await _after(Controls.pause, run_of(request, run))


@_control("/v1/runs/{run}/resume", summary="Resume the run")
async def resume(run: str, request: Request) -> Status:
    """Accept batches again after a pause."""
    return await _after(Controls.resume, run_of(request, run))


@_control("/v1/runs/{run}/stop", summary="Stop the run")
async def stop(run: str, request: Request) -> Status:
    """Write a checkpoint and end the run before its last step."""
    return await _after(Controls.stop, run_of(request, run))


async def _after(control: Callable[[Controls], Awaitable[None]], found: HostedRun) -> Status:
    await control(found.controls)
    return describe(found)


@router.post(
    "/v1/runs/{run}/checkpoint",
    tags=["control"],
    summary="Write a checkpoint",
    responses=documented(404),
)
async def checkpoint(run: str, request: Request) -> Checkpoint:
    """Write parameters and optimizer atomically to the run folder, as one safetensors file."""
    found = run_of(request, run)
    return Checkpoint(file=await found.controls.checkpoint(), step=found.version)
