"""Types and helpers for ASGI middleware."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from midstream.protocol.problem import PROBLEM_TYPE, Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[Any]]


async def send_problem(send: Send, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
    """Send a problem as the response to a request."""
    body = json.dumps(problem.body()).encode()
    fields = {
        "Content-Type": PROBLEM_TYPE,
        "Content-Length": str(len(body)),
        **problem.headers(),
        **(headers or {}),
    }
    raw = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
