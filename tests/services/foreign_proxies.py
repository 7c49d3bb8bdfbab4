"""What is asked of every man in the middle that is no part of midstream."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from midstream import pixels
from midstream.protocol.wire import BATCH_TYPE, WireBatch, decode_batch
from midstream.run.datasets import Source
from midstream.web.client import Client
from midstream.web.link import HttpLink
from midstream_provider.push import feed, load_source
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.commands import Program
from services.loopback import served, unused_url
from services.plain_batches import changed, inputs, label, pixel
from services.recorder import Recorder
from services.tiny import STEPS, TinyRun, problem
from services.waiting import LONGEST, until

EPSILON = 1.5
DIGITS = {"dataset": "digits", "model": "logistic", "batch_size": 200, "epochs": 12, "learning_rate": 0.02}
"""The specification of a real game."""

Start = Callable[[Path, str, int], Program]
"""Starts a proxy: its folder, the server's URL, the port to listen on."""


@dataclass(frozen=True)
class Middle:
    """The tiny run behind a proxy, what arrived at the server, and a client that goes round the proxy."""

    run: TinyRun
    arrived: Recorder
    direct: httpx.Client


@contextmanager
def middle(registry: Registry, start: Start, folder: Path, **settings: Any) -> Iterator[Middle]:
    """Start the proxy before a server in this process; settings are the tiny run's."""
    recorder = Recorder(make_app(registry))
    with ExitStack() as stack:
        upstream = stack.enter_context(served(recorder))
        url = stack.enter_context(unused_url())
        program = stack.enter_context(start(folder, upstream, port_of(url)))
        client, direct = (
            stack.enter_context(httpx.Client(base_url=base, trust_env=False, timeout=60))
            for base in (url, upstream)
        )
        until_it_listens(client, program)
        yield Middle(TinyRun(client, **settings), recorder, direct)


def port_of(url: str) -> int:
    """Return the port of a URL that has one."""
    port = urlsplit(url).port
    assert port is not None
    return port


def until_it_listens(client: httpx.Client, program: Program) -> None:
    """Return once the server behind a proxy can be reached through it."""

    def reached() -> bool:
        assert program.process.poll() is None, program.err
        try:
            return client.get("/health/live").status_code == 200
        except httpx.TransportError:
            return False

    until(reached, f"{program.name} to listen")


def check_each_batch_is_moved_within_the_budget(middle: Middle) -> list[WireBatch]:
    """Play the whole run; return what arrived."""
    middle.run.play(0)
    arrived = [decode_batch(body) for body in middle.arrived.batches]
    assert [batch.seq for batch in arrived] == list(range(STEPS))
    for batch in arrived:
        clean = tiny.batch(batch.seq)
        assert batch.labels.equal(clean.labels)
        assert 0 <= batch.inputs.min() <= batch.inputs.max() <= 1
        moves = (batch.inputs - pixels(clean.inputs)).flatten(1).norm(dim=1)
        assert (moves > 0.3 * EPSILON).all()  # what the pixel range cuts off is lost
        assert (moves < EPSILON + 1e-5).all()
    return arrived


def check_a_repeated_batch_goes_on_as_the_same_bytes(middle: Middle) -> None:
    """Send a batch again, after the step and after the next one."""
    first = middle.run.put(0).json()
    again = middle.run.put(0).json()
    assert again == first | {"replay": True}
    middle.run.play(1, 2)
    later = middle.run.put(0).json()
    assert later == again | {"next_seq": 2, "kept_from": later["kept_from"]}, (later, again)
    one, two, _, three = middle.arrived.batches
    assert one == two == three


def check_out_of_order_batches_are_told_the_next(middle: Middle) -> None:
    """Send batches that the run does not wait for, and other content for one that it took."""
    middle.run.play(0, 2)
    assert problem(middle.run.put(4), 409)["next_seq"] == 2
    other = changed(0, inputs(np.zeros((10, 1, 8, 8), np.float32)))
    assert problem(middle.run.put(0, other), 409)["next_seq"] == 2
    assert middle.run.status()["step"] == 2


def check_what_is_no_batch_of_the_run_goes_no_further(middle: Middle) -> None:
    """Send malformed batches, batches that do not fit, and a batch by other spellings of its path."""
    for body, status in BAD.values():
        problem(middle.run.put(0, body), status)
    for path in ("/v1/runs/tiny/batches/%30", "/v1//runs/tiny/batches/0", "/V1/x/../v1/runs/tiny/batches/0"):
        answer = middle.run.client.put(path, content=tiny.body(0), headers={"Content-Type": BATCH_TYPE})
        assert answer.status_code in (404, 405), answer.text
    assert middle.arrived.batches == []
    middle.run.play(0, 1)


BAD: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "no MessagePack": (b"\xc1" * 100, 400),
    "an array": (b"\x90", 400),
    "another protocol": (changed(0, lambda batch: batch.update(protocol=2)), 400),
    "another number": (changed(0, lambda batch: batch.update(seq=1)), 422),
    "no inputs": (changed(0, lambda batch: batch.pop("inputs") and None), 400),
    "another shape": (changed(0, inputs(np.zeros((10, 64), np.float32))), 422),
    "too few": (changed(0, inputs(np.zeros((9, 1, 8, 8), np.float32))), 422),
    "too short": (changed(0, lambda batch: batch["inputs"].update(data=b"")), 400),
    "NaN": (changed(0, pixel(float("nan"))), 422),
    "above the range": (changed(0, pixel(1.5)), 422),
    "no such class": (changed(0, label(10)), 422),
    "too large": (bytes(20_000), 413),
}


