"""Limits on a service's clients: concurrent requests, and time to send a body."""

import asyncio

from midstream.protocol.problem import Problem
from midstream.web.asgi import App, Message, Receive, Scope, Send, send_problem
from midstream.web.authorization import OPEN
from midstream.web.places import Places

FIRST_SECONDS = 10.0
"""Time allowance of every body, in seconds."""

BYTES_A_SECOND = 64 * 1024
"""Minimum average rate of a sender beyond that allowance, in bytes per second."""


class Limits:
    """Refuses requests beyond a number of concurrent ones (503), and bodies that arrive too slowly (408).

    A body has 10 s, and one more second for each 64 KiB received. Only the time spent waiting for the sender
    counts. Health checks are always answered.

    Args:
        app: the application to protect.
        places: limits on the number of concurrent requests.
    """

    def __init__(self, app: App, places: Places) -> None:
        self._app = app
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 503."""
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
    """One request, with a time limit on its body."""

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
            if self._answering:  # too late for another response
                return {"type": "http.disconnect"}
            raise Problem(
                408,
                "The body arrived too slowly",
                f"{self._bytes} bytes arrived in {self._waited + clock() - started:.0f} s; a body has "
                f"{FIRST_SECONDS:.0f} s and one more second for each {BYTES_A_SECOND} bytes",
            ) from None
        self._waited += clock() - started
        self._bytes += len(message.get("body", b""))
        self._arriving = bool(message.get("more_body", False))
        return message
