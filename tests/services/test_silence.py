"""A peer that falls silent is named; one that is gone is given up; one that works may take its time."""

import inspect
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from midstream.protocol.messages.batches import Acknowledgement
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource
from midstream.web.client import Client, ServerGoneError
from midstream.web.link import HttpLink
from midstream_provider.push import feed
from midstream_proxy.app import Proxy
from midstream_proxy.app import make_app as make_proxy
from midstream_proxy.attack import AttackSettings
from midstream_proxy.forward import Forwarder
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.conftest import Ended
from services.games import in_one_process
from services.loopback import served
from services.relay import Relay
from services.tiny import SPECIFICATION, STEPS, TinyRun
from services.waiting import until

pytestmark = pytest.mark.slow

SOON = 2.0  # seconds, in place of half a minute

HELD = """
from pathlib import Path
import time

class Held:
    def perturb(self, batch, view):
        while batch.seq == 1 and not Path({let!r}).exists():
            time.sleep(0.01)
        return batch.inputs * 0
"""


@contextmanager
def client_at(url: str, said: list[str], **settings: Any) -> Iterator[Client]:
    client = Client(url, say=said.append, silent_after=SOON, **settings)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def nobody() -> Iterator[str]:
    """Give the URL of a host that takes connections, and says nothing."""
    with Relay("http://127.0.0.1:1").running() as relay:
        relay.vanish()
        yield relay.url


def test_a_host_that_takes_connections_and_says_nothing_is_given_up() -> None:
    said: list[str] = []
    with nobody() as url, client_at(url, said, give_up_after=0.0) as client:
        began = time.monotonic()
        with pytest.raises(ServerGoneError, match="no sign of life"):
            client.runs()
        assert time.monotonic() - began < 5 * SOON  # far below the half minute of the default
        assert said == [f"waiting for {url}: no sign of life (timed out)"]


def test_a_wait_is_said_after_two_seconds_though_a_peer_may_be_silent_for_thirty() -> None:
    said: list[str] = []
    with ThreadPoolExecutor(1) as pool, nobody() as url:
        client = Client(url, say=said.append, give_up_after=0.0)
        began = time.monotonic()
        asking = pool.submit(client.runs)
        until(lambda: said, "the wait to be said")
        waited = time.monotonic() - began
        assert said == [f"waiting for {url}: no answer yet"]
        assert 2 <= waited < 6  # 2.5 on a machine with nothing else to do
        assert not asking.done()


@pytest.mark.parametrize("waiting", [Client, Proxy, Forwarder])
def test_a_dead_peer_is_noticed_within_half_a_minute_by_default(waiting: type) -> None:
    assert inspect.signature(waiting).parameters["silent_after"].default == 30


