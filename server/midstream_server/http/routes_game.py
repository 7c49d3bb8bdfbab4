"""Routes of the game: batches in, and the resources that a white-box attacker reads."""

from typing import Annotated, Any
from weakref import WeakKeyDictionary

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.types import Receive, Scope, Send

from midstream.protocol.announcement import ANNOUNCEMENT, announced
from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.messages.model import ModelDescription
from midstream.protocol.problem import Problem
from midstream.protocol.signature import check_signature
from midstream.protocol.wire import BATCH_TYPE, TENSORS_TYPE, WireBatch, WireError, decode_batch
from midstream.web.bodies import read_limited
from midstream.web.places import kind_of
from midstream_server.http.problems import documented
from midstream_server.http.routes_runs import registry_of, run_of
from midstream_server.runs.hosting.hosted import HostedRun
from midstream_server.runs.hosting.waking import Pace
from midstream_server.runs.hosting.worker import off_the_loop

router = APIRouter(prefix="/v1/runs/{run}", tags=["game"])

_PIECE = 256 * 1024
_OTHER_POLLS = Pace(25, at_once=4)
_told: WeakKeyDictionary[HostedRun, int] = WeakKeyDictionary()  # newest version that any poll returned

Seq = Annotated[int, Path(ge=0, lt=2**63)]

