"""Three services started by hand, in any order, as in three terminals."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from safetensors import safe_open

from services.commands import Command
from services.loopback import unused_url
from services.waiting import LONGEST, until

pytestmark = pytest.mark.process

DIGITS = ["--dataset", "digits", "--run", "game", "--epochs", "1", "--batch-size", "200"]  # five steps
LONG = ["--dataset", "digits", "--run", "game", "--epochs", "100000", "--batch-size", "10"]


class Terminals:
    """The three services, each on a port that is free until it takes it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.server_url = stack.enter_context(unused_url())
        self.proxy_url = stack.enter_context(unused_url())

    def _start(self, *arguments: str) -> Command:
        return self._stack.enter_context(Command(self._folder, *arguments, fresh=True))

    def serve(self, *arguments: str) -> Command:
        port = str(urlsplit(self.server_url).port)
        return self._start("serve", "--port", port, "--threads", "1", *arguments)

    def attack(self, *arguments: str) -> Command:
        port = str(urlsplit(self.proxy_url).port)
        return self._start(
            "attack", "--port", port, "--server", self.server_url, "--threads", "1", *arguments
        )

    def provide(self, *arguments: str) -> Command:
        return self._start("provide", "--server", self.proxy_url, *arguments)

    def steps(self) -> int:
        """Return how far the game is."""
        taken: int = httpx.get(f"{self.server_url}/v1/runs/game", trust_env=False).json()["step"]
        return taken


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    with ExitStack() as stack:
        yield Terminals(tmp_path, stack)


def in_order(text: str, last: str) -> bool:
    """Return whether someone said nothing but what is their own, and that last."""
    lines = [line for line in text.splitlines() if line]
    names = ("server: ", "proxy: ", "provider: ", "midstream: ")
    assert all(line.startswith(names) for line in lines), text
    return lines[-1].startswith(last)


def test_started_in_the_wrong_order_they_find_each_other(terminals: Terminals, tmp_path: Path) -> None:
    provider = terminals.provide()
    provider.until_it_says(f"waiting for {terminals.proxy_url}")
    proxy = terminals.attack("--out", "mine")
    proxy.until_it_says(f"memory in {tmp_path / 'mine'}")
    proxy.until_it_says(f"listening on {terminals.proxy_url}")
    server = terminals.serve(*DIGITS, "--allow-host", "a.lan", "--allow-host", "b.lan")
    server.until_it_says("waits for batch 0 from a data provider")
    provider.until_it_says("answers again")
    assert provider.end() == 0
    server.until_it_says("run 'game' finished")
    runs = f"{terminals.server_url}/v1/runs"
    found = [httpx.get(runs, headers={"Host": f"{name}.lan"}, trust_env=False) for name in "abc"]
    assert [answer.status_code for answer in found] == [200, 200, 421]
    for name, service in (("proxy", proxy), ("server", server)):
        assert service.interrupt() == 0, service.err
        assert in_order(service.err, f"{name}: stopped")
        assert service.out == ""
    assert in_order(provider.err, "provider: all 5 batches of run 'game' were taken")
    result = provider.out.splitlines()
    assert [line.split()[0] for line in result] == ["run", "game"], result


def test_services_that_are_told_to_stop_keep_their_work_and_wake_who_waits(
    terminals: Terminals, tmp_path: Path
) -> None:
    server, proxy, provider = terminals.serve(*LONG), terminals.attack(), terminals.provide()
    for command in (server, proxy):
        command.until_it_says("listening on")
    until(lambda: terminals.steps() > 2, "the game to be under way")

    with httpx.stream("GET", f"{terminals.proxy_url}/v1/runs/game/events", trust_env=False) as events:
        lines = events.iter_lines()
        assert next(lines) == "event: step"
        assert proxy.end(signal.SIGTERM) == 0
        assert in_order(proxy.err, "proxy: stopped")
        list(lines)
    provider.until_it_says(f"waiting for {terminals.proxy_url}")
    assert provider.interrupt() == 0
    assert in_order(provider.err, "provider: stopped before batch ")

    with closing(HTTPConnection(urlsplit(terminals.server_url).netloc, timeout=LONGEST)) as poll:
        poll.request("GET", f"/v1/runs/game/parameters?after={10**9}&wait=60")
        steps = terminals.steps()  # asked later, and answered: the poll has been read
        assert server.end(signal.SIGTERM) == 0
        assert in_order(server.err, "server: stopped")
        assert poll.getresponse().status == 304
    with safe_open(tmp_path / "runs/game/checkpoint.safetensors", "pt") as checkpoint:
        assert checkpoint.metadata()["step"] == str(steps)
