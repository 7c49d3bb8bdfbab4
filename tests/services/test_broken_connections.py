"""Whoever hangs up, on either side of the proxy, does so without harm and without a fault in the log."""

import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from threading import Thread
from urllib.parse import urlsplit

import httpx
import pytest

from midstream.web.hosting import listen, url_of
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.answering import Gradual, Listening
from services.loopback import served
from services.tiny import TinyRun
from services.waiting import LONGEST, until


@contextmanager
def broken_off() -> Iterator[str]:
    """Give the URL of a server that hangs up in the middle of each answer."""
    listener = listen("127.0.0.1", 0)

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")

    thread = Thread(target=answer)
    thread.start()
    try:
        yield url_of(listener)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def give_up_halfway(url: str, path: str) -> None:
    """Send a server half a batch, and hang up."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=LONGEST)
    connection.putrequest("PUT", path)
    connection.putheader("Content-Type", "application/msgpack")
    connection.putheader("Content-Length", "8")
    connection.endheaders(b"half")
    connection.close()


def proxy_of(upstream: str) -> AbstractContextManager[str]:
    return served(make_app(Proxy(upstream, AttackSettings("level-1"))))


def test_who_hangs_up_at_the_proxy_hangs_up_at_the_server() -> None:
    upstream = Gradual(b"data: 1\n\n", b"data: 2\n\n")
    upstream.go[0].set()
    with served(upstream) as direct, proxy_of(direct) as url:
        with httpx.stream("GET", f"{url}/events", trust_env=False) as response:
            pieces = response.iter_raw()  # held: without it the client hangs up
            assert next(pieces) == b"data: 1\n\n"
            assert not upstream.left.is_set()
        until(upstream.left.is_set, "the server to learn that its client left")


@pytest.mark.logs_errors
def test_an_answer_that_breaks_off_is_not_passed_on_as_whole() -> None:
    with broken_off() as upstream, proxy_of(upstream) as url, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{url}/v1/runs", trust_env=False)


@pytest.mark.parametrize("path", ["/anything", "/v1/runs/tiny/batches/0"])
def test_half_a_request_to_the_proxy(path: str) -> None:
    upstream = Listening()
    with served(upstream) as direct, proxy_of(direct) as url:
        give_up_halfway(url, path)
        # Connections are taken in order: with this one answered, the other has been seen.
        assert httpx.get(url, trust_env=False).status_code == 200


def test_half_a_request_to_the_server(run: TinyRun) -> None:
    give_up_halfway(str(run.client.base_url), f"{run.path}/batches/0")
    run.play(0)


def test_who_leaves_in_the_middle_of_a_long_history_is_no_fault(registry: Registry, run: TinyRun) -> None:
    run.play(0)
    run.until("finished")
    records = registry.runs[run.name].recorded.records
    records += [records[-1] | {"step": step} for step in range(len(records) + 1, 3000)]
    for _ in range(5):
        with httpx.stream("GET", f"{run.client.base_url}{run.path}/events", trust_env=False) as response:
            assert next(response.iter_lines()) == "event: step"
    run.client.get("/health/live").raise_for_status()


def exchange(url: str, *sent: bytes, half_close: bool = False) -> bytes:
    """Send bytes on a connection of their own; return all that comes back until it is closed."""
    with socket.create_connection((urlsplit(url).hostname or "", urlsplit(url).port or 0), LONGEST) as opened:
        for piece in sent:
            opened.sendall(piece)
        if half_close:
            opened.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: opened.recv(65536), b""))


@pytest.mark.parametrize("where", ["server", "proxy"])
def test_a_whole_request_is_answered_though_its_client_sends_no_more(run: TinyRun, where: str) -> None:
    server = str(run.client.base_url)
    with proxy_of(server) as proxy:
        url = server if where == "server" else proxy
        get = "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
        put = (
            f"PUT {run.path}/batches/0 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/msgpack\r\n"
            f"Content-Length: {len(tiny.body(0))}\r\n\r\n"
        )
        waits = get % f"{run.path}/parameters?after=0&wait=0.3"
        assert exchange(url, waits.encode(), half_close=True).startswith(b"HTTP/1.1 304 ")
        answer = exchange(url, put.encode(), tiny.body(0), half_close=True)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"next_seq":1' in answer
        two = (get % run.path + get % f"{run.path}/metrics").encode()
        assert exchange(url, two, half_close=True).count(b"HTTP/1.1 200 OK") == 2
        begun = put.replace("batches/0", "batches/1").encode() + b"half"
        assert exchange(url, begun, half_close=True) == b""


@pytest.mark.parametrize("where", ["server", "proxy"])
@pytest.mark.parametrize(
    "path", ["/v1/runs/none/batches/0", "/v1/runs/tiny/batches/0", "/v1/runs/tiny/pause"]
)
def test_a_chunk_that_is_none_leaves_no_fault_in_the_log(run: TinyRun, where: str, path: str) -> None:
    server = str(run.client.base_url)
    with proxy_of(server) as proxy:
        method = "PUT" if "batches" in path else "POST"
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        for body in (b"zz\r\n", b"5\r\nhello\r\nzz\r\n"):
            answer = exchange(server if where == "server" else proxy, head + body)
            assert answer.startswith(b"HTTP/1.1 4")
            assert answer.count(b"HTTP/1.1") == 1
    assert run.status()["state"] == "waiting"


@pytest.mark.parametrize("where", ["server", "proxy"])
def test_an_upload_that_is_aborted_leaves_no_fault_in_the_log(run: TinyRun, where: str) -> None:
    server = str(run.client.base_url)
    with proxy_of(server) as proxy:
        for path, method in ((f"{run.path}/batches/0", "PUT"), ("/v1/runs", "POST"), (run.path, "PUT")):
            for size in (5, 50_000):
                opened = socket.create_connection(
                    ("127.0.0.1", urlsplit(server if where == "server" else proxy).port or 0)
                )
                head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
                opened.sendall(head.encode() + bytes(size))
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                opened.close()
        assert httpx.get(f"{proxy}/v1/runs", trust_env=False, timeout=LONGEST).status_code == 200
    run.play(0, 1)