_TENSORS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A safetensors file",
        "content": {TENSORS_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Nothing new"}}
_BATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One MessagePack map: protocol, seq, parameters_version, inputs, labels.",
        "content": {BATCH_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.put(
    "/batches/{seq}",
    summary="Train on one minibatch",
    responses=documented(400, 403, 404, 409, 413, 415, 422, 500, 503),
    openapi_extra=_BATCH_BODY,
)
async def put_batch(run: str, seq: Seq, request: Request) -> Acknowledgement:
    """Validate the batch, defend it, and take one step.

    Batches are idempotent: sending the same content again returns the same acknowledgement, with `replay`
    true. Different content under a known number, or a gap in the numbers, is a 409 with `next_seq`. A server
    that requires signed batches refuses unsigned and altered batches with a 403.
    """
    found = run_of(request, run)
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip()
    if kind not in (BATCH_TYPE, "application/vnd.msgpack", "application/x-msgpack"):
        raise Problem(415, "Not MessagePack", f"the Content-Type is {kind or 'absent'!r}; send {BATCH_TYPE}")
    declared = request.headers.get("Content-Length", "0")
    body = await read_limited(
        declared, request.stream(), most=found.largest_body, limit="a batch of this run has"
    )
    key = registry_of(request).settings.signature_key
    batch = await off_the_loop(lambda: _decode(body, run, key), size=len(body))
    answer = await found.put_batch(seq, batch, body)
    found.announce(announced(request.headers.get(ANNOUNCEMENT)))
    return answer


@router.get(
    "/model",
    summary="The model's architecture and loss",
    responses=documented(403, 404),
)
async def model(run: str, request: Request) -> ModelDescription:
    """Return the description that a client needs to rebuild the model."""
    return _white_box(request, run).run.description()


@router.get(
    "/parameters",
    summary="The live parameters",
    response_class=Response,
    responses=_TENSORS | NOT_MODIFIED | documented(403, 404, 410, 422),
)
async def parameters(
    run: str,
    request: Request,
    after: Annotated[
        int | None, Query(ge=-1, description="Respond once the version is greater than this.")
    ] = None,
    wait: Annotated[float, Query(ge=0, le=60, description="Maximum time to wait for that, in seconds.")] = 0,
    version: Annotated[
        int | None, Query(ge=0, description="Return exactly this version, if still available.")
    ] = None,
    if_none_match: Annotated[str | None, Header(description="An ETag; 304 if it still matches.")] = None,
) -> Response:
    """Return θ as safetensors; the version is in `X-Parameters-Version` and in the ETag.

    `after` and `wait` make this a long poll, which returns 304 if no newer version appears in time. The two
    newest versions are available; an older `version` is a 410.
    """
    found = _white_box(request, run)
    if version is None:
        floor = -1 if after is None else after
        if await found.wait_for_version(floor, wait) <= floor:
            return Response(status_code=304, headers=_tag(run, found.version))
        if kind_of(request.scope) == "wait":
            await _take_turn(found)
        version = found.version
    if holds(if_none_match, _tag(run, version)["ETag"]):
        return Response(status_code=304, headers=_tag(run, version))
    body = await found.published.parameters(version)
    return InPieces(body, media_type=TENSORS_TYPE, headers=_tag(run, version))


@router.get(
    "/validation",
    summary="The public validation set",
    response_class=Response,
    responses=_TENSORS | documented(404),
)
async def validation(run: str, request: Request) -> Response:
    """Return the validation set Dval as safetensors: `inputs` as stored (uint8 or float32) and `labels`."""
    return InPieces(await run_of(request, run).published.validation(), media_type=TENSORS_TYPE)


@router.get(
    "/validation-gradient/{version}",
    summary="The validation gradient v",
    response_class=Response,
    responses=_TENSORS | documented(403, 404, 410, 422),
)
async def validation_gradient(run: str, version: Seq, request: Request) -> Response:
    """Return `v = Σ_{z∈Dval} ∇θ L_θ(z)` at the live parameters, as safetensors.

    Both players know θ and Dval and could compute v themselves; the server computes it once for all clients.
    """
    found = _white_box(request, run)
    body = await found.published.validation_gradient(version)
    return InPieces(body, media_type=TENSORS_TYPE, headers=_tag(run, version))


@router.get(
    "/optimizer/{version}",
    summary="The optimizer's state before the next step",
    response_class=Response,
    responses=_TENSORS | documented(403, 404, 410, 422),
)
async def optimizer(run: str, version: Seq, request: Request) -> Response:
    """Return the optimizer's state for the step from the live parameters, as safetensors.

    The file's metadata hold the settings: `optimizer` (`sgd`, `sgd-momentum`, `adam`, `adam-l2`, `adamw` or
    `rmsprop`), `learning_rate` and the others of that optimizer; the protocol lists them. For Adam, `count`
    is the number of steps taken. If some parameters have taken fewer steps, `counts` is a JSON object with
    those numbers by parameter name. Moments are tensors named `first/PARAMETER` and so on; there are none
    before the first step. Clipping and later learning rates are those of the specification.
    """
    found = _white_box(request, run)
    body = await found.published.optimizer(version)
    return InPieces(body, media_type=TENSORS_TYPE, headers=_tag(run, version))


async def _take_turn(run: HostedRun) -> None:
    """Return at once for the first poll of a version, which may be an attacker's; pace all others."""
    first = _told.get(run) != run.version
    _told[run] = run.version
    if not first:
        await _OTHER_POLLS.turn()


def holds(if_none_match: str | None, tag: str) -> bool:
    """Return whether an `If-None-Match` header names an ETag (RFC 9110, 13.1.2)."""
    named = [name.strip().removeprefix("W/") for name in (if_none_match or "").split(",")]
    return tag in named or named == ["*"]


class InPieces(Response):
    """A response sent in pieces, so that a slow reader does not hold a copy of the whole body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for first in range(0, len(self.body), _PIECE):
            piece = bytes(self.body[first : first + _PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _white_box(request: Request, run: str) -> HostedRun:
    found = run_of(request, run)
    if found.specification.access == "black-box":
        raise Problem(
            403,
            "The run is black-box",
            f"run {run!r} does not publish its model, parameters, validation gradient or optimizer",
        )
    return found


def _tag(run: str, version: int) -> dict[str, str]:
    return {"ETag": f'"{run}-{version}"', "X-Parameters-Version": str(version), "Cache-Control": "no-cache"}


def _decode(body: bytes, run: str, key: bytes | None) -> WireBatch:
    try:
        batch = decode_batch(body)
    except WireError as error:
        raise Problem(400, "The body is not a batch", str(error)) from error
    if key is not None:
        check_signature(batch, run=run, key=key)
    return batch
