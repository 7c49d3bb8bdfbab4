"""(h) A game's speed with 200 watchers, and its liveness while a client does not read a long history."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from subprocess import PIPE, Popen
from urllib.parse import urlsplit

import httpx

from benchmarks.dashboard import HISTORY, long_history, served
from benchmarks.measure import Row
from midstream.command.games.processes import Services
from midstream.protocol.specification import Specification
from midstream.protocol.wire import encode_batch
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream.web.client import Client
from midstream.web.hosting import listen, url_of

WATCHERS = 200
UNREAD = 20
SECONDS = 6.0
TURNS = 3


def rows() -> Iterator[Row]:
    """Measure a game of level 1 against level 1 on digits, with and without watchers, in turns."""
    for kind, path in (("event streams", "/events"), ("long polls", "/parameters?after={version}&wait=60")):
        with tempfile.TemporaryDirectory() as folder, _game(Path(folder)) as (upstream, step):
            speeds: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(TURNS):
                speeds[False].append(_speed(step))
                with _watched(upstream, path):
                    speeds[True].append(_speed(step))
            alone, watched = median(speeds[False]), median(speeds[True])
        ratio = watched / alone
        yield Row(
            f"(h) a game among {WATCHERS} {kind}",
            f"{watched:.1f} of {alone:.1f} steps a second: {ratio:.2f}",
            "at least 0.7",
            ratio >= 0.7,
        )
    yield from _unread()


def _unread() -> Iterator[Row]:
    path = "/v1/runs/long/metrics"
    with long_history() as registry, served(registry) as url:
        quiet = _longest_wait(url, 3.0)
        host, port = urlsplit(url).netloc.split(":")

        async def hang() -> float:
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            writers = []
            for _ in range(UNREAD):
                _, writer = await asyncio.open_connection(host, int(port), limit=1024)
                writer.write(request)
                writers.append(writer)
            found = await asyncio.to_thread(_longest_wait, url, 6.0)
            for writer in writers:
                writer.close()
            return found

        waited = asyncio.run(hang())
        began = time.perf_counter()
        size = len(httpx.get(url + path, trust_env=False, timeout=600).content)
        took = time.perf_counter() - began
    yield Row("(h) the longest wait for /health/live, alone", f"{1000 * quiet:.0f} ms")
    yield Row(
        f"(h) while {UNREAD} histories of {HISTORY:,} steps go unread",
        f"{1000 * waited:.0f} ms",
        "under 100 ms",
        waited < 0.1,
    )
    yield Row("(h) such a history, read", f"{size / 2**20:.0f} MiB in {took:.1f} s")


def _longest_wait(url: str, seconds: float) -> float:
    longest, end = 0.0, time.perf_counter() + seconds
    with httpx.Client(base_url=url, trust_env=False, timeout=600) as client:
        client.get("/health/live")
        while (began := time.perf_counter()) < end:
            client.get("/health/live").raise_for_status()
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.005)
    return longest


def _speed(step: Callable[[], object]) -> float:
    step()
    began, steps = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < SECONDS:
        step()
        steps += 1
    return steps / took


@contextmanager
def _game(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Start a server and a proxy; yield a function that plays one step as the provider."""
    server, proxy = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    upstream, url = url_of(server), url_of(proxy)
    specification = Specification.model_validate(
        {"dataset": "digits", "name": "watched", "defender": "level-1", "epochs": 100_000}
    )
    with Services(folder) as services:
        process = ["--device", "cpu", "--threads", "1"]
        services.start("server", "serve", "--out", str(folder / "runs"), *process, listener=server)
        attack = ["--server", upstream, "--out", str(folder / "attacks")]
        services.start("proxy", "attack", *attack, *process, listener=proxy)
        client = Client(url)
        client.create_run(specification)
        batches = BatchSource(specification, load_split(specification, Source()).train)
        seq = 0

        def step() -> None:
            nonlocal seq
            client.put_batch("watched", seq, encode_batch(batches.batch(seq)))
            seq += 1

        yield upstream, step
        client.close()


@contextmanager
def _watched(url: str, path: str) -> Iterator[None]:
    """Watch the run from another process, over many connections, until the context ends."""
    command = [sys.executable, "-m", "benchmarks.watchers", url, path]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        yield
        process.stdin.close()


async def _watch(url: str, path: str) -> None:
    """Poll a resource, following each answer's request, with a new connection each time."""
    host, port = urlsplit(url).netloc.split(":")
    version = 0

    async def one() -> None:
        nonlocal version
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, int(port))
                target = f"/v1/runs/watched{path.format(version=version)}"
                writer.write(
                    f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
                )
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                if "x-parameters-version: " in head:
                    version = max(version, int(head.partition("x-parameters-version: ")[2].split()[0]))
                while await reader.read(65536):
                    pass
                writer.close()
                if "retry-after: " in head:
                    await asyncio.sleep(int(head.partition("retry-after: ")[2].split()[0]))
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(1)

    watching = [asyncio.create_task(one()) for _ in range(WATCHERS)]
    await asyncio.sleep(2)
    print("watching", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in watching:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(_watch(*sys.argv[1:]))
