"""An ASGI application served for real, on a loopback port, by a thread of the test's own process."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Thread
from typing import Any

import httpx
import uvicorn

from midstream.web.hosting import OPEN, Guard, configuration, listen, url_of


class _Brisk:
    """asyncio with short sleeps."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


# uvicorn looks ten times a second whether it should end, and sleeps once more before it does. That would be a
# quarter of a second for each of the two thousand servers of these tests.
uvicorn.server.asyncio = _Brisk()  # type: ignore[assignment, attr-defined]

# Each client of httpx reads the certificates of the public authorities, even if it speaks no TLS: 20 ms.
httpx._transports.default.create_ssl_context = cache(httpx.create_ssl_context)  # type: ignore[attr-defined]


@contextmanager
def served(
    app: Callable[..., Any], *, guard: Guard = OPEN, transparent: bool = False, port: int = 0
) -> Iterator[str]:
    """Serve as the commands do until the context ends; give the base URL."""
    listener = listen("127.0.0.1", port)
    url = url_of(listener, guard)
    server = uvicorn.Server(configuration(app, guard=guard, transparent=transparent))
    thread = Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def client_of(app: Callable[..., Any]) -> Iterator[httpx.Client]:
    """Serve until the context ends; give a client of it."""
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield client


@contextmanager
def unused_url() -> Iterator[str]:
    """Give the URL of a port that refuses connections, and that nobody else is given meanwhile."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield url_of(reserved)
