"""An ASGI application served for real, on a loopback port, by a thread of the test's own process."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import httpx
import uvicorn

from midstream.hosting import listen, url_of


@contextmanager
def served(app: Callable[..., Any]) -> Iterator[str]:
    """Serve until the context ends; give the base URL."""
    listener = listen("127.0.0.1", 0)
    url = url_of(listener)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=10
    )
    server = uvicorn.Server(config)
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