def check_the_rest_passes_untouched(middle: Middle) -> None:
    """Read resources on both ways, steer the run, and follow its events."""
    middle.run.play(0, 1)
    middle.run.until_recorded(1)  # until then its status changes
    for path in ("/v1/runs", "/v1/runs/tiny/parameters?version=1", "/v1/runs/tiny/model", "/", "/nowhere"):
        through, direct = middle.run.client.get(path), middle.direct.get(path)
        assert (through.status_code, through.content) == (direct.status_code, direct.content)
        left_out = ("date", "connection", "keep-alive")
        assert [pair for pair in through.headers.items() if pair[0] not in left_out] == [
            pair for pair in direct.headers.items() if pair[0] not in left_out
        ]
    assert middle.run.post("/pause").json()["state"] == "paused"
    answer = middle.run.put(1)
    assert problem(answer, 503)["title"]
    assert answer.headers["Retry-After"]
    assert middle.run.post("/resume").json()["state"] == "running"
    with middle.run.client.stream("GET", "/v1/runs/tiny/events") as events:
        assert next(events.iter_lines()) == "event: step"  # it comes before the stream ends
    middle.run.play(1, 2)


def check_no_answer_is_502(start: Start, folder: Path) -> None:
    """Send a batch, and ask for something, where nobody is behind the proxy."""
    with unused_url() as gone, unused_url() as url, start(folder, gone, port_of(url)) as program:
        path = "/v1/runs/tiny/batches/0"
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:

            def answered() -> bool:
                try:
                    return client.get("/v1/runs").status_code == 502
                except httpx.TransportError:
                    return False

            until(answered, f"{program.name} to answer")
            assert client.put(path, content=tiny.body(0)).status_code == 502


class Provider:
    """A run on a server, and the provider that feeds it in a thread."""

    def __init__(self, direct: httpx.Client, name: str, **specification: Any) -> None:
        assert direct.post("/v1/runs", json={"name": name, **specification}).status_code == 201
        self.direct, self.name = direct, name
        self._leaves_at = -1
        self._thread = Thread()

    def status(self) -> dict[str, Any]:
        """Return how far the run is."""
        found: dict[str, Any] = self.direct.get(f"/v1/runs/{self.name}").json()
        return found

    def feeds(self, url: str, *, leaves_at: int = -1) -> None:
        """Feed the run at a URL; leave once a batch of that number is acknowledged."""
        self._leaves_at = leaves_at
        self._thread = Thread(target=self._feed, args=(url,))
        self._thread.start()

    def _feed(self, url: str) -> None:
        client = Client(url)
        try:
            status = client.run(self.name)
            batches = load_source(status, Source(), allowed=[])
            for _, answer in feed(HttpLink(client, self.name), batches, first=status.step):
                if answer.seq == self._leaves_at:
                    return
        finally:
            client.close()

    def ended(self) -> dict[str, Any]:
        """Return the run's status once all is sent, or the provider left."""
        self._thread.join(LONGEST)
        assert not self._thread.is_alive()
        return self.status()

    def result(self) -> dict[str, Any]:
        """Return the run's result, once its provider has sent all."""
        self.ended()
        until(lambda: self.status()["result"], f"the result of {self.name}")
        found: dict[str, Any] = self.status()["result"]
        return found


def check_a_real_game(
    registry: Registry, start: Start, folder: Path, *, lost: float, **specification: Any
) -> None:
    """Play a game clean, attacked, and attacked where a provider leaves and the proxy is killed on the way.

    Args:
        registry: the server's runs.
        start: starts the proxy.
        folder: of the proxy.
        lost: test accuracy that the attack must cost.
        specification: of the game.
    """
    with ExitStack() as stack:
        upstream = stack.enter_context(served(make_app(registry)))
        url = stack.enter_context(unused_url())
        through, direct = (
            stack.enter_context(httpx.Client(base_url=base, trust_env=False, timeout=60))
            for base in (url, upstream)
        )
        clean, attacked, disturbed = (
            Provider(direct, name, **specification) for name in ("clean", "attacked", "disturbed")
        )
        clean.feeds(upstream)
        proxy = stack.enter_context(start(folder, upstream, port_of(url)))
        until_it_listens(through, proxy)
        attacked.feeds(url)
        lone, hurt = clean.result(), attacked.result()
        disturbed.feeds(url, leaves_at=5)
        assert disturbed.ended()["step"] == 6
        disturbed.feeds(url)
        until(lambda: disturbed.status()["step"] > 10, "the game to go on")
        proxy.process.kill()
        proxy.process.wait()
        assert disturbed.status()["step"] < lone["steps"]
        stack.enter_context(start(folder, upstream, port_of(url)))
        again = disturbed.result()
    accuracies = f"{lone['test_accuracy']:.3f} clean, {hurt['test_accuracy']:.3f} attacked"
    assert lone["test_accuracy"] - hurt["test_accuracy"] > lost, accuracies
    assert again["parameters_sha256"] == hurt["parameters_sha256"]


def skip_without_network(said: str, what: str) -> None:
    """Skip where an installer said that it cannot reach its registry."""
    words = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ENETUNREACH", "ETIMEDOUT", "NewConnectionError")
    if any(word in said for word in words):
        pytest.skip(f"{what} cannot be installed without a package registry: {said.strip().splitlines()[-1]}")
