"""Serving a status page in the background of a service."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn

from midstream.players.reporting import Say
from midstream.web.hosting import configuration, listen, url_of
from midstream.web.status.page import Status, status_page


@contextmanager
def shown(read: Callable[[], Status], port: int | None, say: Say) -> Iterator[None]:
    """Serve a status page in a separate thread until the context ends.

    The page requires no token, so it listens only on 127.0.0.1.

    Args:
        read: returns the current status.
        port: 0 lets the system pick one; None serves no page.
        say: called with a sentence that names the page's URL.

    Raises:
        midstream.web.hosting.PortError: the port is taken.
    """
    if port is None:
        yield
        return
    with listen("127.0.0.1", port, flag="--status-port") as listener:
        server = uvicorn.Server(configuration(status_page(read)))
        thread = Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), name="status page", daemon=True
        )
        thread.start()
        say(f"its status page is at {url_of(listener)}")
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()
