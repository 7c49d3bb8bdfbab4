"""Routes of pictures: a batch's examples, and the test images that a run's model fails at."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from midstream.protocol.messages.history import Mistakes, Predictions
from midstream.protocol.problem import Problem
from midstream.storage.run_folder import MISTAKES, SAMPLES
from midstream_server.http.problems import documented
from midstream_server.http.routes_game import Seq
from midstream_server.http.routes_runs import run_of

router = APIRouter(tags=["history"])

_PNG: dict[int | str, dict[str, Any]] = {200: {"description": "A PNG image", "content": {"image/png": {}}}}


@router.get(
    "/v1/runs/{run}/samples/{seq}",
    summary="Pictures of a batch's examples",
    response_class=Response,
    responses=_PNG | documented(404, 422),
)
async def samples(run: str, seq: Seq, request: Request) -> Response:
    """Return a PNG with one row for each of a few examples: as it arrived, the correction, and their sum."""
    return FileResponse(_sampled(request, run, seq, "png"), media_type="image/png")


@router.get(
    "/v1/runs/{run}/samples/{seq}/predictions",
    summary="Predictions for the pictured examples",
    response_model=Predictions,
    responses=documented(404, 422),
)
async def predictions(run: str, seq: Seq, request: Request) -> Response:
    """Return labels and predictions of the pictured examples, by the model after that batch's step."""
    return FileResponse(_sampled(request, run, seq, "json"), media_type="application/json")


@router.get(
    "/v1/runs/{run}/samples/{seq}/clean",
    summary="Clean examples of a batch, and their perturbations",
    response_class=Response,
    responses=_PNG | documented(404, 422),
)
async def clean(run: str, seq: Seq, request: Request) -> Response:
    """Return a PNG with one row for each of the same examples: before the attack, and the perturbation.

    Only the attacker's process knows them. There are pictures only if it drew them in this server's run
    folder (`attack --show-clean`) and the operator lets this server show them (`serve --show-clean`).
    """
    folder = run_of(request, run).clean()
    path = None if folder is None else folder / f"{seq:07d}.png"
    if path is None or not path.is_file():
        raise Problem(404, "No clean examples", f"the clean examples of batch {seq} are not shown here")
    return FileResponse(path, media_type="image/png")


@router.get(
    "/v1/runs/{run}/mistakes",
    summary="Confusion matrix, and test images that the model fails at",
    response_model=Mistakes,
    responses=documented(404),
)
async def mistakes(run: str, request: Request) -> Response:
    """Return what the model took the test images for when it was last evaluated."""
    found = run_of(request, run)
    if not found.run.task.classifies:
        detail = f"run {run!r} learns {found.run.task.kind}, whose targets are no classes"
        raise Problem(404, "No mistakes", detail)
    path = found.recorded.folder.path / SAMPLES / MISTAKES
    try:
        # Not a FileResponse, which reads the size first: each evaluation replaces the file by another.
        content = await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError:
        detail = f"run {run!r} has not been evaluated on its test set yet"
        raise Problem(404, "Not evaluated yet", detail) from None
    return Response(content, media_type="application/json")


def _sampled(request: Request, run: str, seq: int, kind: str) -> Path:
    recorded = run_of(request, run).recorded
    path = recorded.folder.path / f"samples/{seq:07d}.{kind}"
    if seq not in recorded.samples or not path.is_file():
        newest = recorded.samples[-1] if recorded.samples else "none yet"
        raise Problem(
            404, "No pictures of that batch", f"batch {seq} was not sampled; the newest is {newest}"
        )
    return path
