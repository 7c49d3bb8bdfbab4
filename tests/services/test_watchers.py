"""Those who watch a game do not starve it: they have places of their own, and make room."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from threading import Event

import httpx
import pytest

from midstream.protocol.tokens import ROLES, Role, Tokens
from midstream.web import connections
from midstream.web.asgi import Receive, Scope, Send
from midstream.web.hosting import Guard
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.http.app import wake
from midstream_server.runs.hosting.registry import Registry
from services.answering import start_up
from services.loopback import served
from services.sockets import ask
from services.tiny import TinyRun, problem
from services.waiting import LONGEST

pytestmark = pytest.mark.slow

TOKENS: dict[Role, str] = {role: f"{role}-with-a-secret" for role in ROLES}
SHORT = 0.3  # seconds, in place of ten
FAR = "/parameters?after=1000000&wait=60"


def status(connection: socket.socket) -> int:
    response = HTTPResponse(connection)
    response.begin()
    return response.status


@contextmanager
def asked(url: str, path: str, *headers: str, times: int = 1) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(ask(url, path, *headers)) for _ in range(times)]


@pytest.mark.parametrize("where", ["server", "proxy"])
def test_a_game_among_two_hundred_streams_and_two_hundred_polls(registry: Registry, where: str) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(served(make_server(registry)))
        stack.callback(wake, registry)
        if where == "proxy":
            proxy = Proxy(url, AttackSettings("level-1"))
            url = stack.enter_context(served(make_app(proxy), transparent=True))
            stack.callback(proxy.forwarder.wake)
        client = stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=LONGEST))
        run = TinyRun(client)
        streams = stack.enter_context(asked(url, f"{run.path}/events", times=200))
        stack.enter_context(asked(url, run.path + FAR, times=200))
        answers = [HTTPResponse(stream) for stream in streams]
        for answer in answers:
            answer.begin()
        heard = [answer for answer in answers if answer.status == 200]
        assert len(heard) == 32
        # Only now are all places taken: the client's request could overtake those that were sent before it.
        assert problem(client.get(f"{run.path}/events"), 503)["detail"].startswith("32 event streams")
        run.play(0)
        assert run.until("finished")["step"] == 6
        assert heard[0].read().count(b"event: step") == 6  # who has a place hears it all


def test_a_client_has_half_of_the_watchers_places(registry: Registry) -> None:
    guard = Guard(Tokens(TOKENS), watchers=4)
    with ExitStack() as stack:
        url = stack.enter_context(served(make_server(registry), guard=guard))
        stack.callback(wake, registry)
        held = {role: f"Authorization: Bearer {TOKENS[role]}" for role in ROLES}
        for role in ("observer", "operator"):
            stream = stack.enter_context(ask(url, "/v1/events", held[role]))
            assert status(stream) == 200
            # A header that says otherwise makes nobody another client.
            stream = stack.enter_context(ask(url, "/v1/events", held[role], "X-Forwarded-For: 192.0.2.7"))
            assert status(stream) == 200
            assert status(stack.enter_context(ask(url, "/v1/events", held[role]))) == 503
            forged = stack.enter_context(ask(url, "/v1/events", held[role], "X-Forwarded-For: 192.0.2.8"))
            assert status(forged) == 503
        assert status(stack.enter_context(ask(url, "/v1/events", held["provider"]))) == 503  # all are taken
        for role in ROLES:
            assert status(stack.enter_context(ask(url, "/v1/runs", held[role]))) == 200


def test_the_polls_of_an_attacker_that_shows_its_token_are_of_the_game(registry: Registry) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(served(make_server(registry), guard=Guard(Tokens(TOKENS), watchers=2)))
        stack.callback(wake, registry)
        headers = {"Authorization": f"Bearer {TOKENS['operator']}"}
        client = stack.enter_context(httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60))
        run = TinyRun(client)
        observer, provider = (f"Authorization: Bearer {TOKENS[role]}" for role in ROLES[:2])
        stack.enter_context(ask(url, run.path + FAR, observer))
        assert status(stack.enter_context(ask(url, run.path + FAR, observer))) == 503
        poll = stack.enter_context(ask(url, f"{run.path}/parameters?after=0&wait=60", provider))
        run.play(0, 1)
        assert status(poll) == 200


def test_a_connection_of_the_game_takes_the_place_of_a_watchers(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(served(make_server(registry)))
        stack.callback(wake, registry)
        with httpx.Client(base_url=url, trust_env=False, timeout=LONGEST) as client:
            run = TinyRun(client)
        monkeypatch.setattr(connections, "CONNECTIONS", 4)
        streams = stack.enter_context(asked(url, f"{run.path}/events", times=4))
        assert [status(stream) for stream in streams] == [200] * 4
        for seq in range(3):
            with httpx.Client(base_url=url, trust_env=False, timeout=LONGEST) as client:
                run.client = client
                assert run.put(seq).status_code == 200


class Endless:
    """Answers with more and more, and tells when its reader is gone."""

    def __init__(self) -> None:
        self.over = Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await start_up(receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        self.over.set()


def test_who_reads_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", SHORT, raising=False)
    endless = Endless()
    with served(endless) as url, asked(url, "/"):
        assert endless.over.wait(LONGEST)


def test_who_reads_slowly_has_the_whole_answer(monkeypatch: pytest.MonkeyPatch, run: TinyRun) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", SHORT, raising=False)
    monkeypatch.setattr(connections, "READ_BYTES", 1, raising=False)
    expected = run.get("/validation").content
    with ask(str(run.client.base_url), f"{run.path}/validation", buffer=4096) as connection:
        response = HTTPResponse(connection)
        response.begin()
        found = b"".join(iter(lambda: response.read(1000), b""))
    assert found == expected
