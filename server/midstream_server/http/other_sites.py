"""Protection against cross-site requests: a page of another site must not control a visitor's runs."""

from midstream.protocol.problem import Problem
from midstream.web.asgi import App, Receive, Scope, Send, send_problem


class NoOtherSites:
    """Refuses (403) requests from pages of other sites, except reads.

    On loopback the server requires no token, and a browser lets any page send a POST there. The browser
    marks such requests in `Sec-Fetch-Site`, which pages cannot alter and other clients do not send.

    Args:
        app: the application to protect.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 403."""
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            site = dict(scope["headers"]).get(b"sec-fetch-site", b"none")
            if site not in (b"same-origin", b"none"):
                detail = "a page of another site sent this; control runs from the dashboard or a terminal"
                await send_problem(send, Problem(403, "Cross-site request", detail))
                return
        await self._app(scope, receive, send)
