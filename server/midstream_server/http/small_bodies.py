"""Size limit for all request bodies except batches; they are read completely before use."""

from midstream.protocol.problem import Problem
from midstream.web.asgi import App, Receive, Scope, Send, send_problem
from midstream.web.bodies import whole_body

MOST = 64 * 1024


class SmallBodies:
    """Refuses bodies over 64 KiB (413), except batches (PUT), which have a limit per run.

    Args:
        app: the application to protect.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or refuse it with 413."""
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "PUT"):
            try:
                receive = await whole_body(scope, receive, most=MOST)
            except Problem as problem:
                await send_problem(send, problem)
                return
        await self._app(scope, receive, send)
