"""A provider that is sent from one batch to another."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource
from midstream.web.client import Client
from midstream.web.link import HttpLink
from midstream_provider.push import RunEndedError, feed
from services import tiny
from services.loopback import served
from services.tiny import SPECIFICATION

ACKNOWLEDGED = (
    b'{"seq": %d, "next_seq": %d, "parameters_version": %d, "loss": 1.0, "replay": false, "kept_from": 0}'
)


class Answers:
    """A server that takes batches, and can be made to want another one than it is sent."""

    def __init__(self, wanted: dict[int, list[int]]) -> None:
        self.wanted = wanted
        self.taken: list[int] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        seq = int(scope["path"].rpartition("/")[2])
        if self.wanted.get(seq):
            status, body = 409, b'{"title": "T", "detail": "D", "next_seq": %d}' % self.wanted[seq].pop(0)
        else:
            self.taken.append(seq)
            status, body = 200, ACKNOWLEDGED % (seq, seq + 1, seq + 1)
        kind = b"application/json" if status == 200 else b"application/problem+json"
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})


@contextmanager
def pushing(wanted: dict[int, list[int]]) -> Iterator[Answers]:
    answers = Answers(wanted)
    batches = BatchSource(Specification.model_validate(SPECIFICATION), tiny.split().train)
    with served(answers) as url:
        client = Client(url)
        try:
            list(feed(HttpLink(client, "tiny"), batches, first=0))
            yield answers
        finally:
            client.close()


def test_it_goes_where_the_server_wants_to_go_on() -> None:
    with pushing({1: [3], 4: [2]}) as answers:
        assert answers.taken == [0, 3, 2, 3, 4, 5]


def test_it_gives_up_on_a_server_that_never_takes_one() -> None:
    with pytest.raises(RunEndedError, match="refused batch"), pushing({1: [2] * 50, 2: [1] * 50}):
        pass


def test_the_next_batch_is_made_while_the_server_works_on_one() -> None:
    batches = BatchSource(Specification.model_validate(SPECIFICATION), tiny.split().train)
    made = {seq: Event() for seq in range(1, 7)}
    last = max(made) - 1

    def prepare(seq: int) -> None:
        batches.prepare(seq)
        made[seq].set()

    class Waiting(Answers):
        async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                number = int(scope["path"].rpartition("/")[2])
                assert await asyncio.to_thread(made[number + 1].wait, 30)
            await super().__call__(scope, receive, send)

    answers = Waiting({})
    with served(answers) as url:
        client = Client(url)
        try:
            list(feed(HttpLink(client, "tiny", meanwhile=prepare), batches, first=0))
        finally:
            client.close()
    assert answers.taken == list(range(last + 1))
