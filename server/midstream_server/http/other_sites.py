"""A web page of someone else's must not steer the runs of whoever looks at it."""

from midstream.protocol.problem import Problem
from midstream.web.asgi import App, Receive, Scope, Send, send_problem


class NoOtherSites:
    """Refuses (403) what a page of another site makes a browser send, but for reading.

    On loopback no token is asked for, and a browser lets any page send a POST there. It says so in
    `Sec-Fetch-Site`, which no page can alter and no other client sends.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that it came from a page of another site."""
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            site = dict(scope["headers"]).get(b"sec-fetch-site", b"none")
            if site not in (b"same-origin", b"none"):
                detail = "a page of another site sent this; steer runs from the dashboard or from a terminal"
                await send_problem(send, Problem(403, "Not from there", detail))
                return
        await self._app(scope, receive, send)
