"""Corrections to the OpenAPI document where the framework describes what this server does not do."""

from typing import Any

from midstream.protocol.messages.message import Message
from midstream.protocol.problem import PROBLEM_TYPE
from midstream.web.authorization import OPEN
from midstream_server.http.problems import documented

_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "The token of the observer (GET), the provider (also PUT) or the operator (everything). "
    "A server started without tokens requires none.",
}


def mend(document: dict[str, Any]) -> None:
    """Correct the document in place.

    The framework adds a 422 in its own format to every route with a path parameter, lists plain JSON as a
    second type of each problem, and drops the nulls of examples.
    """
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            responses = operation["responses"]
            for status, response in list(responses.items()):
                if "HTTPValidationError" in str(response):
                    del responses[status]
                elif int(status) >= 400:
                    response["content"] = {PROBLEM_TYPE: response["content"][PROBLEM_TYPE]}
            _add(responses, 400, 403, 421)
            if path not in OPEN:
                operation["security"] = [{"token": []}]
                if path.startswith("/v1/runs/{run}/"):
                    _add(responses, 409)  # the run was set aside
                _add(responses, 401, 503, *([] if method == "get" else [408, 413]))
    document["components"]["securitySchemes"] = {"token": _SCHEME}
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for message in Message.__subclasses__():
        extra = message.model_config.get("json_schema_extra")
        if message.__name__ in schemas and isinstance(extra, dict):
            schemas[message.__name__].update(extra)


def _add(responses: dict[str, object], *statuses: int) -> None:
    for status, response in documented(*statuses).items():
        kept = {key: value for key, value in response.items() if key != "model"}
        responses.setdefault(str(status), kept)