def test_a_provider_gives_up_on_a_server_that_is_gone_when_told_to(
    registry: Registry, midstream: Callable[..., Ended]
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        upstream = server.enter_context(served(make_app(registry)))
        url = stack.enter_context(served(make_proxy(Proxy(upstream, AttackSettings("none")))))
        direct = httpx.Client(base_url=upstream, trust_env=False, timeout=60)
        run = TinyRun(server.enter_context(direct), epochs=10_000)

        def leave() -> None:
            until(lambda: run.status()["step"] > 2, "the game to be under way")
            server.close()

        leaving = stack.enter_context(ThreadPoolExecutor(1)).submit(leave)
        ended = midstream("provide", "--server", url, "--give-up-after", "0.5")
        leaving.result()
    assert ended.code == 1
    said = ended.err.splitlines()[-1]
    assert said.startswith(f"midstream: {url} has not answered for ")
    assert upstream in said


class Game:
    """A run on a server behind a relay, and the provider that feeds it in a thread."""

    def __init__(self, url: str) -> None:
        self.said: list[str] = []
        self.taken: list[int] = []
        self.url = url
        self.third = Event()
        self.go = Event()
        self._thread = Thread(target=self._push)

    def _push(self) -> None:
        batches = BatchSource(Specification.model_validate(SPECIFICATION), tiny.split().train)
        with client_at(self.url, self.said) as client:
            for _, answer in feed(HttpLink(client, "tiny"), batches, first=0):
                self._acknowledged(answer)

    def _acknowledged(self, answer: Acknowledgement) -> None:
        self.taken.append(answer.seq)
        if answer.seq == 2:
            self.third.set()
            self.go.wait()

    def __enter__(self) -> "Game":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.go.set()
        self._thread.join()

    def heard(self, words: str) -> bool:
        return any(words in text for text in self.said)


@pytest.mark.parametrize("attacker", ["none", "level-1"])
@pytest.mark.parametrize("vanishes", ["server", "proxy"])
@pytest.mark.logs_errors
def test_a_game_goes_on_where_a_host_vanished_and_came_back(
    registry: Registry, tmp_path: Path, attacker: str, vanishes: str
) -> None:
    with ExitStack() as stack:
        server_url = stack.enter_context(served(make_app(registry)))
        server = stack.enter_context(Relay(server_url).running())
        proxy = Proxy(server.url, AttackSettings(attacker), out=tmp_path / "attacks", silent_after=SOON)
        proxy_relay = stack.enter_context(Relay(stack.enter_context(served(make_proxy(proxy)))).running())
        run = TinyRun(stack.enter_context(httpx.Client(base_url=server_url, trust_env=False, timeout=60)))
        gone = server if vanishes == "server" else proxy_relay
        with Game(proxy_relay.url) as game:
            assert game.third.wait(60)
            gone.vanish()
            game.go.set()
            words = "the training server behind this proxy" if vanishes == "server" else "no sign of life for"
            until(lambda: game.heard(words), "the provider to be told who is silent")
            assert game.taken == [0, 1, 2]
            gone.return_()
        assert game.taken == list(range(STEPS))
        assert run.until("finished")["step"] == STEPS
        sha256 = run.sha256()
    assert sha256 == in_one_process(tmp_path / "local", attacker, "none")["parameters_sha256"]


@pytest.mark.parametrize("through_proxy", [False, True])
def test_a_server_that_takes_its_time_is_not_taken_for_dead(tmp_path: Path, through_proxy: bool) -> None:
    plugin, let, said = tmp_path / "held.py", tmp_path / "let", list[str]()
    plugin.write_text(HELD.format(let=str(let)))
    name = f"{plugin}:Held"
    registry = tiny.registry(tmp_path / "runs", allowed=frozenset({name}))
    with ExitStack() as stack:
        url = stack.enter_context(served(make_app(registry)))
        run = TinyRun(
            stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=60)), defender=name
        )
        if through_proxy:
            proxy = Proxy(url, AttackSettings("none"), silent_after=SOON)
            url = stack.enter_context(served(make_proxy(proxy)))
        client = stack.enter_context(client_at(url, said, give_up_after=0.0))
        client.put_batch("tiny", 0, [tiny.body(0)])
        pool = stack.enter_context(ThreadPoolExecutor(1))
        answer = pool.submit(client.put_batch, "tiny", 1, [tiny.body(1)])
        until(lambda: said, "the wait to be said")
        quiet = Event()
        assert not quiet.wait(2 * SOON)
        assert not answer.done()
        let.touch()
        assert answer.result().replay is False
        assert said == [f"waiting for {url}: it is alive, and has not answered yet"]
        run.play(2)


@contextmanager
def proxy_before(url: str) -> Iterator[str]:
    with served(make_proxy(Proxy(url, AttackSettings("none"), silent_after=SOON))) as proxy_url:
        yield proxy_url


@pytest.mark.parametrize("path", ["/health/live", "/v1/runs", "/v1/runs/tiny/parameters?after=9&wait=60"])
def test_a_proxy_names_a_server_that_is_gone(path: str) -> None:
    with nobody() as server, proxy_before(server) as url:
        response = httpx.get(f"{url}{path}", trust_env=False, timeout=60)
    detail = tiny.problem(response, 502)["detail"]
    assert server in detail
    assert "no sign of life" in detail


@pytest.mark.logs_errors
def test_an_event_stream_of_a_server_that_is_gone_ends(registry: Registry) -> None:
    with (
        served(make_app(registry)) as direct,
        Relay(direct).running() as relay,
        proxy_before(relay.url) as url,
    ):
        with httpx.Client(base_url=direct, trust_env=False, timeout=60) as client:
            TinyRun(client)
        with httpx.stream("GET", f"{url}/v1/events", trust_env=False, timeout=60) as events:
            lines = events.iter_lines()
            assert next(lines) == ": from here on"
            relay.vanish()
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
