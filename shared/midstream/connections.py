"""How long a connection may keep a service waiting, and how many there may be."""

import asyncio
import json
from typing import Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from midstream.problem import PROBLEM_TYPE, Problem

CONNECTIONS = 512
"""Open connections of one service; one more is closed at once."""

HEAD_SECONDS = 10.0
"""How long a request's head may take, from its first byte or from the opening of the connection."""

REST_SECONDS = 10.0
"""How long a body that was answered already may go on, unread."""

HEAD_BYTES = 16 * 1024
"""The most bytes of a head that are kept while its end has not come."""


class Connection(H11Protocol):
    """A connection that does not wait for ever: neither for a head, nor for the rest of a refused body."""

    _awaited: Literal["head", "rest"] | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._stop()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP/1.1 with a problem, where an answer is still possible."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            detail = f"{msg} A head has at most {HEAD_BYTES} bytes."
            body = json.dumps(Problem(400, "Not a request", detail).body()).encode()
            headers = [
                ("Content-Type", PROBLEM_TYPE),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """Start a clock where something new is waited for; a byte more of the same does not restart it."""
        awaited = self._waits_for()
        if awaited == self._awaited:
            return
        self._stop()
        self._awaited = awaited
        if awaited is not None:
            seconds = HEAD_SECONDS if awaited == "head" else REST_SECONDS
            self._timer = self.loop.call_later(seconds, self.transport.close)

    def _waits_for(self) -> Literal["head", "rest"] | None:
        if self.conn.their_state is h11.IDLE:
            # Between requests the server's own, shorter clock runs until a byte comes.
            begun = self.cycle is None or self.conn.trailing_data[0]
            return "head" if begun else None
        if self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete:
            return "rest"
        return None

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._awaited = None
