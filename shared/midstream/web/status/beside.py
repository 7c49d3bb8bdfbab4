"""Serving a status page beside a service's own work."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn

from midstream.web.hosting import configuration, listen, url_of
from midstream.web.status.page import Status, status_page

Say = Callable[[str], None]


@contextmanager
def shown(read: Callable[[], Status], port: int | None, say: Say) -> Iterator[None]:
    """Serve a status page, by a thread of its own, until the context ends.

    It asks for no token, so it listens on 127.0.0.1 alone.

    Args:
        read: gives the status of a moment.
        port: 0 lets the system pick one; None shows no page.
        say: told where the page is.

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
