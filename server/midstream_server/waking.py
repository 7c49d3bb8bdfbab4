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
