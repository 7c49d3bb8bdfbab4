"""Limits on concurrent requests: watchers never take the places that a game needs."""

import asyncio
from collections import Counter
from typing import Literal, NamedTuple
from urllib.parse import parse_qs

from midstream.protocol.problem import Problem
from midstream.web.asgi import Scope
from midstream.web.authorization import ROLE

Kind = Literal["batch", "game", "read", "wait"]

REQUESTS = 64
"""Maximum number of concurrent batches and control requests; the same number of reads by players."""

WATCHERS = 64
"""Maximum number of event streams and long polls; the same number of other reads. One client may use half."""

REFUSED_AFTER = 1.0
"""Seconds before a watcher is refused, so that a client that retries at once costs little."""

_COME_AGAIN: dict[Kind, int] = {"batch": 1, "game": 1, "read": 1, "wait": 5}  # seconds, as Retry-After says

_ATTACKERS = ("parameters", "validation-gradient", "optimizer", "model", "validation")


def kind_of(scope: Scope) -> Kind:
    """Return the kind of a request.

    `batch` is a batch or any other request that changes something. `game` is a read that a provider or an
    attacker needs for a batch, unless it has an observer's token. `wait` is an event stream or a long poll;
    a long poll of the parameters counts as `game` only with the token of a provider or an operator. Others
    need no long poll, since a batch's parameters exist when it arrives and `version=` reads them. `read` is
    everything else.

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
    """A client for the purpose of limits: requests of one kind, role and address."""

    kind: Kind
    role: str | None
    address: str


class Places:
    """Counts concurrent requests by kind and, for watchers, by client.

    Args:
        requests: maximum number of concurrent batches, and of concurrent reads of the game.
        watchers: maximum number of open event streams and long polls, and of other concurrent reads.
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
        """Take a place, and return the client for `give_back`.

        Raises:
            Problem: 503 if there is no place; a watcher is refused only after `REFUSED_AFTER` seconds.
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
        """Release a place."""
        self._taken[client.kind] -= 1
        self._shares[client] -= 1
        if not self._shares[client]:
            del self._shares[client]

    def _refusal(self, client: Client) -> str | None:
        what = {
            "batch": "requests are being served",
            "game": "reads of a game are being served",
            "read": "other reads are being served",
            "wait": "event streams and long polls are open",
        }[client.kind]
        if self._taken[client.kind] >= self._most[client.kind]:
            return f"{self._most[client.kind]} {what}, which is the limit"
        if client.kind in ("read", "wait") and self._shares[client] >= self._share:
            return f"{self._share} {what} for this client, which is its limit"
        return None
