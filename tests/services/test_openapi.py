"""The OpenAPI document says everything that a caller meets: statuses, problems, examples."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from midstream.protocol.problem import PROBLEM_TYPE
from midstream_server.http.app import make_app
from services import tiny
from services.statuses import STATUSES


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app = make_app(tiny.registry(tmp_path_factory.mktemp("runs")))
    written: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return written


def of_every_stranger(method: str, path: str) -> set[int]:
    if path.startswith("/health/"):
        return {400, 403, 421}
    aside = {409} if path.startswith("/v1/runs/{run}") else set()
    return aside | {400, 401, 403, 421, 503} | (set() if method == "get" else {408, 413})


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)


def test_every_route_is_described_with_the_statuses_it_answers(document: dict[str, Any]) -> None:
    documented = {
        (method, path): {int(status) for status in operation["responses"]}
        for method, path, operation in operations(document)
    }
    assert documented == {
        (method, path): statuses | of_every_stranger(method, path)
        for (method, path), statuses in STATUSES.items()
    }


def test_every_operation_says_whether_it_takes_a_token(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for _, path, operation in operations(document):
        assert operation.get("security", []) == ([] if path.startswith("/health/") else [{"token": []}]), path


def test_every_route_has_a_summary_a_description_and_one_tag(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert len(operation["tags"]) == 1, path


def test_every_response_and_query_says_what_it_means(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            assert response["description"], (method, path, status)
        for parameter in operation.get("parameters", []):
            assert parameter["in"] in ("path", "header") or parameter["description"], (path, parameter)


def test_every_error_is_a_problem_and_nothing_else(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == [PROBLEM_TYPE], (method, path, status)
                schema = response["content"][PROBLEM_TYPE]["schema"]
                assert schema == {"$ref": "#/components/schemas/ProblemBody"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_what_travels_as_json_has_an_example(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("ProblemBody", "Acknowledgement", "Status", "ModelDescription", "Health", "Checkpoint"):
        example = schemas[name]["examples"][0]
        assert set(schemas[name]["required"]) <= example.keys(), name
    problem = schemas["ProblemBody"]["examples"][0]
    assert problem["status"] == 409
    assert "next_seq" in problem
    assert schemas["Specification"]["examples"]


def test_the_batch_body_is_declared(document: dict[str, Any]) -> None:
    put = document["paths"]["/v1/runs/{run}/batches/{seq}"]["put"]
    assert list(put["requestBody"]["content"]) == ["application/msgpack"]
    assert put["requestBody"]["required"] is True


def test_the_page_and_the_document_are_served(server: httpx.Client) -> None:
    assert server.get("/openapi.json").json()["info"]["title"] == "midstream training server"
    assert "openapi.json" in server.get("/docs").text
