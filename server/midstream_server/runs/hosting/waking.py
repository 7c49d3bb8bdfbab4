"""Signals and pacing for asynchronous waiters."""

import asyncio


class Signal:
    """Wakes all waiters; belongs to one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake all current waiters."""
        self._event.set()
        self._event = asyncio.Event()

    def now(self) -> asyncio.Event:
        """Return the event that the next `notify` sets. Get it before reading state to miss no change."""
        return self._event

    async def wait(self, timeout: float, since: asyncio.Event | None = None) -> bool:
        """Return True once notified, counting from now or from an earlier `now()`; False after `timeout`."""
        try:
            await asyncio.wait_for((since or self._event).wait(), timeout)
        except TimeoutError:
            return False
        return True


class Pace:
    """A rate limiter that allows short bursts.

    Args:
        a_second: long-run rate, in turns per second.
        at_once: maximum burst, in turns without a pause between them.
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
