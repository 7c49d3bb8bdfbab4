"""docs/rest.md: the server's resources, from its OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from docs.references.markdown import WRITTEN, body, code, described, table
from midstream.run.datasets import Source
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry, Settings

_HEAD = """# REST resources

What the training server answers; its own page `/docs` says the same, `/openapi.json` for programs. [The
protocol](protocol.md) tells how a game is played with them. `{run}` is a run's name, `{seq}` a batch's
number from 0, `{version}` a parameters version: the number of steps taken.

"""


def page() -> str:
    """Return the page.

    Raises:
        Undocumented: a resource, a query or a field has no description.
    """
    settings = Settings(out=Path("runs"), device=torch.device("cpu"), source=Source())
    document = make_app(Registry(settings, lambda _: None)).openapi()
    problems: dict[str, str] = {}
    parts = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    problems.setdefault(status, response["description"])
            parts.append("\n".join(_resource(f"{method.upper()} {path}", operation)) + "\n\n")
    rows = [[status, described(status, text)] for status, text in sorted(problems.items())]
    parts.append("## Problems\n\nEvery error is `application/problem+json`, a `ProblemBody`.\n\n")
    parts.append(table(["status", "meaning"], rows) + "\n\n## Bodies\n\n")
    bodies = document["components"]["schemas"]
    parts.extend("\n".join(_body(name, schema)) + "\n\n" for name, schema in sorted(bodies.items()))
    return WRITTEN + _HEAD + "".join(parts).rstrip() + "\n"


def _resource(name: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}\n"
    yield described(name, operation.get("summary")) + ".\n"
    yield body(name, operation.get("description"))
    queries = [one for one in operation.get("parameters", []) if one["in"] != "path"]
    if queries:
        yield ""
        yield table(
            ["parameter", "type", "meaning"],
            [
                [
                    f"{code(one['name'])} ({one['in']})",
                    _type(one["schema"]),
                    described(f"{name} {one['name']}", one.get("description")),
                ]
                for one in queries
            ],
        )
    if asked := operation.get("requestBody"):
        yield f"\nBody: {_content(asked)}. {asked.get('description', '')}".rstrip()
    answers = [
        f"{status} {_content(response)}".strip()
        for status, response in operation["responses"].items()
        if int(status) < 400
    ]
    refused = sorted(status for status in operation["responses"] if int(status) >= 400)
    yield f"\nAnswers: {'; '.join(answers)}." + (f" Problems: {', '.join(refused)}." if refused else "")


def _content(message: Mapping[str, Any]) -> str:
    return " or ".join(
        f"{code(kind)}, {_type(content['schema'])}" if "$ref" in content.get("schema", {}) else code(kind)
        for kind, content in message.get("content", {}).items()
    )


def _body(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    yield body(name, schema.get("description")) + "\n"
    required = schema.get("required", [])
    yield table(
        ["field", "type", "meaning"],
        [
            [
                code(field) + ("" if field in required else " (optional)"),
                _type(one),
                described(f"{name}.{field}", one.get("description")),
            ]
            for field, one in schema.get("properties", {}).items()
        ],
    )


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(code(json.dumps(one)) for one in schema["enum"])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    kind: str = schema.get("type", "any")
    if kind == "array":
        return f"array of {_type(schema.get('items', {}))}"
    return kind
