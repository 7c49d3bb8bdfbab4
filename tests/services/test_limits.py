"""What a stranger cannot take up: time, connections, requests at once, memory."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPResponse
from urllib.parse import urlsplit

import httpx
import pytest

from midstream.protocol.wire import WireBatch, encode_batch
from midstream.web import connections, limits
from midstream.web.asgi import Receive, Scope, Send
from midstream.web.hosting import Guard
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.answering import Fixed, Gradual
from services.loopback import served
from services.tiny import TinyRun, problem
from services.waiting import LONGEST, until

pytestmark = pytest.mark.slow

SHORT = 0.3  # seconds, in place of ten


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), LONGEST) as opened:
        yield opened


def answer(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """Return the status and the problem that a service answers with."""
    response = HTTPResponse(connection)
    response.begin()
    assert response.getheader("Content-Type") == "application/problem+json"
    return response.status, json.loads(response.read())


def is_closed(connection: socket.socket) -> bool:
    """Wait until the other side closes, without another byte; fail where it never does."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def head(method: str, path: str, length: int) -> bytes:
    kind = "application/msgpack" if method == "PUT" else "application/json"
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_SECONDS", SHORT)
    monkeypatch.setattr(limits, "BYTES_A_SECOND", 1_000_000)


@pytest.fixture
def through(server: httpx.Client) -> Iterator[str]:
    """Give the URL of a proxy that attacks the server's runs."""
    proxy = Proxy(str(server.base_url), AttackSettings("level-1"))
    with served(make_app(proxy), transparent=True) as url:
        yield url


