"""Places for requests: those that a game needs are never taken by those who watch it."""

import asyncio
from collections import Counter
from typing import Literal, NamedTuple
from urllib.parse import parse_qs

from midstream.protocol.problem import Problem
from midstream.web.asgi import Scope
from midstream.web.authorization import ROLE

Kind = Literal["batch", "game", "read", "wait"]

REQUESTS = 64
"""Batches, and requests that steer, in hand at once; and as many reads of what an attacker needs."""

WATCHERS = 64
"""Event streams and long polls at once; and as many other reads. One client has half of each at most."""

REFUSED_AFTER = 1.0
"""Seconds before a watcher is told that there is no place: whoever asks again at once takes no time up."""

_COME_AGAIN: dict[Kind, int] = {"batch": 1, "game": 1, "read": 1, "wait": 5}  # seconds, as Retry-After says

_ATTACKERS = ("parameters", "validation-gradient", "optimizer", "model", "validation")


def kind_of(scope: Scope) -> Kind:
    """Return what a request is for.

    A `batch` is also whatever else changes something. The `game` is what a provider and an attacker read for
    a batch, `wait` an event stream or a long poll, and `read` all the rest. An observer's token serves no
    game. Nobody's long poll of the parameters is part of the game, unless it shows the token of a provider
    or an operator: a batch's own parameters are there when it comes, and `version=` reads them.

    >>> kind_of({"method": "GET", "path": "/v1/runs/digits-1/parameters", "query_string": b"version=3"})
    'game'
    >>> kind_of({"method": "GET", "path": "/v1/runs/digits-1/parameters", "query_string": b"after=3&wait=60"})
    'wait'
    >>> kind_of({"method": "GET", "path": "/v1/runs/digits-1/metrics", "query_string": b""})
    'read'
    """
    if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
        return "batch"
    role = scope.get(ROLE)
    parts = scope["path"].strip("/").split("/")
    if parts[-1] == "events":
        return "wait"
    if role not in ("provider", "operator") and b"wait" in parse_qs(scope["query_string"]):
        return "wait"
    of_the_game = parts in (["v1", "runs"], ["v1", "role"]) or (
        parts[:2] == ["v1", "runs"] and (len(parts) == 3 or (len(parts) > 3 and parts[3] in _ATTACKERS))
    )
    return "game" if of_the_game and role != "observer" else "read"


class Client(NamedTuple):
    """Who shares places: requests of one kind, one role and one address."""

    kind: Kind
    role: str | None
    address: str


class Places:
    """Counts who is in hand, by kind and, among watchers, by client: a role and an address.

    Args:
        requests: batches at once, and reads of the game at once.
        watchers: event streams and long polls at once, and other reads at once.
    """

    def __init__(self, requests: int = REQUESTS, watchers: int = WATCHERS) -> None:
        self._most: dict[Kind, int] = {
            "batch": requests,
            "game": requests,
            "read": watchers,
            "wait": watchers,
        }
        self._share = -(-watchers // 2)
        self._taken: Counter[Kind] = Counter()
        self._shares: Counter[Client] = Counter()

    async def take(self, scope: Scope) -> Client:
        """Take a place; return whose it is, for `give_back`.

        Raises:
            Problem: 503, there is none. A watcher is told so only after a while.
        """
        client = Client(kind_of(scope), scope.get(ROLE), (scope.get("client") or ("",))[0])
        if (refusal := self._refusal(client)) is not None:
            if client.kind in ("read", "wait"):
                await asyncio.sleep(REFUSED_AFTER)
            raise Problem(
                503,
                "Too many requests at once",
                f"{refusal}; try again",
                retry_after=_COME_AGAIN[client.kind],
            )
        self._taken[client.kind] += 1
        self._shares[client] += 1
        return client

    def give_back(self, client: Client) -> None:
        """Give back a place that was taken."""
        self._taken[client.kind] -= 1
        self._shares[client] -= 1
        if not self._shares[client]:
            del self._shares[client]

    def _refusal(self, client: Client) -> str | None:
        what = {
            "batch": "requests are in hand",
            "game": "reads of a game are in hand",
            "read": "other reads are in hand",
            "wait": "event streams and long polls are open",
        }[client.kind]
        if self._taken[client.kind] >= self._most[client.kind]:
            return f"{self._most[client.kind]} {what}, as many as are taken at once"
        if client.kind in ("read", "wait") and self._shares[client] >= self._share:
            return f"{self._share} {what} for this client, as many as one has at once"
        return None
