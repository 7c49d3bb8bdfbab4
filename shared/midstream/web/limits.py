"""How much of a service one stranger, or many, can take up: requests at once, and time to send a body."""

import asyncio
from typing import Any

from midstream.protocol.problem import Problem
from midstream.web.asgi import App, Message, Receive, Scope, Send, send_problem
from midstream.web.authorization import OPEN
from midstream.web.places import Places

FIRST_SECONDS = 10.0
"""How long a sender may be silent at first, in all."""

BYTES_A_SECOND = 64 * 1024
"""What a sender must keep up afterwards, on average."""


class Limits:
    """Refuses requests beyond a number at once (503), and cuts off bodies that trickle (408).

    A body has 10 s, and a second more for each 64 KiB that came; only time spent waiting for the sender
    counts. The signs of life are always answered.

    Args:
        app: the application behind it.
        places: how many may be in hand at once.
    """

    def __init__(self, app: App, places: Places) -> None:
        self._app = app
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that there are too many."""
        if scope["type"] == "lifespan" or (scope["method"] == "GET" and scope["path"] in OPEN):
            await self._app(scope, receive, send)
            return
        try:
            client = await self._places.take(scope)
        except Problem as refusal:
            await send_problem(send, refusal)
            return
        try:
            await _Exchange(receive, send).through(self._app, scope)
        finally:
            self._places.give_back(client)


class _Exchange:
    """One request whose body may not trickle."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._arriving = True
        self._answering = False
        self._bytes = 0
        self._waited = 0.0

    async def through(self, app: App, scope: Scope) -> None:
        try:
            await app(scope, self.receive, self.send)
        except Problem as problem:
            if self._answering:
                raise
            await send_problem(self._send, problem)

    async def send(self, message: Message) -> None:
        self._answering = True
        await self._send(message)

    async def receive(self) -> Message:
        if not self._arriving:
            return await self._receive()
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(FIRST_SECONDS + self._bytes / BYTES_A_SECOND - self._waited):
                message = await self._receive()
        except TimeoutError:
            if self._answering:  # too late to say so
                return {"type": "http.disconnect"}
            raise Problem(
                408,
                "The body came too slowly",
                f"{self._bytes} bytes came in {self._waited + clock() - started:.0f} s; a body has "
                f"{FIRST_SECONDS:.0f} s and a second more for each {BYTES_A_SECOND} bytes",
            ) from None
        self._waited += clock() - started
        self._bytes += len(message.get("body", b""))
        self._arriving = bool(message.get("more_body", False))
        return message


async def whole_body(scope: Scope, receive: Receive, *, most: int) -> Receive:
    """Read a body that must be small; return what gives it to the application.

    Raises:
        Problem: 413, it is larger, or says so, or says nothing that is a number; 400, it broke off.
    """
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if not declared.isdigit() or int(declared) > most:
        raise _too_large(most)
    body = bytearray()
    message: dict[str, Any] = {"more_body": True}
    while message.get("more_body"):
        message = dict(await receive())
        if message["type"] == "http.disconnect":
            raise Problem(400, "The body broke off", "the client hung up before its end; nothing was done")
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return again


def _too_large(most: int) -> Problem:
    return Problem(413, "The body is too large", f"this resource takes at most {most} bytes")
