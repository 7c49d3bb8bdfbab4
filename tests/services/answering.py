"""Small ASGI applications that answer in one particular way."""

import asyncio
from collections.abc import Iterable
from queue import Queue
from threading import Event
from typing import Any

from services.recorder import Receive, Send

Headers = Iterable[tuple[bytes, bytes]]


async def start_up(receive: Receive, send: Send) -> None:
    """Go through an application's lifespan, in which nothing is to be done."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class Fixed:
    """Gives every request the same answer."""

    def __init__(self, status: int = 200, headers: Headers = (), body: bytes = b"") -> None:
        self.status, self.headers, self.body = status, list(headers), body

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await start_up(receive, send)
            return
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Gradual:
    """Answers in pieces, each held back until the test lets go of it, and tells when the client left."""

    def __init__(self, *pieces: bytes, kind: bytes = b"text/event-stream") -> None:
        self.pieces = pieces
        self.kind = kind
        self.go = [Event() for _ in pieces]
        self.left = Event()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await start_up(receive, send)
            return
        leaving = asyncio.ensure_future(self._leave(receive))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self.kind)]})
        for go, piece in zip(self.go, self.pieces, strict=True):
            while not go.is_set() and not self.left.is_set():
                await asyncio.sleep(0.01)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
        leaving.cancel()

    async def _leave(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


class Listening:
    """Puts every piece of a request's body into a queue as it comes."""

    def __init__(self) -> None:
        self.pieces: Queue[bytes] = Queue()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await start_up(receive, send)
            return
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            self.pieces.put(message.get("body", b""))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
