"""Every body but a batch's is small, and is read whole before anything is made of it."""

from midstream.protocol.problem import Problem
from midstream.web.asgi import App, Receive, Scope, Send, send_problem
from midstream.web.limits import whole_body

MOST = 64 * 1024


class SmallBodies:
    """Refuses bodies over 64 KiB (413), but for those that a run bounds: its batches, sent by PUT.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its whole body, or answer that it is too large."""
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "PUT"):
            try:
                receive = await whole_body(scope, receive, most=MOST)
            except Problem as problem:
                await send_problem(send, problem)
                return
        await self._app(scope, receive, send)
