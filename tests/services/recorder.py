"""A server that remembers what it was sent, to the byte."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Recorder:
    """Records the requests to an application, each before the application sees it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.requests: list[Seen] = []

    @property
    def batches(self) -> list[bytes]:
        """The bodies of the batches that arrived."""
        return [request.body for request in self.requests if request.method == "PUT"]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        self.requests.append(Seen(scope["method"], scope["raw_path"] + query, scope["headers"], body))
        arrived = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(arrived, None) or await receive()

        await self._app(scope, again, send)
