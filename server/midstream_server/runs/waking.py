"""Waking whoever waits for something to happen."""

import asyncio


class Signal:
    """Wakes everyone who waits; belongs to one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake whoever waits now."""
        self._event.set()
        self._event = asyncio.Event()

    def now(self) -> asyncio.Event:
        """Return what the next `notify` sets: taken before a look round, it misses nothing that follows."""
        return self._event

    async def wait(self, timeout: float, since: asyncio.Event | None = None) -> bool:
        """Return True once notified, from now on or since an earlier `now()`; False after `timeout`."""
        try:
            await asyncio.wait_for((since or self._event).wait(), timeout)
        except TimeoutError:
            return False
        return True


class Pace:
    """Lets through so many a second, and a few more where nobody came for a while.

    Args:
        a_second: how many, in the long run.
        at_once: how many without a pause between them.
    """

    def __init__(self, a_second: float, *, at_once: int) -> None:
        self._every = 1 / a_second
        self._ahead = at_once * self._every
        self._due = 0.0

    async def turn(self) -> None:
        """Return when it is the caller's turn: first come, first served."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - self._ahead) + self._every
        if self._due > now:
            await asyncio.sleep(self._due - now)
