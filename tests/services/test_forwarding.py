"""Whatever the proxy does not attack passes it byte for byte, as it comes, in both directions."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import httpx
import pytest

from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from services.answering import Fixed, Gradual, Listening
from services.loopback import served, unused_url
from services.recorder import App, Recorder, Seen
from services.tiny import problem
from services.waiting import LONGEST

Header = tuple[str, str]
BYTES = random.Random(0).randbytes(300_000)


@contextmanager
def behind_a_proxy(app: App) -> Iterator[tuple[str, str]]:
    """Give the URL of an application, and that of a proxy in front of it."""
    with served(app) as direct:
        proxy = make_app(Proxy(direct, AttackSettings("level-1")))
        with served(proxy, transparent=True) as proxied:
            yield direct, proxied


@contextmanager
def asked(
    url: str, method: str, target: str, headers: Iterable[Header] = (), body: bytes | None = None
) -> Iterator[HTTPResponse]:
    """Send a request with nothing added to it, and give the answer before its body is read."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=LONGEST)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", "localhost")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body)
        yield connection.getresponse()
    finally:
        connection.close()


def test_nothing_is_normalised_on_the_way_there() -> None:
    with behind_a_proxy(recorder := Recorder(Fixed())) as urls:
        for target in TARGETS:
            for url in urls:
                with asked(url, "GET", target) as response:
                    assert response.status == 200
            direct, proxied = recorder.requests[-2:]
            assert proxied.target == direct.target == target.encode()


TARGETS = [
    "/",
    "/v1/runs?state=running&state=paused",
    "/a%2Fb/%2e%2e/c%20d/%c3%a9/%C3%A9",
    "/a/../b//c/./d/",
    "/a?b=%20+%2B&&=&c",
    "/a?b=c?d=e/../f",
    "/\"<>\\^`{|}[]@!$&'()*+,;=:?\"<>\\^`{|}[]@!$&'()*+,;=:",
    "/v1/runs/one/batches/first",
]

REQUESTS: dict[str, tuple[str, list[Header], bytes | None]] = {
    "a plain GET": ("GET", [], None),
    "a header twice": (
        "GET",
        [("X-Word", "one"), ("X-Word", "two"), ("Cookie", "a=1"), ("Cookie", "b=2")],
        None,
    ),
    "odd header values": (
        "GET",
        [("X-Empty", ""), ("X-Latin", "gr\xfc\xdfe"), ("Authorization", "Bearer x")],
        None,
    ),
    "headers of this connection": (
        "GET",
        [("Connection", "keep-alive, X-Hop"), ("X-Hop", "1"), ("TE", "gzip")],
        None,
    ),
    "a binary body": ("POST", [("Content-Length", "300000"), ("Content-Type", "image/png")], BYTES),
    "an empty body": ("POST", [("Content-Length", "0")], b""),
    "a body in chunks": (
        "PUT",
        [("Transfer-Encoding", "chunked")],
        b"5\r\nhello\r\n3\r\n\0\1\2\r\n0\r\n\r\n",
    ),
    "a GET with a body": ("GET", [("Content-Length", "2")], b"{}"),
    "DELETE": ("DELETE", [], None),
    "PATCH": ("PATCH", [("Content-Length", "1")], b"x"),
    "OPTIONS": ("OPTIONS", [], None),
    "HEAD": ("HEAD", [], None),
}
OF_A_CONNECTION = {b"host", b"connection", b"transfer-encoding", b"te", b"x-hop"}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_arrives_as_it_was_sent(name: str) -> None:
    method, headers, body = REQUESTS[name]
    with behind_a_proxy(recorder := Recorder(Fixed(body=b"ok"))) as urls:
        for url in urls:
            with asked(url, method, "/some/where?x=1", headers, body) as response:
                assert response.status == 200
    direct, proxied = recorder.requests
    assert (proxied.method, proxied.target, proxied.body) == (direct.method, direct.target, direct.body)
    assert end_to_end(proxied) == end_to_end(direct)
    assert b"x-hop" not in dict(proxied.headers)


def end_to_end(request: Seen) -> list[tuple[bytes, bytes]]:
    return sorted(header for header in request.headers if header[0] not in OF_A_CONNECTION)


ANSWERS: dict[str, Fixed] = {
    "a binary body": Fixed(200, [(b"content-type", b"image/png"), (b"content-length", b"300000")], BYTES),
    "a body of unknown length": Fixed(200, [], BYTES),
    "compressed, and not undone": Fixed(200, [(b"content-encoding", b"gzip")], b"\x1f\x8b not really"),
    "a header twice": Fixed(200, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"etag", b'"x"')]),
    "a dated answer of some other server": Fixed(200, [(b"date", b"yesterday"), (b"server", b"other")]),
    "a redirection, not followed": Fixed(307, [(b"location", b"http://127.0.0.1:1/away")]),
    "a request for patience": Fixed(503, [(b"retry-after", b"7")], b"later"),
    **{f"status {status}": Fixed(status) for status in (201, 204, 206, 304, 401, 404, 409, 418, 500, 504)},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_comes_back_as_it_was_given(name: str) -> None:
    answers = []
    with behind_a_proxy(ANSWERS[name]) as urls:
        for url in urls:
            with asked(url, "GET", "/") as response:
                kept = [(key.lower(), value) for key, value in response.getheaders()]
                kept = [(key, value) for key, value in kept if key not in ("date", "transfer-encoding")]
                dates = len(response.headers.get_all("Date", []))
                answers.append((response.status, sorted(kept), dates, response.read()))
    direct, proxied = answers
    assert proxied == direct


def test_the_first_bytes_of_an_answer_do_not_wait_for_the_last() -> None:
    upstream = Gradual(b"data: 1\n\n", b"data: 2\n\n")
    with behind_a_proxy(upstream) as (_, url), asked(url, "GET", "/events") as response:
        for go, piece in zip(upstream.go, upstream.pieces, strict=True):
            go.set()
            assert response.read1() == piece
        assert response.read() == b""


def test_the_first_bytes_of_a_request_do_not_wait_for_the_last() -> None:
    upstream = Listening()
    with behind_a_proxy(upstream) as (_, url):
        connection = HTTPConnection(urlsplit(url).netloc, timeout=LONGEST)
        connection.putrequest("POST", "/anything")
        connection.putheader("Content-Length", "8")
        connection.endheaders(b"half")
        assert upstream.pieces.get(timeout=LONGEST) == b"half"
        connection.send(b"more")
        assert upstream.pieces.get(timeout=LONGEST) == b"more"
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize("path", ["/v1/runs", "/health/live", "/"])
def test_a_server_that_is_not_there_is_502_and_named(path: str) -> None:
    with (
        unused_url() as upstream,
        served(make_app(Proxy(upstream, AttackSettings("none")))) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        found = problem(client.get(path), 502)
        assert upstream in found["detail"]
        batch = client.put("/v1/runs/tiny/batches/0", content=BYTES)
        assert upstream in problem(batch, 502)["detail"]
