"""Liveness of the training server while this proxy waits for its answers."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import httpx

from midstream.web.liveness import BACK, LIVE, Pace, words_of
from midstream.web.silence import SILENT_AFTER

T = TypeVar("T")


class Liveness:
    """Gives up only on a server that shows no sign of life; see `midstream.web.liveness.Watch`.

    All waiting requests share one probe. Use it within one event loop.

    Args:
        http: the client to probe the server with.
        upstream: the server's base URL.
        silent_after: seconds within which to notice a dead server.
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
        """Return the result of `work`.

        Raises:
            httpx.ReadTimeout: the server shows no sign of life, or it was silent in between.
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
