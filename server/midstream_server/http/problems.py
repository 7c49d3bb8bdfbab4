"""Error handlers: the server reports every error as `application/problem+json`."""

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from midstream.protocol.messages.service import ProblemBody
from midstream.protocol.problem import PROBLEM_TYPE, Problem

_MEANING = {
    400: "The body cannot be read, or a header is missing or repeated",
    401: "The request has no token, or an unknown one",
    403: "The request comes from a page of another site, the token's role does not allow it, the run is "
    "black-box, or the batch's signature is missing or wrong",
    404: "There is no such run or version",
    408: "The body arrived too slowly",
    409: "The run's state does not allow it",
    410: "That version is no longer available",
    413: "The body is too large",
    415: "This resource does not accept the body's content type",
    421: "The Host header does not name this service",
    422: "A value is invalid",
    500: "The defender failed, or the server had an internal error",
    503: "Too many requests at once, the run is paused, or the server is shutting down; try again",
}


def documented(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return the OpenAPI `responses` of a route that can return these problems."""
    return {
        status: {
            "description": _MEANING[status],
            "model": ProblemBody,
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Turn every exception into a problem response."""

    def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return JSONResponse(
            problem.body(),
            problem.status,
            headers={**problem.headers(), **(headers or {})},
            media_type=PROBLEM_TYPE,
        )

    @app.exception_handler(Problem)
    async def _problem(_: Request, error: Problem) -> JSONResponse:
        return respond(error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400 and error.__cause__ is not None:
            return respond(Problem(400, "The body cannot be read", _unreadable(error.__cause__)))
        title = "No such resource" if error.status_code == 404 else str(error.detail)
        detail = f"{request.method} {request.url.path} is not a resource of this server; /docs lists them"
        return respond(Problem(error.status_code, title, detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        return respond(Problem(422, "The request is invalid", "; ".join(faults)))

    @app.exception_handler(ClientDisconnect)
    async def _left(_: Request, __: ClientDisconnect) -> JSONResponse:
        return respond(Problem(400, "The body broke off", "the client hung up before its end"))

    @app.exception_handler(Exception)
    async def _fault(request: Request, error: Exception) -> JSONResponse:
        logging.getLogger("midstream.server").exception("%s %s failed", request.method, request.url.path)
        detail = f"the server failed with a {type(error).__name__}; see its log"
        return respond(Problem(500, "Internal server error", detail))


def _unreadable(cause: BaseException) -> str:
    """Return why a body could not be parsed, for other reasons than its syntax."""
    if isinstance(cause, RecursionError):
        return "its JSON is nested too deeply; this resource takes a flat object"
    return f"it is not readable JSON: {cause}"
