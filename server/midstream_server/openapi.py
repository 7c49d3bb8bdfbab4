"""The OpenAPI document, mended where the framework writes what this server does not do."""

from typing import Any

from midstream.problem import PROBLEM_TYPE
from midstream_server import messages


def mend(document: dict[str, Any]) -> None:
    """Make a document say what the server answers, in place.

    The framework adds a 422 of its own form to every route with a path parameter, offers each problem as
    plain JSON too, and drops the nulls of examples.
    """
    for methods in document["paths"].values():
        for operation in methods.values():
            responses = operation["responses"]
            for status, response in list(responses.items()):
                if "HTTPValidationError" in str(response):
                    del responses[status]
                elif int(status) >= 400:
                    response["content"] = {PROBLEM_TYPE: response["content"][PROBLEM_TYPE]}
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for name, schema in schemas.items():
        config = getattr(getattr(messages, name, None), "model_config", {})
        if isinstance(extra := config.get("json_schema_extra"), dict):
            schema.update(extra)
