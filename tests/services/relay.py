"""A TCP relay on loopback behind which a host can vanish: nothing is closed, and nothing comes any more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from urllib.parse import urlsplit


class Relay:
    """Relays connections to a server.

    Once it has vanished no open connection ever passes another byte, and new ones are accepted and pass
    none. Once it is back, new ones are relayed, and those that it accepted meanwhile are reset: a host knows
    nothing of a connection that was opened while it was gone.

    Args:
        url: the server's.
    """

    def __init__(self, url: str) -> None:
        self._port = urlsplit(url).port
        self._vanished = False
        self._loop = asyncio.new_event_loop()
        self._open: list[asyncio.StreamWriter] = []
        self._meanwhile: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    @contextmanager
    def running(self) -> Iterator["Relay"]:
        """Relay, in a thread of its own, until the context ends."""
        server = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        thread = Thread(target=self._loop.run_forever)
        thread.start()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            server.close()
            self._loop.run_until_complete(self._end())
            self._loop.close()

    def vanish(self) -> None:
        """Pass nothing on any more."""
        self._vanished = True
        done = asyncio.run_coroutine_threadsafe(self._cancel(), self._loop)
        done.result()

    def return_(self) -> None:
        """Relay new connections again."""
        self._loop.call_soon_threadsafe(self._reset)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        if self._vanished:
            self._meanwhile.append(writer)
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        self._open.append(forth)
        for source, sink in ((reader, forth), (back, writer)):
            task = asyncio.ensure_future(_pipe(source, sink))
            self._tasks.add(task)

    def _reset(self) -> None:
        self._vanished = False
        for writer in self._meanwhile:
            writer.transport.abort()
        self._meanwhile.clear()

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _end(self) -> None:
        await self._cancel()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()
        sink.close()
    except OSError:
        sink.transport.abort()
