"""What a server answers and what the client returns are the same types; a newer server may say more."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from midstream.protocol.messages.message import members
from midstream.protocol.messages.runs import EXAMPLE_STATUS, Status
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification
from midstream.web.client import Client
from midstream_proxy.app import Proxy
from midstream_proxy.app import make_app as make_proxy
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.answering import Fixed
from services.loopback import served
from services.recorder import Message, Receive, Send
from services.tiny import SPECIFICATION
from services.waiting import until

TINY = Specification.model_validate(SPECIFICATION)


@contextmanager
def client_at(url: str) -> Iterator[Client]:
    client = Client(url, give_up_after=5.0)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def answering(content: object) -> Iterator[Client]:
    """Give a client of a server with one answer: an object as JSON, or bytes as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    fixed = Fixed(headers=[(b"content-type", b"application/json")], body=body)
    with served(fixed) as url, client_at(url) as client:
        yield client


class Newer:
    """The training server of a later version, which adds a member to each acknowledgement."""

    def __init__(self, registry: Registry) -> None:
        self._app = make_app(registry)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def say_more(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] == "PUT":
                kept = [(name, value) for name, value in message["headers"] if name != b"content-length"]
                message = {**message, "headers": kept}
            elif message["type"] == "http.response.body" and scope["method"] == "PUT" and message["body"]:
                message = {**message, "body": json.dumps(json.loads(message["body"]) | {"mood": 7}).encode()}
            await send(message)

        await self._app(scope, receive, send if scope["type"] == "lifespan" else say_more)


def test_the_client_returns_what_the_server_sends(registry: Registry) -> None:
    with served(make_app(registry)) as url, client_at(url) as client:
        created = client.create_run(TINY)
        assert created.specification == TINY
        assert client.put_batch("tiny", 0, [tiny.body(0)]).next_seq == 1
        until(lambda: [record.step for record in client.metrics("tiny")] == [1], "the record")
        (listed,) = client.runs()
        assert listed == client.run("tiny")
        assert listed.model_dump() == httpx.get(f"{url}/v1/runs/tiny", trust_env=False).json()
        assert client.model("tiny") == registry.runs["tiny"].run.description()


def test_members_of_a_newer_server_are_kept_beside_the_known_ones() -> None:
    said = EXAMPLE_STATUS | {"colour": "blue"}
    with answering({"runs": [said], "page": 1}) as client:
        (status,) = client.runs()
    assert status == Status.model_validate(said, extra="allow")
    assert members(status) == said


def test_a_run_with_unknown_settings_can_be_read_but_not_played() -> None:
    specification = EXAMPLE_STATUS["specification"] | {"gravity": 9.81}
    with answering(EXAMPLE_STATUS | {"specification": specification}) as client:
        found = client.run("digits-1").specification
    assert members(found) == specification
    with pytest.raises(Problem, match="does not know the run's settings gravity"):
        found.known()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "did not return JSON"),
        ([], "the body: Input should be an object"),
        ({"runs": 3}, "runs: Input should be a valid array"),
        ({"runs": [EXAMPLE_STATUS | {"step": "many"}]}, r"runs\.0\.step: Input should be a valid integer"),
    ],
)
def test_another_answer_is_a_problem_that_says_where(content: object, reason: str) -> None:
    with answering(content) as client, pytest.raises(Problem, match=reason):
        client.runs()


def test_a_proxy_passes_on_what_only_a_newer_server_knows(registry: Registry) -> None:
    with served(Newer(registry)) as server_url:
        proxy = Proxy(server_url, AttackSettings("level-1"))
        with served(make_proxy(proxy)) as url, client_at(url) as client:
            client.create_run(TINY)
            answer = client.put_batch("tiny", 0, [tiny.body(0)])
    assert list(members(answer)) == [*type(answer).model_fields, "mood"]
    assert answer.next_seq == 1
    assert (answer.model_extra or {})["mood"] == 7
