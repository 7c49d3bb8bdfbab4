"""Whether the training server lives while it owes an answer to what this proxy passes on."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import httpx

from midstream.web.liveness import BACK, LIVE, SILENT_AFTER, Pace, words_of

T = TypeVar("T")


class Liveness:
    """Gives up on a server that shows no sign of life, and on no other; see `midstream.web.liveness.Watch`.

    Whoever waits asks for one together. Belongs to one event loop.

    Args:
        http: what asks the server.
        upstream: the server's base URL.
        silent_after: seconds within which a dead server is noticed.
    """

    def __init__(
        self, http: httpx.AsyncClient, upstream: httpx.URL, silent_after: float = SILENT_AFTER
    ) -> None:
        self._http = http
        self._live = upstream.join(LIVE)
        self.pace = Pace(silent_after)
        self._heard = 0.0
        self._asking: asyncio.Future[tuple[bool, str]] | None = None

    async def while_it_lives(self, work: Awaitable[T]) -> T:
        """Return what work comes to.

        Raises:
            httpx.ReadTimeout: the server gives no sign of life, or gave none for a while.
        """
        clock = asyncio.get_running_loop().time
        task, began, missed = asyncio.ensure_future(work), clock(), False
        try:
            while not (await asyncio.wait({task}, timeout=self.pace.every))[0]:
                lives, words = await self._ask()
                silent = 0.0 if lives else clock() - max(began, self._heard)
                if task.done():
                    continue
                if silent > self.pace.enough:
                    raise httpx.ReadTimeout(f"no sign of life for {silent:.0f} s ({words})")
                if lives and missed:
                    raise httpx.ReadTimeout(BACK)
                missed = not lives
            return task.result()
        finally:
            task.cancel()

    async def _ask(self) -> tuple[bool, str]:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._sign())
        return await asyncio.shield(self._asking)

    async def _sign(self) -> tuple[bool, str]:
        try:
            words = words_of(await self._http.get(self._live, timeout=self.pace.within))
        except httpx.HTTPError as error:
            return False, str(error) or type(error).__name__
        self._heard = asyncio.get_running_loop().time()
        return True, words