REQUESTS = [("PUT", "/v1/runs/tiny/batches/0"), ("POST", "/v1/runs")]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(("method", "path"), REQUESTS)
@pytest.mark.parametrize("where", ["server", "proxy"])
def test_a_body_that_trickles_is_cut_off(
    run: TinyRun, through: str, method: str, path: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = through if where == "proxy" else str(run.client.base_url)
    with connected(url) as connection:
        connection.sendall(head(method, path, 100) + b"half")
        status, found = answer(connection)
    assert status == 408
    assert "4 bytes" in str(found["detail"])
    monkeypatch.undo()  # a busy machine may take longer
    run.play(0, 1)


@pytest.mark.usefixtures("hurried")
def test_a_slow_server_behind_a_proxy_is_not_a_slow_sender(
    run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Gradual(b"done", kind=b"text/plain")
    with (
        served(held) as upstream,
        served(make_app(Proxy(upstream, AttackSettings("none")))) as url,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(httpx.post, url, content=b"x" * 1000, trust_env=False, timeout=LONGEST)
        time.sleep(3 * SHORT)
        held.go[0].set()
        assert asked.result().text == "done"
    monkeypatch.undo()
    run.play(0, 1)


@pytest.mark.parametrize("sent", [b"", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_head_that_does_not_end_is_not_waited_for(
    server: httpx.Client, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", SHORT)
    with connected(str(server.base_url)) as connection:
        connection.sendall(sent)
        assert is_closed(connection)
    with connected(str(server.base_url)) as connection:  # nor is a second one, on the same connection
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = HTTPResponse(connection)
        response.begin()
        response.read()
        connection.sendall(b"GET /health")
        assert is_closed(connection)


def test_a_byte_now_and_then_does_not_help(server: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", SHORT)
    with connected(str(server.base_url)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        connection.settimeout(SHORT / 5)
        for _ in range(1000):
            try:
                assert is_closed(connection)
                return
            except TimeoutError:
                connection.sendall(b"x")
        pytest.fail("a head went on for a thousand bytes")


def test_a_client_that_pauses_between_requests_keeps_its_connection(
    server: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", SHORT)
    monkeypatch.setattr(connections, "REST_SECONDS", SHORT)
    with connected(str(server.base_url)) as connection:
        for _ in range(3):
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            response = HTTPResponse(connection)
            response.begin()
            assert response.status == 200
            response.read()
            time.sleep(2 * SHORT)


def test_the_rest_of_a_refused_body_is_not_waited_for(run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REST_SECONDS", SHORT)
    with connected(str(run.client.base_url)) as connection:
        connection.sendall(head("PUT", "/v1/runs/tiny/batches/0", 10**12))
        assert answer(connection)[0] == 413
        assert is_closed(connection)


def test_one_connection_more_takes_the_place_of_the_longest_idle(
    server: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(server.base_url)
    monkeypatch.setattr(connections, "CONNECTIONS", 2)
    with connected(url) as first, connected(url) as second:
        for connection in (first, second):
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            response = HTTPResponse(connection)
            response.begin()
            response.read()
        with connected(url) as third:
            assert is_closed(first)
            for connection in (second, third):
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_head_that_is_too_large(server: httpx.Client) -> None:
    with connected(str(server.base_url)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * connections.HEAD_BYTES)
        status, found = answer(connection)
    assert status == 400
    assert str(connections.HEAD_BYTES) in str(found["detail"])


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"\0\0\r\n\r\n"])
def test_what_is_no_request_is_400(server: httpx.Client, sent: bytes) -> None:
    with connected(str(server.base_url)) as connection:
        connection.sendall(sent + b"\r\n" * 10)
        assert answer(connection)[0] == 400


def test_a_chunk_that_is_none_after_the_answer_began(run: TinyRun) -> None:
    with connected(str(run.client.base_url)) as connection:
        start = head("PUT", "/v1/runs/none/batches/0", 0).replace(
            b"Content-Length: 0", b"Transfer-Encoding: chunked"
        )
        connection.sendall(start + b"5\r\nhello\r\n")
        assert answer(connection)[0] == 404
        connection.sendall(b"no chunk\r\n")
        assert is_closed(connection)


def test_more_batches_at_once_than_are_taken() -> None:
    held, quick = Gradual(b"done"), Fixed(body=b"done")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (quick if scope.get("path") == "/other" else held)(scope, receive, send)

    with (
        served(app, guard=Guard(requests=2)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=LONGEST) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        waiting = [pool.submit(client.put, "/batch") for _ in range(2)]
        until(lambda: client.put("/other").status_code == 503, "both places to be taken")
        refused = client.put("/other")
        assert "2 requests" in problem(refused, 503)["detail"]
        assert refused.headers["Retry-After"] == "1"
        held.go[0].set()
        assert [asked.result().text for asked in waiting] == ["done", "done"]
        assert client.put("/other").text == "done"


def test_the_signs_of_life_need_no_place() -> None:
    with (
        served(Fixed(body=b"ok"), guard=Guard(requests=0)) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        assert client.get("/health/live").text == "ok"
        assert client.get("/v1/runs").status_code == 503


@pytest.mark.parametrize("chunked", [False, True])
def test_json_is_small(server: httpx.Client, registry: Registry, chunked: bool) -> None:
    body = b'{"dataset": "digits", "name": "' + b"x" * 64 * 1024 + b'"}'
    sent: object = (piece for piece in [body[:1000], body[1000:]]) if chunked else body
    answered = server.post("/v1/runs", content=sent, headers={"Content-Type": "application/json"})  # type: ignore[arg-type]
    assert str(64 * 1024) in problem(answered, 413)["detail"]
    assert registry.runs == {}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_proxy_takes_no_more_than_a_batch_of_the_run(run: TinyRun, through: str, chunked: bool) -> None:
    largest = 10 * (4 * 64 + 8) + 4096
    with connected(through) as connection:
        start = head("PUT", "/v1/runs/tiny/batches/0", largest + 1)
        if chunked:
            lines = [line for line in start.split(b"\r\n") if not line.startswith(b"Content-Length")]
            start = b"\r\n".join([*lines[:-2], b"Transfer-Encoding: chunked", b"", b""])
            start += b"%x\r\n" % (largest + 1) + b"x" * (largest + 1)
        connection.sendall(start)
        status, found = answer(connection)
    assert status == 413
    assert str(largest) in str(found["detail"])
    run.play(0, 1)


def test_what_the_server_would_refuse_is_not_attacked(run: TinyRun, through: str) -> None:
    expected = TinyRun(run.client, name="expected")
    with httpx.Client(base_url=through, trust_env=False, timeout=60) as client:
        expected.client = client
        expected.play(0)
        run.client = client
        good = tiny.batch(0)
        for wrong in (
            WireBatch(0, None, good.inputs[:5], good.labels),  # the attacker would remember these inputs
            WireBatch(0, None, good.inputs, good.labels[:5]),
            WireBatch(0, None, good.inputs, good.labels + 100),
            WireBatch(0, None, good.inputs * 2, good.labels),
            WireBatch(1, None, good.inputs, good.labels),
        ):
            assert problem(run.put(0, b"".join(encode_batch(wrong))), 422)["field"]
        run.play(0)
        assert run.sha256() == expected.sha256()


def test_the_limits_of_a_server_are_those_of_its_command(registry: Registry) -> None:
    assert Guard().requests == Guard().watchers == 64
    with served(make_server(registry)) as url:
        assert httpx.get(f"{url}/v1/runs", trust_env=False).status_code == 200
