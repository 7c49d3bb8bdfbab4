"""The one thread that a run lives in, and the threads that spare the event loop long work."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_MANY_BYTES = 512 * 1024


async def off_the_loop(work: Callable[[], T], *, size: int) -> T:
    """Return what `work` returns; a thread does it if it goes over many bytes.

    Below half a megabyte, waking a thread would take longer than decoding or hashing a batch.

    Args:
        work: work that other clients would otherwise wait for.
        size: the number of bytes that it goes over.
    """
    return work() if size <= _MANY_BYTES else await asyncio.to_thread(work)


class Worker:
    """Runs functions one after another in a single thread, so that no two touch the same run at once.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def do(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, once the work submitted earlier is done."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Finish the work in hand and end the thread."""
        self._thread.shutdown(wait=True)
