"""What is asked of every man in the middle that is no part of midstream."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from midstream import pixels
from midstream.protocol.wire import BATCH_TYPE, WireBatch, decode_batch
from midstream_server.http.app import make_app
from midstream_server.runs.registry import Registry
from services import tiny
from services.commands import Command, Program
from services.loopback import served, unused_url
from services.plain_batches import changed, inputs, label, pixel
from services.recorder import Recorder
from services.tiny import STEPS, TinyRun, problem
from services.waiting import until

EPSILON = 1.5

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


class Games:
    """Games on one server, a process of its own, behind a proxy or not."""

    def __init__(self, stack: ExitStack, folder: Path, start: Start, **specification: Any) -> None:
        self._stack, self._folder, self._proxy, self._specification = stack, folder, start, specification
        self.server_url = stack.enter_context(unused_url())
        self.url = stack.enter_context(unused_url())
        serve = ("serve", "--port", str(port_of(self.server_url)), "--threads", "1")
        server = stack.enter_context(Command(folder, *serve))
        server.until_it_says("listening on")
        self.client = stack.enter_context(httpx.Client(base_url=self.server_url, trust_env=False, timeout=60))

    def start_proxy(self) -> Program:
        """Start the proxy."""
        program = self._proxy(self._folder / "proxy", self.server_url, port_of(self.url))
        return self._stack.enter_context(program)

    def provide(self, run: str, *, attacked: bool = True) -> Command:
        """Start a run and its provider."""
        self.client.post("/v1/runs", json={"name": run, **self._specification})
        return self.provide_again(run, attacked=attacked)

    def provide_again(self, run: str, *, attacked: bool = True) -> Command:
        """Start the provider of a run."""
        server = self.url if attacked else self.server_url
        return self._stack.enter_context(
            Command(self._folder / run, "provide", "--server", server, "--run", run)
        )

    def step(self, run: str) -> int:
        """Return how far a run is."""
        step: int = self.client.get(f"/v1/runs/{run}").json()["step"]
        return step

    def result(self, run: str) -> dict[str, Any]:
        """Return a run's result, once its provider has sent all."""

        def result() -> Any:
            return self.client.get(f"/v1/runs/{run}").json()["result"]

        until(result, f"the result of {run}")
        found: dict[str, Any] = result()
        return found


def check_a_real_game(games: Games, *, lost: float) -> None:
    """Play a game clean, attacked, and attacked with provider and proxy killed on the way.

    Args:
        games: where to play.
        lost: test accuracy that the attack must cost.
    """
    assert games.provide("clean", attacked=False).end() == 0
    proxy = games.start_proxy()
    assert games.provide("attacked").end() == 0
    provider = games.provide("disturbed")
    until(lambda: games.step("disturbed") >= 5, "the game to be under way")
    provider.process.kill()
    provider.process.wait()
    reached = games.step("disturbed")
    provider = games.provide_again("disturbed")
    until(lambda: games.step("disturbed") >= reached + 5, "the game to go on")
    proxy.process.kill()
    proxy.process.wait()
    assert games.step("disturbed") < games.result("clean")["steps"]
    games.start_proxy()
    assert provider.end() == 0
    clean, attacked, disturbed = (games.result(run) for run in ("clean", "attacked", "disturbed"))
    print(
        f"test accuracy {clean['test_accuracy']:.4f} clean, {attacked['test_accuracy']:.4f} attacked, "
        f"{disturbed['test_accuracy']:.4f} with provider and proxy killed on the way"
    )
    accuracies = f"{clean['test_accuracy']:.3f} clean, {attacked['test_accuracy']:.3f} attacked"
    assert clean["test_accuracy"] - attacked["test_accuracy"] > lost, accuracies
    assert disturbed["parameters_sha256"] == attacked["parameters_sha256"]


def skip_without_network(said: str, what: str) -> None:
    """Skip where an installer said that it cannot reach its registry."""
    words = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ENETUNREACH", "ETIMEDOUT", "NewConnectionError")
    if any(word in said for word in words):
        pytest.skip(f"{what} cannot be installed without a package registry: {said.strip().splitlines()[-1]}")
