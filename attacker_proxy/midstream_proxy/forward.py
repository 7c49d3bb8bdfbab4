"""Forwards all other requests: streams both bodies unchanged, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from midstream.protocol.problem import Problem
from midstream.web.liveness import KEPT_ALIVE, LIVE
from midstream.web.silence import SILENT_AFTER
from midstream.web.tls import Verify, distrust
from midstream_proxy.async_library import remember_that_there_is_no_sniffio
from midstream_proxy.liveness import Liveness

T = TypeVar("T")

_ROLE_WITHIN = 5.0

# Headers of a single connection, not of the message (RFC 9110, 7.6.1).
_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}


class Forwarder:
    """Forwards requests to one server.

    Args:
        upstream: the server's base URL.
        verify: how to verify the server's certificate, for https.
        silent_after: seconds within which to notice a dead server.
    """

    def __init__(self, upstream: str, *, verify: Verify = True, silent_after: float = SILENT_AFTER) -> None:
        remember_that_there_is_no_sniffio()
        self.upstream = httpx.URL(upstream)
        # A long poll or an event stream may be silent for any length of time.
        timeout = httpx.Timeout(None, connect=5.0)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        transport = httpx.AsyncHTTPTransport(
            verify=verify, limits=limits, trust_env=False, socket_options=KEPT_ALIVE
        )
        self._http = httpx.AsyncClient(timeout=timeout, trust_env=False, transport=transport)
        self._liveness = Liveness(self._http, self.upstream, silent_after)
        self._closing = asyncio.Event()
        self._trusted: tuple[bytes | None] | None = None  # the last accepted `Authorization`

    def wake(self) -> None:
        """End the long polls and event streams that this proxy forwards."""
        self._closing.set()

    async def forward(self, request: Request) -> Response:
        """Return the server's answer to a request, streaming both bodies.

        Raises:
            Problem: 502, the server cannot be reached; 503, this proxy closes before the server answers.
        """
        target = request.scope["raw_path"]
        if request.scope["query_string"]:
            target += b"?" + request.scope["query_string"]
        headers = [(b"host", self.upstream.netloc), *_end_to_end(request.headers.raw, without=b"host")]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        outgoing = httpx.Request(
            request.method,
            self.upstream,
            headers=headers,
            content=request.stream() if has_body else None,
            extensions={"target": target},  # unchanged; a URL would normalise its path
        )
        sending = self._answer(outgoing, probe=request.scope["path"] == LIVE)
        try:
            # A GET may wait indefinitely, so closing ends it; any other request is finished first.
            answer = await (self._unless_closing(sending) if request.method == "GET" else sending)
        except httpx.TransportError as error:
            raise unreachable(str(self.upstream), error) from error
        if answer is None:
            raise closing_down()
        response = StreamingResponse(self._stream(answer), answer.status_code)
        response.raw_headers = _end_to_end(answer.headers.raw)
        return response

    async def _answer(self, outgoing: httpx.Request, *, probe: bool) -> httpx.Response:
        sending = self._http.send(outgoing, stream=True)
        if not probe:
            return await self._liveness.while_it_lives(sending)
        # A client that probes for liveness must get the negative answer in time.
        try:
            return await asyncio.wait_for(sending, self._liveness.pace.every)
        except TimeoutError as error:
            raise httpx.ReadTimeout("no sign of life") from error

    async def refusal(self, authorization: bytes | None) -> Response | None:
        """Return the server's refusal of batches with this `Authorization`; None if it accepts them.

        An attacker remembers the batches that it attacks, so it must not attack a batch from an unauthorized
        client.

        Raises:
            Problem: 403, the client's role may not send batches; 502, the server cannot be reached.
        """
        if self._trusted == (authorization,):
            return None
        headers = {} if authorization is None else {b"Authorization": authorization}
        try:
            answer = await self._http.get(
                self.upstream.join("/v1/role"), headers=headers, timeout=_ROLE_WITHIN
            )
        except httpx.TransportError as error:
            raise unreachable(str(self.upstream), error) from error
        if answer.status_code in (401, 403) or answer.status_code >= 500:
            response = Response(answer.content, answer.status_code)
            response.raw_headers = _end_to_end(answer.headers.raw)
            return response
        if _role(answer) == "observer":
            what = "a batch needs the token of the provider; this is the token of the observer"
            raise Problem(403, "Another role is needed", what, needed="provider")
        self._trusted = (authorization,)
        return None

    async def _stream(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        pieces = answer.aiter_raw()
        endless = "content-length" not in answer.headers
        try:
            while True:
                coming = self._liveness.while_it_lives(anext(pieces, None))
                piece = await (self._unless_closing(coming) if endless else coming)
                if piece is None:
                    return
                yield piece
        finally:
            await answer.aclose()

    async def _unless_closing(self, work: Awaitable[T]) -> T | None:
        """Return the result of `work`, or None if this proxy closes first."""
        task, closing = asyncio.ensure_future(work), asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            closing.cancel()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def closing_down() -> Problem:
    """Return the problem for a waiting client when this proxy stops."""
    return Problem(503, "The proxy takes no requests now", "it is closing down", retry_after=1)


def unreachable(upstream: str, error: Exception) -> Problem:
    """Return the problem for the provider when the server cannot be reached."""
    reason = distrust(error, upstream) or str(error) or type(error).__name__
    return Problem(
        502,
        "The training server does not answer",
        f"the training server behind this proxy, {upstream}: {reason}",
    )


def _end_to_end(headers: list[tuple[bytes, bytes]], without: bytes = b"") -> list[tuple[bytes, bytes]]:
    named = b",".join(value for name, value in headers if name.lower() == b"connection")
    dropped = _HOP_BY_HOP | {name.strip().lower() for name in named.split(b",")} | {without}
    return [(name.lower(), value) for name, value in headers if name.lower() not in dropped]


def _role(answer: httpx.Response) -> str | None:
    try:
        return str(answer.json()["role"])
    except (ValueError, LookupError, TypeError):
        return None  # a server without this resource requires no tokens
