"""A TCP relay that injects faults: slow, sliced, cut off and reset connections."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread

KINDS = (
    "latency",
    "bandwidth limit",
    "sliced writes",
    "request half-closed",
    "request reset",
    "response cut",
    "response reset",
)

_CHUNK = 64 * 1024
_SLOW_BYTES = 64 * 1024  # only so many bytes of a connection are slowed down


@dataclass
class FaultProxy:
    """Relay connections to one port, each with its own fault, drawn by seed.

    Args:
        upstream: the destination port on loopback.
        faulty: share of connections with a fault.
        seed: seed of the draws.
    """

    upstream: int
    faulty: float = 0.8
    seed: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    port: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._relays: set[asyncio.Task[None] | None] = set()  # references, since asyncio keeps only weak ones

    @contextmanager
    def running(self) -> Iterator[None]:
        """Relay in a separate thread until the context ends."""
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        thread = Thread(target=loop.run_forever)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            server.close()
            loop.run_until_complete(_cancel_the_others())
            loop.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relays.add(asyncio.current_task())
        fault = self._random.choice(KINDS) if self._random.random() < self.faulty else None
        after = self._random.choice((0, 10, 300, 2_000, 20_000, 100_000))
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return

        async def cut_off() -> None:
            self.tally[str(fault)] += 1
            if fault == "request half-closed":
                forth.write_eof()
                await asyncio.sleep(0.2)
            reset = "reset" in str(fault)
            for each in (writer, forth):
                each.transport.abort() if reset else each.close()

        slow = fault in KINDS[:3]
        self.tally[str(fault)] += slow
        request = cut_off if fault in KINDS[3:5] else None
        response = cut_off if fault in KINDS[5:] else None
        pipes = (
            self._pipe(reader, forth, fault if slow else None, after, request),
            self._pipe(back, writer, fault if slow else None, after, response),
        )
        try:
            await asyncio.gather(*pipes)
        except (OSError, asyncio.CancelledError):  # one side has closed: close the connection
            for each in (writer, forth):
                each.transport.abort()
        finally:
            for each in (writer, forth):
                each.close()

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        slowly: str | None,
        after: int,
        cut_off: Callable[[], Awaitable[None]] | None,
    ) -> None:
        passed = 0
        while piece := await reader.read(_CHUNK):
            if cut_off is not None and passed + len(piece) > after:
                writer.write(piece[: after - passed])
                await cut_off()
                return
            await self._write(writer, piece, slowly if passed < _SLOW_BYTES else None)
            passed += len(piece)
        if writer.can_write_eof():
            writer.write_eof()

    async def _write(self, writer: asyncio.StreamWriter, piece: bytes, slowly: str | None) -> None:
        if slowly == "latency":
            await asyncio.sleep(self._random.uniform(0, 0.05))
        step = {"bandwidth limit": 4096, "sliced writes": 97}.get(str(slowly), len(piece))
        for start in range(0, len(piece), step):
            writer.write(piece[start : start + step])
            await writer.drain()
            await asyncio.sleep(0.004 if slowly == "bandwidth limit" else 0)


async def _cancel_the_others() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
