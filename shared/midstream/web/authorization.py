"""Authorization by bearer token."""

from midstream.protocol.problem import Problem
from midstream.protocol.tokens import Role, Tokens, may
from midstream.web.asgi import App, Receive, Scope, Send, send_problem

OPEN = frozenset({"/health/live", "/health/ready", "/", "/docs", "/openapi.json"})
"""Paths that need no token: health, the description of the API, and the pages without their data."""

PAGE_FILES = "/page/"
"""Prefix of the pages' scripts and style sheets, which need no token."""

ROLE = "midstream.role"
"""Key of the client's role in a request's scope; the value is None on paths that need no token."""


class Authorization:
    """Passes on only requests with a token (RFC 6750) whose role allows the method.

    An observer may read (GET), a provider may also send batches (PUT), and an operator may do everything.

    Args:
        app: the application to protect.
        tokens: one token per role.
    """

    def __init__(self, app: App, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 401 or 403 without reading its body."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if _is_open(scope):
            await self._app({**scope, ROLE: None}, receive, send)
            return
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = (shown[0] if len(shown) == 1 else b"").decode("latin-1").partition(" ")
        role = self._tokens.role_of(token.strip()) if scheme.lower() == "bearer" else None
        needed = _needed(scope["method"])
        if role is None:
            what = "the token is not one of its own" if token else "the request has no token"
            problem = Problem(
                401,
                "Not authorized",
                f"this service requires a token, and {what}: send 'Authorization: Bearer …'; "
                f"midstream's commands read the token from --token-file FILE or MIDSTREAM_TOKEN",
            )
            await send_problem(send, problem, {"WWW-Authenticate": 'Bearer realm="midstream"'})
        elif not may(role, needed):
            problem = Problem(
                403,
                "Another role is needed",
                f"{scope['method']} needs the token of the {needed}; this is the token of the {role}",
                needed=needed,
            )
            challenge = f'Bearer realm="midstream", error="insufficient_scope", scope="{needed}"'
            await send_problem(send, problem, {"WWW-Authenticate": challenge})
        else:
            await self._app({**scope, ROLE: role}, receive, send)


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "GET" and (path in OPEN or path.startswith(PAGE_FILES))


def _needed(method: str) -> Role:
    if method in ("GET", "HEAD", "OPTIONS"):
        return "observer"
    return "provider" if method == "PUT" else "operator"
