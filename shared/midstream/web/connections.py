"""Limits on connections: how many may be open, and how long each may keep a service waiting."""

import asyncio
import json
from contextlib import suppress
from typing import Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from midstream.protocol.problem import PROBLEM_TYPE, Problem
from midstream.web.places import kind_of

CONNECTIONS = 512
"""Maximum open connections of a service. A further one replaces the longest idle one, or else a watcher."""

HEAD_SECONDS = 10.0
"""Time limit for a request's head, from its first byte or from the opening of the connection."""

REST_SECONDS = 10.0
"""Time limit for the rest of a body after the response has been sent."""

READ_SECONDS = 10.0
"""Interval in which a client must read at least `READ_BYTES` of a pending response."""

READ_BYTES = 64 * 1024
"""Minimum number of bytes that a client must read in `READ_SECONDS`."""

FAREWELL_SECONDS = 1.0
"""How long a service that ends waits for an idle client's part of TLS's farewell; asyncio would wait 30 s."""

HEAD_BYTES = 16 * 1024
"""Maximum size of an incomplete head, in bytes."""


class Connection(H11Protocol):
    """A connection with time limits for the head, the rest of a refused body, and a slow reader."""

    _awaited: Literal["head", "rest"] | None = None
    _timer: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None
    _half_closed = False
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for the first request."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > CONNECTIONS:
            self._make_room()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Process received bytes, and update the time limit."""
        super().data_received(data)
        self._watch()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open to answer a complete request; the client may still read.

        A client that leaves an event stream closes its side in the same way; that connection is closed.
        """
        answering = self.cycle is not None and not self.cycle.response_complete
        whole = answering and not self.cycle.more_body
        followed = answering and self.cycle.response_started and self.cycle.scope["path"].endswith("/events")
        self._half_closed = whole and not followed and self.scheme == "http"  # TLS has no such half
        return self._half_closed

    def pause_writing(self) -> None:
        """Start the time limit for the reader."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """Cancel the time limit for the reader."""
        super().resume_writing()
        self._stop_waiting_for_reader()

    def on_response_complete(self) -> None:
        """Start the time limit for the next request, or for the rest of this one."""
        super().on_response_complete()
        self._since = self.loop.time()
        if self._half_closed and self.cycle.response_complete and not self.transport.is_closing():
            self.transport.close()
        if self.transport.get_write_buffer_size():
            self._wait_for_reader()
        self._watch()

    def shutdown(self) -> None:
        """Close the connection because the service ends: at once if it is idle, else after the response."""
        if not self.transport.is_closing():  # a TLS transport that is closed twice can be asked nothing more
            super().shutdown()
        # Nor can one that others have closed twice; its connection ends by itself.
        with suppress(AttributeError):
            if self.transport.is_closing() and not self.transport.get_write_buffer_size():
                self.loop.call_later(FAREWELL_SECONDS, self._abort)

    def _abort(self) -> None:
        with suppress(AttributeError):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all time limits."""
        super().connection_lost(exc)
        self._stop()
        self._stop_waiting_for_reader()

    def send_400_response(self, msg: str) -> None:
        """Respond to malformed HTTP with a problem, if a response is still possible."""
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
        if self.cycle is not None and not self.cycle.response_complete:
            # The application may be about to respond; tell it that the client is gone.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _make_room(self) -> None:
        """Close the longest idle connection, or else the oldest watcher's, or else this one."""
        there = [other for other in self.connections if isinstance(other, Connection)]
        there = [other for other in there if not other.transport.is_closing()]
        if len(there) > CONNECTIONS:
            min(
                there, key=lambda other: (2 if other is self else other._worth(), other._since)
            ).transport.abort()

    def _worth(self) -> int:
        if self.cycle is None or self.cycle.response_complete:
            return 0
        return 1 if kind_of(dict(self.cycle.scope)) in ("read", "wait") else 3

    def _wait_for_reader(self) -> None:
        """Close the connection if the client reads less than `READ_BYTES` in `READ_SECONDS`."""
        waiting = self.transport.get_write_buffer_size()

        def look() -> None:
            left = self.transport.get_write_buffer_size()
            self._reader = None
            if left and waiting - left < READ_BYTES:
                self.transport.abort()
            elif left:
                self._wait_for_reader()

        if self._reader is None:
            self._reader = self.loop.call_later(READ_SECONDS, look)

    def _stop_waiting_for_reader(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        self._reader = None

    def _watch(self) -> None:
        """Start the time limit for what is awaited now; further bytes of the same part do not restart it."""
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
            # Between requests, uvicorn's own, shorter keep-alive timeout runs until a byte arrives.
            begun = self.cycle is None or self.conn.trailing_data[0]
            return "head" if begun else None
        if self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete:
            return "rest"
        return None

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._awaited = None
