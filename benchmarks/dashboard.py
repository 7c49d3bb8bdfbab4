"""(g) The dashboard in a browser, with a history of 100,000 steps and 100 new steps per second."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch
import uvicorn

from benchmarks.measure import Row
from midstream.protocol.specification import Specification
from midstream.run.datasets import Source
from midstream.web.hosting import configuration, listen, url_of
from midstream_server.http.app import make_app, wake
from midstream_server.runs.hosting.registry import Registry, Settings

HISTORY = 100_000
A_SECOND = 100
SECONDS = 10

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
_UP_TO = "step => Object.values(midstream.drawn().loss ?? {})[0]?.steps.at(-1) >= step"
_FRAMES = """seconds => new Promise(done => {
  const times = [], end = performance.now() + 1000 * seconds;
  const frame = now => {
    times.push(now);
    if (now < end) requestAnimationFrame(frame);
    else done(times.slice(1).map((time, place) => time - times[place]));
  };
  requestAnimationFrame(frame);
})"""


def rows() -> Iterator[Row]:
    """Measure the time between frames, with and without new steps."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        yield Row("(g) dashboard", "not measured: there is no Chromium")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, long_history() as registry:
        records = registry.find("long").recorded.records
        with served(registry) as url:
            window = playwright.chromium.launch(executable_path=browser, args=_FLAGS)
            page = window.new_page()
            began = time.perf_counter()
            page.goto(url)
            page.wait_for_function(_UP_TO, arg=HISTORY)
            yield Row(
                f"(g) {HISTORY:,} steps of history, drawn after", f"{time.perf_counter() - began:.1f} s"
            )
            quiet = page.evaluate(_FRAMES, SECONDS)
            with _fed(records):
                live = page.evaluate(_FRAMES, SECONDS)
            page.wait_for_function(_UP_TO, arg=len(records))
            came = (len(records) - HISTORY) / SECONDS
            window.close()
    yield Row("(g) frames a second, while nothing comes", f"{len(quiet) / SECONDS:.0f}")
    ratio = len(live) / len(quiet)
    yield Row(
        f"(g) while {came:.0f} steps a second come", f"{ratio:.2f} as many", "at least 0.9", ratio >= 0.9
    )
    yield Row("(g) the longest of them", f"{max(live):.0f} ms")


@contextmanager
def long_history() -> Iterator[Registry]:
    """Yield a registry with one run of many steps, `long`."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(out=Path(folder), device=torch.device("cpu"), source=Source())
        registry = Registry(settings, lambda _: None)
        specification = Specification.model_validate({"dataset": "digits", "name": "long"})
        registry.create(specification).recorded.records += [_record(step) for step in range(1, HISTORY + 1)]
        yield registry


def _record(step: int) -> dict[str, Any]:
    evaluated = step % 1000 == 0
    names = ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss")
    record: dict[str, Any] = dict.fromkeys(names, 0.5 + step / 1e6 if evaluated else None)
    record |= {"step": step, "epoch": step // 10, "loss": 1 + (step % 7) / 10, "correction": 0.5}
    record |= {"attacker": {}, "defender": {}, "conversion_rate": None, "evasion_rate": None}
    return record | {"seconds": step / A_SECOND}


@contextmanager
def served(registry: Registry) -> Iterator[str]:
    """Serve a registry in a thread of this process; yield the base URL."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(configuration(make_app(registry)))
        thread = Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            yield url_of(listener)
        finally:
            wake(registry)
            server.should_exit = True
            thread.join()


@contextmanager
def _fed(records: list[Any]) -> Iterator[None]:
    stop = Event()

    def feed() -> None:
        began, first = time.perf_counter(), len(records)
        while not stop.wait(1 / A_SECOND):
            while len(records) - first < A_SECOND * (time.perf_counter() - began):
                records.append(_record(len(records) + 1))

    thread = Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
