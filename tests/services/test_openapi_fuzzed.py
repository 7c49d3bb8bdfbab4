"""All that the OpenAPI document offers, asked for with arbitrary values: no fault, nothing undocumented.

With tokens on; each operation also by a stranger. An answer that does not come within a minute fails.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from benchmarks.malformed import malformed
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from midstream.protocol.tokens import ROLES, Role, Tokens
from midstream.web.hosting import Guard
from midstream_server.http.app import make_app
from services import tiny
from services.loopback import served
from services.statuses import STATUSES
from services.tiny import TinyRun

pytestmark = pytest.mark.slow

TOKENS: dict[Role, str] = {role: f"{role}-with-a-secret" for role in ROLES}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = 25
MALFORMED = st.integers(0).map(lambda number: malformed(tiny.body(2), random.Random(number))[1])


@schemathesis.serializer("application/msgpack")
def as_it_is(_: object, body: bytes) -> bytes:
    return body


@dataclass(frozen=True)
class Fuzzed:
    """A server with an open run and one that is over, and its document."""

    url: str
    schema: Any
    session: requests.Session


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    registry = tiny.registry(tmp_path_factory.mktemp("fuzzed"), max_runs=6)
    with (
        served(make_app(registry), guard=Guard(Tokens(TOKENS))) as url,
        httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {TOKENS['operator']}"},
            trust_env=False,
            timeout=60,
        ) as operator,
        requests.Session() as session,
    ):
        TinyRun(operator).play(0, 2)
        over = TinyRun(operator, name="over")
        over.play(0, 1)
        over.post("/stop")
        session.trust_env = False
        schema = schemathesis.openapi.from_dict(operator.get("/openapi.json").json())
        yield Fuzzed(url, schema, session)


def of_a_run(path: str, data: st.DataObject) -> str:
    """Return the name of a run to put into a path; an open run's events would never end."""
    return data.draw(st.sampled_from(["over"] if path.endswith("/events") else ["tiny", "over"]))


ENDING = [operation for operation in STATUSES if operation != ("get", "/v1/events")]


@pytest.mark.parametrize(("method", "path"), ENDING)
def test_arbitrary_requests(fuzzed: Fuzzed, method: str, path: str) -> None:
    operation = fuzzed.schema[path][method.upper()]

    @seed(0)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(), st.sampled_from([*ROLES, "operator", "operator", None]), st.data())
    def ask(case: Any, role: Role | None, data: st.DataObject) -> None:
        if "run" in (case.path_parameters or {}) and data.draw(st.integers(0, 3)):
            case.path_parameters["run"] = of_a_run(path, data)
        if "wait" in (case.query or {}):
            case.query["wait"] = data.draw(st.sampled_from([0, 0.01, -1, "long"]))
        if method == "put":
            case.body = data.draw(st.binary(max_size=100) | MALFORMED)
        headers = {"Authorization": f"Bearer {TOKENS[role]}"} if role else {"Authorization": "Bearer guess"}
        answer = case.call(base_url=fuzzed.url, session=fuzzed.session, headers=headers, timeout=60)
        case.validate_response(answer, checks=CHECKS)
        if role is None and not path.startswith("/health/"):
            assert answer.status_code == 401

    ask()


def test_the_server_is_as_well_as_before(fuzzed: Fuzzed) -> None:
    headers = {"Authorization": f"Bearer {TOKENS['operator']}"}
    with httpx.Client(base_url=fuzzed.url, headers=headers, trust_env=False, timeout=60) as operator:
        assert operator.get("/health/live").status_code == 200
        assert {run["name"] for run in operator.get("/v1/runs").json()["runs"]} >= {"tiny", "over"}
